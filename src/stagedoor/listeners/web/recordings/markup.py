"""The pages of recordings as HTML: the list needs no JavaScript, the player does."""

from collections.abc import Sequence
from html import escape

from stagedoor.admin.recording_service import Take
from stagedoor.listeners.web.pages.markup import Place, time_of
from stagedoor.model.target import Target
from stagedoor.model.units import size

SPEEDS = ("0.5", "1", "2", "4", "8")


def recordings(place: Place, takes: Sequence[Take], wanted: str, more: str) -> str:
    """The list, the newest first. `more` is the path of the next page, empty for none."""
    rows = "".join(
        f'<tr><td><a href="{escape(place.path)}/recordings/{escape(one.id)}">{_when(one)}</a></td>'
        f"<td>{escape(one.user or 'unknown')}</td><td>{escape(_app(one.target))}</td>"
        f'<td class="number">{_lasts(one)}</td><td class="number size">{escape(size(one.size))}</td>'
        f'<td class="number">{"encrypted" if one.sealed else _download(place, one)}</td></tr>'
        for one in takes
    )
    heads = ("Login", "Who", "App", "Duration", "Size", "File")
    head = "".join(f'<th scope="col" class="{name.lower()}">{name}</th>' for name in heads)
    listed = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    if not takes:
        listed = "<p>None that you may play.</p>" if not (wanted or more) else "<p>None here.</p>"
    onward = f'<p><a href="{escape(more)}">Older ones</a></p>' if more else ""
    body = f"""{_bar(place, "Recordings")}
<main><form method="get" action="{escape(place.path)}/recordings" role="search">
<label for="wanted">A person's or an app's name</label>
<input id="wanted" name="wanted" value="{escape(wanted)}" spellcheck="false" autocapitalize="none">
<button type="submit">Find</button></form>{listed}{onward}</main>"""
    return place.page("Recordings · Stagedoor", body)


def sealed_line(take: Take) -> str:
    """Why an encrypted one is not played here, and how it is. One line."""
    return (
        f"This recording is encrypted, and the gateway has no key to it; whoever has one plays it with: "
        f"stagedoor recording play {take.id} --identity FILE"
    )


def sealed(place: Place, take: Take) -> str:
    """The page of an encrypted one."""
    body = f"""{_bar(place, _title(take))}
<main><p>{_about(take)}</p><p role="alert">{escape(sealed_line(take))}</p></main>"""
    return place.page(f"{_title(take)} · Stagedoor", body)


def player(place: Place, take: Take, source: str, nonce: str) -> str:
    """The player's page; its script reads `source`, and marks its style elements with `nonce`."""
    attributes = (
        f' class="replay" data-source="{escape(source)}" data-size="{take.size}" '
        f'data-nonce="{escape(nonce)}"'
    )
    speeds = "".join(
        f'<option value="{one}"{" selected" if one == "1" else ""}>{one}×</option>'
        for one in SPEEDS
    )
    body = f"""{_bar(place, _title(take))}
<main><p id="about">{_about(take)}</p>
<div id="screen" role="region" aria-label="What the terminal showed"></div>
<p id="said" role="status"></p>
<div id="controls" role="group" aria-label="Player">
<button type="button" id="play">Play</button>
<div id="track"><input type="range" id="seek" min="0" max="0" step="any" value="0"
 aria-label="Position"><div id="marks" aria-hidden="true"></div></div>
<span id="clock">0:00 / {_clock(take.lasts_s or 0)}</span>
<button type="button" id="previous" aria-label="Previous mark" disabled>[</button>
<button type="button" id="next" aria-label="Next mark" disabled>]</button>
<label>Speed <select id="speed">{speeds}</select></label>
<label><input type="checkbox" id="idle" checked> Skip pauses</label>
<label><input type="checkbox" id="reader"> Screen reader</label>
<button type="button" id="copy">Copy text</button>{_download(place, take)}</div>
<p id="keys">Space plays and pauses, ← and → go 5 seconds, [ and ] go to where something was typed,
&lt; and &gt; change the speed.</p></main>
<noscript><p>The player needs JavaScript. Without it:
<code>stagedoor recording play {escape(take.id)}</code></p></noscript>"""
    page = place.page(
        f"{_title(take)} · Stagedoor", body, scripts=("replay.js",), attributes=attributes
    )
    style = f'<link rel="stylesheet" href="{place.asset("replay.css")}">'
    return page.replace("</head>", f"{style}</head>", 1)


def _download(place: Place, take: Take) -> str:
    """The file, which asciinema plays too."""
    path = f"{place.path}/recordings/{take.id}/cast"
    label = f"Download {take.id}.cast"
    return f'<a class="download" href="{escape(path)}" download aria-label="{escape(label)}">Download</a>'


def _lasts(take: Take) -> str:
    """How long it is; of an encrypted one, from the login to its last byte."""
    if take.lasts_s is not None:
        return _clock(take.lasts_s)
    if take.sealed and take.opened_at is not None:
        return f"~{_clock(max(take.written_at - take.opened_at, 0))}"
    return ""


def _clock(seconds: float) -> str:
    """As the player has it: `6:43`, `1:00:05`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _bar(place: Place, title: str) -> str:
    up = (
        ""
        if title == "Recordings"
        else f'<a href="{escape(place.path)}/recordings">Recordings</a> '
    )
    return (
        f"<header><h1>{escape(title)}</h1>"
        f'<nav>{up}<a href="{escape(place.path)}/">Apps</a></nav></header>'
    )


def _title(take: Take) -> str:
    return f"{take.user or 'unknown'} in {_app(take.target)}"


def _about(take: Take) -> str:
    return f"{_when(take)}, {escape(size(take.size))}, <code>{escape(take.id)}</code>"


def _when(take: Take) -> str:
    return time_of(take.written_at if take.opened_at is None else take.opened_at)


def _app(target: Target | None) -> str:
    return "an unknown app" if target is None else target.login_name
