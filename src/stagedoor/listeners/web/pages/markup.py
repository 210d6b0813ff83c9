"""The pages as HTML: whatever was not written here is escaped. They need no JavaScript."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from stagedoor.admin.account import Past
from stagedoor.listeners.web.files.markup import BUTTON, PANEL
from stagedoor.listeners.web.pages.assets import Assets
from stagedoor.model.policy import KeyRecord

_STATES = {"absent": "not running", "ready": "running", "unreachable": "does not answer"}
_UNKNOWN = "Nobody has entered it lately, so nobody knows whether it answers."
_NO_HOLDER = (
    "No command that holds terminals is set for this shell, so the page cannot open one. An administrator "
    "names it in `holder` of its [[shells.static]] entry."
)
_FILTER_FROM = 8
"""As many apps are seen at once; a filter would be one thing more to read."""
COMPANY = (
    '<button type="button" id="terminals" aria-haspopup="dialog">Terminals</button>'
    '<button type="button" id="share" aria-haspopup="dialog">Share…</button>'
)
_WAYS = {"connect": "tunnel", "jump": "jump host", "direct": "direct login", "web": "WebShell"}


@dataclass(frozen=True, slots=True)
class App:
    """An app that may be entered, as the home page shows it."""

    name: str
    host: str
    state: str
    page: str
    ssh: str
    has_terminals: bool = True
    """Whether something is known that holds terminals in its shell."""
    notice: str | None = None
    permits: str = ""
    """What may be done there besides entering, in words."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pages are: `path` is what every path of theirs begins with."""

    path: str
    assets: Assets

    def asset(self, name: str) -> str:
        return escape(self.path + self.assets.path(name))

    def page(
        self,
        title: str,
        body: str,
        *,
        scripts: Sequence[str] = (),
        attributes: str = "",
        head: str = "",
    ) -> str:
        """A whole page. `body` and `head` are HTML, `title` is text."""
        links = ""
        if "pages.css" in self.assets:
            links += f'<link rel="stylesheet" href="{self.asset("pages.css")}">'
        if "icon.svg" in self.assets:
            links += f'<link rel="icon" href="{self.asset("icon.svg")}">'
        times = ("times.js",) if "<time " in body else ()
        for name in (*scripts, *times):
            if name in self.assets:
                links += f'<script src="{self.asset(name)}" defer></script>'
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="color-scheme" content="light dark">'
            '<meta name="description" content="Shells of apps, in the browser">'
            f"<title>{escape(title)}</title>{links}{head}</head><body{attributes}>{body}</body></html>"
        )


def said(place: Place, title: str, message: str, *, home: bool = True, role: str = "alert") -> str:
    """A denial, or anything else that went wrong, in plain words; with another role, what went right."""
    back = f'<p><a href="{escape(place.path)}/">Back to your apps</a></p>' if home else ""
    return place.page(
        title,
        f'<main><h1>{escape(title)}</h1><p role="{role}">{escape(message)}</p>{back}</main>',
    )


def sign_in(
    place: Place, next_path: str, providers: Sequence[str] = (), why: str = "", name: str = ""
) -> str:
    """The form, below a button for each identity provider. `why` is what was wrong with the last try."""
    others = "".join(
        f"""<form method="post" action="{escape(place.path)}/sign-in/sso">
<input type="hidden" name="next" value="{escape(next_path)}">
<input type="hidden" name="provider" value="{escape(each)}">
<button type="submit">Sign in with {escape(each)}</button></form>"""
        for each in providers
    )
    if others:
        others += '<p class="or">or</p>'
    focus = "" if others else " autofocus"
    alert = f'<p role="alert" class="wrong">{escape(why)}</p>' if why else ""
    body = f"""<main class="narrow"><h1>Stagedoor</h1>{alert}{others}
<form method="post" action="{escape(place.path)}/sign-in">
<input type="hidden" name="next" value="{escape(next_path)}">
<label for="name">Name</label>
<input id="name" name="name" value="{escape(name)}" autocomplete="username" autocapitalize="none"
 spellcheck="false" required{"" if name else focus}>
<label for="secret">Password, or a token</label>
<input id="secret" name="secret" type="password" autocomplete="current-password"
 required{" autofocus" if name else ""}>
<button type="submit">Sign in</button></form></main>"""
    return place.page("Sign in · Stagedoor", body)


def onward(place: Place, url: str) -> str:
    """Leads to an identity provider's page, by itself."""
    body = f"""<main class="narrow"><h1>Stagedoor</h1>
<p><a href="{escape(url)}">Go on to sign in</a></p></main>"""
    onward = f'<meta http-equiv="refresh" content="0; url={escape(url)}">'
    return place.page("Sign in · Stagedoor", body, head=onward)


def link(place: Place) -> str:
    """Where a one-time link leads: the script posts what stands behind the `#`, which no server sees."""
    body = f"""<main class="narrow"><h1>Stagedoor</h1>
<form id="link" method="post" action="{escape(place.path)}/sign-in/link">
<input type="hidden" name="secret"><input type="hidden" name="next">
<button type="submit" disabled>Sign in</button></form>
<p id="why" role="status">This link signs you in once.</p>
<noscript><p>A one-time link needs JavaScript. Without it, <a href="{escape(place.path)}/sign-in">sign in
with your password or a token</a>.</p></noscript></main>"""
    return place.page("Sign in · Stagedoor", body, scripts=("link.js",))


def home(
    place: Place,
    name: str,
    apps: Sequence[App],
    past: Sequence[Past],
    keys: Sequence[KeyRecord],
    *,
    is_person: bool,
    shows_recordings: bool = False,
    live: str = "",
    ssh_setup: str | None = None,
) -> str:
    """What a person who has signed in sees first. `live` is HTML. `ssh_setup` is the command to run once."""
    if apps:
        account = f"{place.path}/account" if is_person else None
        listed = _setup(ssh_setup, keys, account) + _apps(apps)
    else:
        grant = f"stagedoor grant add user:{name} APP"
        listed = (
            "<p>There is no app that you may enter. An administrator gives a grant with "
            f"<code>{escape(grant)}</code></p>"
        )
    links = [("recordings", "Recordings")] if shows_recordings else []
    links += [("account", "Account")] if is_person else []
    listed_links = " ".join(
        f'<a href="{escape(place.path)}/{page}">{title}</a>' for page, title in links
    )
    bar = f"<nav>{listed_links}</nav>" if links else ""
    body = f"""<header><h1>Stagedoor</h1>{bar}
<form method="post" action="{escape(place.path)}/sign-out"><span>{escape(name)}</span>
<button type="submit">Sign out</button></form></header>
<main><section aria-labelledby="apps"><h2 id="apps">Apps</h2>{listed}</section>{live}
<section aria-labelledby="past"><h2 id="past">Last sessions</h2>{_past(past)}</section>
</main>"""
    return place.page("Stagedoor", body, scripts=("home.js",))


def _apps(apps: Sequence[App]) -> str:
    """The list. Its filter works by script, so without one it is hidden."""
    hidden = "" if len(apps) >= _FILTER_FROM else " data-few"
    rows = "".join(_app(app) for app in apps)
    return f"""<form id="filter" role="search" hidden{hidden}><label for="wanted">Filter</label>
<input id="wanted" type="search" autocomplete="off" autocapitalize="none" spellcheck="false"
 aria-keyshortcuts="/" aria-controls="app-list" placeholder="part of a name">
<span id="matches" role="status">{len(apps)} apps</span>
<small>/ goes here, ↑ and ↓ go through the apps, Enter opens one.</small></form>
<ul class="apps" id="app-list">{rows}</ul>"""


def _app(app: App) -> str:
    code = f"vscode://vscode-remote/ssh-remote+{app.host}/"
    name, page, ssh = escape(app.name), escape(app.page), escape(app.ssh)
    why = f' title="{escape(_UNKNOWN)}"' if app.state == "unknown" else ""
    terminal = (
        f'<a class="button" href="{page}" aria-label="Open terminal of {name}">Open terminal</a>'
        f'<button type="button" class="terminals" hidden aria-expanded="false" data-app="{name}" '
        f'data-page="{page}" aria-label="Others… (terminals of {name})">Others…</button>'
        if app.has_terminals
        else f'<span class="ssh-only" title="{escape(_NO_HOLDER)}">by ssh only</span>'
    )
    return (
        f'<li data-name="{name}"><h3>{name}</h3>'
        f'<span class="state {escape(app.state)}"{why}>{escape(_STATES.get(app.state, app.state))}</span>'
        f'<span class="open">{terminal}</span><span class="ssh"><code>{ssh}</code>'
        f'<button type="button" class="copy" hidden data-copy="{ssh}" aria-label="Copy {ssh}">Copy</button>'
        f'</span><a class="code" href="{escape(code)}" aria-label="{name} in VS Code">VS Code</a>'
        + (f'<p class="notice">{escape(app.notice)}</p>' if app.notice else "")
        + (f'<p class="permits">{escape(app.permits)}</p>' if app.permits else "")
        + "</li>"
    )


def _setup(command: str | None, keys: Sequence[KeyRecord], account: str | None) -> str:
    """What has to be done once before the lines for ssh work. `account` is where keys are added, None for
    who may not."""
    if command is None:
        if keys or account is None:
            return ""
        return (
            '<p class="setup">ssh asks for your password or a token. With an SSH key it does not: '
            f'<a href="{escape(account)}#keys">add yours</a>.</p>'
        )
    return (
        f'<p class="setup">Before the first ssh, or VS Code, run this once on your machine:'
        f'<code>{escape(command)}</code> <button type="button" class="copy" hidden '
        f'data-copy="{escape(command)}">Copy</button> <small>It needs the <code>stagedoor</code> program '
        "and the file <code>host_ca.pub</code>: what <code>stagedoor ca show host</code> prints on the "
        "gateway.</small></p>"
    )


def _past(past: Sequence[Past]) -> str:
    if not past:
        return "<p>None yet.</p>"
    rows = "".join(
        f"<tr><td>{escape(one.target)}</td><td>{escape(_WAYS.get(one.way, one.way))}</td>"
        f"<td>{time_of(one.at)}</td><td>{'open' if one.until is None else time_of(one.until)}</td></tr>"
        for one in past
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("App", "Way", "From", "To"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def time_of(at: float) -> str:
    when = datetime.fromtimestamp(at, UTC)
    return f'<time datetime="{when:%Y-%m-%dT%H:%M:%SZ}">{when:%Y-%m-%d %H:%M} UTC</time>'


# The terminal's own settings, its search, and what asks before it does something.
_SETTINGS = """<form id="settings" hidden aria-label="Settings">
<label>Theme <select name="theme"><option value="system">as the system</option>
<option value="dark">dark</option><option value="light">light</option></select></label>
<label>Colours <select name="palette"><option value="stagedoor">Stagedoor</option>
<option value="contrast">high contrast</option><option value="solarized">Solarized</option>
<option value="dracula">Dracula</option><option value="gruvbox">Gruvbox</option>
<option value="system">xterm, on the system’s background</option></select></label>
<label><input name="readable" type="checkbox"> Keep text readable</label>
<label>Font size <input name="fontSize" type="number" min="6" max="40"></label>
<label><input name="copyOnSelect" type="checkbox"> Copy what is selected</label>
<label><input name="pasteGuard" type="checkbox"> Ask before several lines are pasted</label>
<label><input name="tmux" type="checkbox"> tmux in new terminals</label>
<label><input name="screenReader" type="checkbox"> Screen reader</label>
<label><input name="bell" type="checkbox"> Sound when somebody joins</label>
<label><input name="keyBar" type="checkbox"> Key bar</label></form>"""
_SEARCH = """<form id="search" hidden role="search"><label for="find">Find</label>
<input id="find" type="search" autocomplete="off" spellcheck="false">
<button type="submit">Next</button><button type="button" id="previous">Previous</button>
<button type="button" id="close-search">Close</button></form>"""
_DIALOGS = """<dialog id="ask"><p id="question"></p><pre id="shown"></pre>
<form method="dialog"><button value="no">No</button><button value="yes">Paste</button></form></dialog>
<dialog id="company" aria-labelledby="company-title"><h2 id="company-title"></h2>
<div id="company-body"></div><p id="company-why" role="alert"></p>
<form method="dialog"><button value="close" id="company-close">Close</button></form></dialog>"""


def terminal(
    place: Place,
    app: str,
    nonce: str,
    name: str,
    *,
    moves_files: bool = False,
    tmux: bool = False,
    guest: str = "",
    notice: str | None = None,
) -> str:
    """The terminal's page for `name`. Its script marks the style elements that it makes with `nonce`.

    `tmux`: what a new terminal starts, for whoever has not chosen in the page's settings.
    `guest`: `share`, or the session that is watched; then there is nothing to share or to list.
    `notice`: that the shell is of an older version of its app.
    """
    attributes = (
        f' class="terminal" data-path="{escape(place.path)}" data-app="{escape(app)}" '
        f'data-nonce="{escape(nonce)}" data-guest="{escape(guest)}" data-user="{escape(name)}" '
        f'data-tmux="{"yes" if tmux else "no"}"'
    )
    company = "" if guest else COMPANY
    older = f'<span id="older" title="{escape(notice)}">Older version</span>' if notice else ""
    body = f"""<header id="bar"><div id="where"><h1 id="app">{escape(app)}</h1>
<span id="terminal-name" title="The terminal’s name"></span>
<span id="who" title="Signed in as {escape(name)}"><span>Signed in as </span>{escape(name)}</span>
{older}</div>
<span id="title"></span>
<button type="button" id="people" aria-haspopup="dialog" hidden></button>
<span id="status" role="status" aria-live="polite">Connecting</span>
<button type="button" id="window" hidden>App window</button>
<button type="button" id="full">Full screen</button>
{BUTTON if moves_files else ""}{company}
<button type="button" id="menu" aria-expanded="false" aria-controls="settings">Settings</button>
<a href="{escape(place.path)}/">Apps</a></header>
{_SETTINGS}
{_SEARCH}
{PANEL if moves_files else ""}<main id="screen" aria-label="Terminal of {escape(app)}"></main>
<p id="passing" role="status" hidden></p>
<footer><div id="keys" role="toolbar" aria-label="Keys" hidden></div></footer>
<p id="hint" role="status" hidden></p><p id="news" role="status" hidden></p>
{_DIALOGS}
<noscript><p>The terminal needs JavaScript. Without it: <code>stagedoor attach {escape(app)}</code>, or
ssh.</p></noscript>"""
    page = place.page(f"{app} · Stagedoor", body, scripts=("terminal.js",), attributes=attributes)
    links = (
        f'<link rel="stylesheet" href="{place.asset("terminal.css")}">'
        f'<link rel="manifest" crossorigin="use-credentials" '
        f'href="{escape(place.path)}/manifest.webmanifest?app={escape(app)}">'
    )
    return page.replace("</head>", links + "</head>", 1)
