"""The pages as HTML, rendered from `listeners/web/templates`, which escape every value.

Pages work without JavaScript. docs/decisions/0038 explains why they are templates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stagedoor.admin.sessions import SessionRecord
from stagedoor.listeners.web.guard import STAGEDOOR, Brand
from stagedoor.listeners.web.pages.assets import Assets
from stagedoor.listeners.web.pages.language import (
    get_language,
    translate,
    translate_meaning,
    translate_state,
    translate_template,
)
from stagedoor.model.policy import KeyRecord
from stagedoor.model.presence import PresenceEntry
from stagedoor.model.units import format_size

_STATES = {"absent": "not running", "ready": "running", "unreachable": "does not answer"}
_NO_HOLDER = "This shell has no terminals for the page. Enter it by ssh, or ask an administrator."
_MAX_SHOWN = 24
_FIRST = 20
"""If there are more apps, the page shows only this many, so that Tab passes through it in 60 steps."""
ACCESS_METHODS = {
    "connect": "tunnel",
    "jump": "jump host",
    "direct": "direct login",
    "web": "WebShell",
}


def _format_clock(seconds: float) -> str:
    """Return a duration as the player shows it: `6:43`, `1:00:05`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _choose_plural(one: str, several: str, number: int) -> str:
    """Return the text of a template for a number of things."""
    return translate_template(one if number == 1 else several)


@lru_cache(maxsize=256)
def _translate_value(line: str, _language: str) -> str:
    """Return a value of a template in the request's language. Rows of a table repeat a few of them."""
    return translate(line)


def _make_environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent.with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.policies["ext.i18n.trimmed"] = True
    # `{% trans %}` and `_()` in a template escape every value in a text, as templates do everywhere.
    environment.install_gettext_callables(  # type: ignore[attr-defined]  # of the extension
        translate_template, _choose_plural, newstyle=True, pgettext=translate_meaning
    )
    environment.filters |= {
        "clock": _format_clock,
        "size": format_size,
        "state": translate_state,
        "translate": lambda line: _translate_value(line, get_language()),
        "utc": lambda at: datetime.fromtimestamp(at, UTC),
    }
    return environment


TEMPLATES = _make_environment()


@dataclass(frozen=True, slots=True)
class AppRow:
    """An app that the user may enter, as the home page shows it.

    `name` is its login name, and `app` and `environment` are the two parts of that. `used_at` is when the
    user last opened a session there, in seconds since the epoch; `inside` has the users with an open one.
    """

    name: str
    host: str
    state: str
    page: str
    ssh: str
    has_terminals: bool = True
    """Whether its shell has a known holder."""
    notice: str | None = None
    permits: str = ""
    """Sentences about what the user may do there besides entering."""
    is_recorded: bool = False
    used_at: float | None = None
    inside: Sequence[str] = ()

    @property
    def app(self) -> str:
        """The name without the environment."""
        return self.name.partition(".")[0]

    @property
    def environment(self) -> str | None:
        """The environment, or None if the name has none."""
        return self.name.partition(".")[2] or None


@dataclass(frozen=True, slots=True)
class PageUser:
    """The user of a page, as its header shows them."""

    name: str
    is_person: bool
    shows_recordings: bool = False
    """Whether there are recordings that the user may play."""
    requests: int | None = None
    """How many requests wait for the user's decision. None for a user who may neither ask for access nor
    decide."""
    shows_runs: bool = False
    """Whether the user may have runs."""
    administers: bool = False
    """Whether the user has a role, and so access to the pages of administrators."""
    administers_all: bool = False
    """Whether that role is for all apps."""
    signed_in_until: float | None = None
    """When the sign-in ends, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class PagePath:
    """The place of the pages: `path` is the prefix of all their paths."""

    path: str
    assets: Assets
    brand: Brand = STAGEDOOR

    def asset(self, name: str) -> str:
        """Return the path of an asset, with the prefix."""
        return self.path + self.assets.path(name)

    def page(self, template: str, **values: object) -> str:
        """Render a whole page; the template escapes all text in `values`."""
        language = get_language()
        return TEMPLATES.get_template(template).render(place=self, language=language, **values)


def render_message(
    place: PagePath,
    title: str,
    message: str,
    *,
    visitor: PageUser | None = None,
) -> str:
    """Render a page with one message, a denial or an error."""
    return place.page("said.html", title=title, message=message, role="alert", visitor=visitor)


def render_sign_in(
    place: PagePath,
    next_path: str,
    providers: Sequence[str] = (),
    why: str = "",
    name: str = "",
    *,
    passkeys: bool = False,
) -> str:
    """Render the form to sign in, below a button for each identity provider.

    `why` explains the failure of the last attempt. `passkeys` is whether to offer passkeys.
    """
    return place.page(
        "sign_in.html",
        next_path=next_path,
        providers=providers,
        why=why,
        name=name,
        passkeys=passkeys,
    )


def render_onward(place: PagePath, url: str) -> str:
    """Render a page that opens an identity provider's page automatically."""
    return place.page("onward.html", url=url)


def render_home(
    place: PagePath,
    visitor: PageUser,
    apps: Sequence[AppRow],
    past: Sequence[SessionRecord],
    keys: Sequence[KeyRecord],
    *,
    live: Sequence[PresenceEntry] | None = None,
    ssh_setup: str | None = None,
    token_ends_at: float | None = None,
    shows_all: bool = False,
) -> str:
    """Render the home page, with the recently used apps first.

    If there are many apps, it shows the first ones and its script all others, unless `shows_all`.
    `live` is None for a user who may not watch others. `ssh_setup` is the command to run once.
    `token_ends_at` is the end of a token that ends soon.
    """
    ordered = sorted(apps, key=lambda app: (-(app.used_at or 0), app.name))
    shown = len(apps) if shows_all or len(apps) <= _MAX_SHOWN else _FIRST
    running = sum(app.state == "ready" for app in apps)
    return place.page(
        "home.html",
        visitor=visitor,
        apps=ordered[:shown],
        more_apps=ordered[shown:],
        counted=(
            f"1 app, {running} running"
            if len(apps) == 1
            else f"{len(apps)} apps, {running} running"
        ),
        past=past,
        pages={app.host: app.page for app in apps if app.has_terminals},
        keys=keys,
        live=live,
        ssh_setup=ssh_setup,
        no_holder=_NO_HOLDER,
        states=_STATES,
        access_methods=ACCESS_METHODS,
        token_ends_at=token_ends_at,
    )


def render_terminal(
    place: PagePath,
    app: str,
    nonce: str,
    name: str,
    *,
    moves_files: bool = False,
    tmux: bool = False,
    guest: str = "",
    notice: str | None = None,
    is_known: bool = True,
) -> str:
    """Render the terminal's page for the user `name`. Its script puts `nonce` on style elements.

    `tmux`: whether a new terminal starts tmux for users without a choice of their own in the page's
    settings. `guest`: `share`, or the id of the session to watch; such a page has nothing to share or list.
    `notice`: a line saying that the shell runs an older version of its app. `is_known`: whether such an app
    exists here now, so that opening a terminal again may help after a refusal.
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
        is_known=is_known,
    )
