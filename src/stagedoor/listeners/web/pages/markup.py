"""The pages as HTML, of the templates in `listeners/web/templates`, which escape every value.

They need no JavaScript. docs/decisions/0038 says why templates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stagedoor.admin.account import AccountSession
from stagedoor.listeners.web.pages.assets import Assets
from stagedoor.model.policy import KeyRecord
from stagedoor.model.presence import PresenceEntry
from stagedoor.model.units import size

_STATES = {"absent": "not running", "ready": "running", "unreachable": "does not answer"}
_NO_HOLDER = "This shell has no terminals for the page. Enter it by ssh, or ask an administrator."
_FILTER_FROM = 8
"""As many apps are seen at once; a filter would be one thing more to read."""
_WAYS = {"connect": "tunnel", "jump": "jump host", "direct": "direct login", "web": "WebShell"}


def _clock(seconds: float) -> str:
    """As the player has it: `6:43`, `1:00:05`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _templates() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent.with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "clock": _clock,
        "size": size,
        "utc": lambda at: datetime.fromtimestamp(at, UTC),
    }
    return made


_TEMPLATES = _templates()


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
class PagePath:
    """Where the pages are: `path` is what every path of theirs begins with."""

    path: str
    assets: Assets

    def asset(self, name: str) -> str:
        return self.path + self.assets.path(name)

    def page(self, template: str, **values: object) -> str:
        """A whole page. Everything in `values` is text, or has text."""
        return _TEMPLATES.get_template(template).render(place=self, **values)


def said(
    place: PagePath, title: str, message: str, *, home: bool = True, role: str = "alert"
) -> str:
    """A denial, or anything else that went wrong, in plain words; with another role, what went right."""
    return place.page("said.html", title=title, message=message, home=home, role=role)


def sign_in(
    place: PagePath,
    next_path: str,
    providers: Sequence[str] = (),
    why: str = "",
    name: str = "",
    *,
    passkeys: bool = False,
) -> str:
    """The form, below a button for each identity provider. `why` is what was wrong with the last try.
    `passkeys`: whether one may sign somebody in."""
    return place.page(
        "sign_in.html",
        next_path=next_path,
        providers=providers,
        why=why,
        name=name,
        passkeys=passkeys,
    )


def onward(place: PagePath, url: str) -> str:
    """Leads to an identity provider's page, by itself."""
    return place.page("onward.html", url=url)


def link(place: PagePath) -> str:
    """Where a one-time link leads: the script posts what stands behind the `#`, which no server sees."""
    return place.page("link.html")


def shared(place: PagePath) -> str:
    """Where a share's link leads: the script keeps what stands behind the `#` for this tab alone."""
    return place.page("shared.html")


def home(
    place: PagePath,
    name: str,
    apps: Sequence[App],
    past: Sequence[AccountSession],
    keys: Sequence[KeyRecord],
    *,
    is_person: bool,
    shows_recordings: bool = False,
    live: Sequence[PresenceEntry] | None = None,
    ssh_setup: str | None = None,
    token_ends_at: float | None = None,
) -> str:
    """What a person who has signed in sees first. `live` is None for those who may not watch others.
    `ssh_setup` is the command to run once; `token_ends_at` is of a token that ends soon."""
    return place.page(
        "home.html",
        name=name,
        apps=apps,
        past=past,
        keys=keys,
        is_person=is_person,
        shows_recordings=shows_recordings,
        live=live,
        ssh_setup=ssh_setup,
        filter_from=_FILTER_FROM,
        no_holder=_NO_HOLDER,
        states=_STATES,
        ways=_WAYS,
        token_ends_at=token_ends_at,
    )


def terminal(
    place: PagePath,
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

    `tmux`: what a new terminal starts, for users who have not chosen in the page's settings.
    `guest`: `share`, or the session that is watched; then there is nothing to share or to list.
    `notice`: that the shell is of an older version of its app.
    """
    return place.page(
        "terminal.html",
        app=app,
        nonce=nonce,
        name=name,
        moves_files=moves_files,
        tmux=tmux,
        guest=guest,
        notice=notice,
    )
