"""Pages for administrators on sessions, people, the audit, the reasons for access, and health."""

from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from stagedoor.admin.access.console import ConsoleService
from stagedoor.admin.access.console_credentials import KINDS, list_credentials
from stagedoor.admin.access.questions import describe_change
from stagedoor.admin.audit.search import SearchPage
from stagedoor.listeners.web.console.frame import ConsoleFrame, make_more_link
from stagedoor.listeners.web.console.grants import GrantPages
from stagedoor.listeners.web.console.rules import RulePages
from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.pages.base import Pages
from stagedoor.listeners.web.pages.fields import DAYS, read_days, read_number, read_text
from stagedoor.model.denial import Denial
from stagedoor.model.event import Event
from stagedoor.model.identity import Identity
from stagedoor.model.presence import PresenceEntry
from stagedoor.model.role import Role
from stagedoor.wire.rfc3339 import show_time
from stagedoor.wire.target import parse_login

Live = Callable[[Identity], Awaitable[Sequence[PresenceEntry] | Denial | None]]
_SHOWN_FIELDS = 6


class ConsolePages:
    """The routes of these pages. Belongs to one event loop. A GET changes nothing."""

    def __init__(self, frame: ConsoleFrame, live: Live) -> None:
        """`live` returns the terminals that a person may watch."""
        self._frame = frame
        self._console = frame.console
        self._live = live
        self.routes: list[BaseRoute] = [
            frame.get("/admin/sessions", self._show_sessions),
            frame.change("/admin/sessions/{id}/end", self._end_session),
            frame.get("/admin/people", self._show_people),
            frame.get("/admin/people/{name}", self._show_person),
            frame.change("/admin/people/{name}/{act}", self._update_person),
            frame.get("/admin/sign-ins", self._show_credentials),
            frame.get("/admin/audit", self._show_audit),
            frame.get("/admin/why", self._show_why),
            frame.get("/admin/health", self._show_health),
        ]

    async def _show_sessions(self, request: Request, identity: Identity) -> Response | Denial:
        wanted = read_text(request, "wanted")
        rows = await self._console.list_sessions(identity, wanted)
        if isinstance(rows, Denial):
            return rows
        live = await self._live(identity)
        watchable = (
            set() if live is None or isinstance(live, Denial) else {entry.session for entry in live}
        )
        return self._frame.render(
            identity, "sessions.html", rows=rows, wanted=wanted, watchable=watchable
        )

    async def _end_session(
        self, request: Request, identity: Identity, fields: dict[str, str]
    ) -> str | Denial:
        id_, reason = request.path_params["id"], fields.get("reason", "")
        return await self._console.end_session(identity, id_, reason) or "/sessions"

    async def _show_people(self, request: Request, identity: Identity) -> Response | Denial:
        wanted = read_text(request, "wanted").lower()
        page = await self._console.list_people(identity, wanted, read_text(request, "after"))
        if isinstance(page, Denial):
            return page
        more = make_more_link(wanted=wanted, after=page.after)
        return self._frame.render(identity, "people.html", page=page, wanted=wanted, more=more)

    async def _show_person(self, request: Request, identity: Identity) -> Response | Denial:
        view = await self._console.find_person(identity, request.path_params["name"])
        if isinstance(view, Denial):
            return view
        is_self = view.row.user.name == identity.name
        return self._frame.render(identity, "person.html", view=view, is_self=is_self)

    async def _update_person(
        self, request: Request, identity: Identity, fields: dict[str, str]
    ) -> str | Denial:
        name, act = request.path_params["name"], request.path_params["act"]
        denial = await self._console.update_person(identity, name, act, fields.get("id", ""))
        kind = fields.get("kind", "")
        return denial or (f"/sign-ins?kind={kind}" if kind in KINDS else f"/people/{quote(name)}")

    async def _show_credentials(self, request: Request, identity: Identity) -> Response | Denial:
        kind, wanted = read_text(request, "kind"), read_text(request, "wanted")
        kind = kind if kind in KINDS else KINDS[0]
        after = read_text(request, "after")
        page = await list_credentials(self._console, identity, kind, wanted, after)
        if isinstance(page, Denial):
            return page
        more = make_more_link(kind=kind, wanted=wanted, after=page.after)
        return self._frame.render(
            identity, "sign_ins.html", page=page, kind=kind, kinds=KINDS, wanted=wanted, more=more
        )

    async def _show_audit(self, request: Request, identity: Identity) -> Response:
        text, (days, within_s) = read_text(request, "q"), read_days(request, "31")
        since = None if within_s is None else self._console.now() - within_s
        before = read_number(request, "before")
        page = await self._console.search_audit(identity, text, since, before)
        problem = page.line if isinstance(page, Denial) else ""
        page = SearchPage([]) if isinstance(page, Denial) else page
        return self._frame.render(
            identity,
            "audit.html",
            text=text,
            days=days,
            choices=DAYS,
            problem=problem,
            rows=[
                (entry, describe_event(entry.event), _find_why(entry.event))
                for entry in page.entries
            ],
            more=make_more_link(q=text, days=days, before=page.before),
        )

    async def _show_why(self, request: Request, identity: Identity) -> Response:
        name, app = read_text(request, "user"), read_text(request, "app")
        answer, wrong, may_give = None, "", False
        if name and app:
            target = parse_login(app)
            verdict = None if target is None else self._console.explain(identity, name, target)
            if verdict is None:
                wrong = "Name an app as the home page does."
            elif isinstance(verdict, Denial):
                wrong = verdict.line
            else:
                answer = verdict
                may_give = self._console.find_access(identity).covers(Role.OWNER, verdict.target)
        return self._frame.render(
            identity,
            "why.html",
            name=name,
            app=app,
            answer=answer,
            wrong=wrong,
            describe_change=describe_change,
            may_give=may_give,
        )

    async def _show_health(self, request: Request, identity: Identity) -> Response | Denial:
        checks = "checks" in request.query_params
        report = await self._console.read_health(identity, checks=checks)
        if isinstance(report, Denial):
            return report
        return self._frame.render(identity, "health.html", report=report, checks=checks)


def describe_event(event: Event) -> str:
    """Return the reason and the fields of an event as one line. Pure."""
    fields = [
        str(value) if name == "message" else f"{name} {_show_value(name, value)}"
        for name, value in event.fields.items()
        if value not in (None, "", False)
    ]
    reason = [] if event.reason is None else [str(event.reason)]
    return ", ".join([*reason, *fields[:_SHOWN_FIELDS]])


def _show_value(name: str, value: object) -> str:
    if name.endswith("_at") and isinstance(value, float):
        return show_time(value)
    return str(value)


def _find_why(event: Event) -> str | None:
    """Return the query of the page *why* about an event's user and app, if it names both."""
    if event.identity is None or event.target is None:
        return None
    target = parse_login(event.target)
    if target is None:
        return None
    return "?" + urlencode({"user": event.identity, "app": target.login_name})


def list_console_routes(
    guard: RequestGuard, pages: Pages, console: ConsoleService, live: Live
) -> list[BaseRoute]:
    """Return the routes of all pages of administrators; `live` as for `ConsolePages`."""
    frame = ConsoleFrame(guard, pages, console)
    return [*ConsolePages(frame, live).routes, *GrantPages(frame).routes, *RulePages(frame).routes]
