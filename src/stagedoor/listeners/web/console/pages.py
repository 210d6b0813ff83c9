"""The pages for administrators on sessions, people, the audit, the reasons for access, and health."""

from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stagedoor.admin.access.console import ConsoleService
from stagedoor.admin.access.console_credentials import KINDS, list_credentials
from stagedoor.admin.access.questions import describe_change
from stagedoor.listeners.web.console.frame import ConsoleFrame, read_number, read_text
from stagedoor.listeners.web.console.grants import GrantPages
from stagedoor.listeners.web.console.rules import RulePages
from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.pages.base import Pages
from stagedoor.model.denial import Denial
from stagedoor.model.event import Event
from stagedoor.model.identity import Identity
from stagedoor.model.presence import PresenceEntry
from stagedoor.model.units import DAY_S
from stagedoor.wire.rfc3339 import show_time
from stagedoor.wire.target import parse_login

Live = Callable[[Identity], Awaitable[Sequence[PresenceEntry] | Denial | None]]
DAYS = ("1", "7", "31", "")
_SHOWN_FIELDS = 6


class ConsolePages:
    """The routes of these pages. Belongs to one event loop. A GET changes nothing."""

    def __init__(self, frame: ConsoleFrame, live: Live) -> None:
        """`live` returns the terminals that a person may watch."""
        self._frame = frame
        self._console = frame.console
        self._live = live
        routes = frame.user_routes
        self.routes: list[BaseRoute] = [
            routes.get("/admin/sessions", self._show_sessions),
            Route("/admin/sessions/{id}/end", self._end_session, methods=["POST"]),
            routes.get("/admin/people", self._show_people),
            routes.get("/admin/people/{name}", self._show_person),
            Route("/admin/people/{name}/{act}", self._update_person, methods=["POST"]),
            routes.get("/admin/sign-ins", self._show_credentials),
            routes.get("/admin/audit", self._show_audit),
            routes.get("/admin/why", self._show_why),
            routes.get("/admin/health", self._show_health),
        ]

    async def _show_sessions(self, request: Request, identity: Identity) -> Response:
        wanted = read_text(request, "wanted")
        rows = await self._console.list_sessions(identity, wanted)
        if isinstance(rows, Denial):
            return self._frame.refuse(request, rows, identity)
        live = await self._live(identity)
        watchable = (
            set() if live is None or isinstance(live, Denial) else {entry.session for entry in live}
        )
        return self._frame.render(
            identity,
            "sessions.html",
            rows=rows,
            wanted=wanted,
            watchable=watchable,
        )

    async def _end_session(self, request: Request) -> Response:
        async def end(identity: Identity, fields: dict[str, str]) -> bool | Denial:
            reason = fields.get("reason", "")
            denial = await self._console.end_session(identity, request.path_params["id"], reason)
            return denial or True

        return await self._frame.change(request, end, lambda _: f"{self._frame.path}/sessions")

    async def _show_people(self, request: Request, identity: Identity) -> Response:
        wanted = read_text(request, "wanted").lower()
        page = await self._console.list_people(identity, wanted, read_text(request, "after"))
        if isinstance(page, Denial):
            return self._frame.refuse(request, page, identity)
        more = None
        if page.after is not None:
            more = "?" + urlencode({"wanted": wanted, "after": page.after})
        return self._frame.render(identity, "people.html", page=page, wanted=wanted, more=more)

    async def _show_person(self, request: Request, identity: Identity) -> Response:
        view = await self._console.find_person(identity, request.path_params["name"])
        if isinstance(view, Denial):
            return self._frame.refuse(request, view, identity)
        is_self = view.row.user.name == identity.name
        return self._frame.render(identity, "person.html", view=view, is_self=is_self)

    async def _update_person(self, request: Request) -> Response:
        name, act = request.path_params["name"], request.path_params["act"]

        async def change(identity: Identity, fields: dict[str, str]) -> str | Denial:
            id_ = fields.get("id", "")
            denial = await self._console.update_person(identity, name, act, id_)
            return denial or fields.get("kind", "")

        def find_onward(kind: str) -> str:
            place = f"sign-ins?kind={kind}" if kind in KINDS else f"people/{quote(name)}"
            return f"{self._frame.path}/{place}"

        return await self._frame.change(request, change, find_onward)

    async def _show_credentials(self, request: Request, identity: Identity) -> Response:
        kind, wanted = read_text(request, "kind"), read_text(request, "wanted")
        kind = kind if kind in KINDS else KINDS[0]
        after = read_text(request, "after")
        page = await list_credentials(self._console, identity, kind, wanted, after)
        if isinstance(page, Denial):
            return self._frame.refuse(request, page, identity)
        query = {"kind": kind, "wanted": wanted, "after": page.after or ""}
        more = None if page.after is None else "?" + urlencode(query)
        return self._frame.render(
            identity, "sign_ins.html", page=page, kind=kind, kinds=KINDS, wanted=wanted, more=more
        )

    async def _show_audit(self, request: Request, identity: Identity) -> Response:
        text, days = read_text(request, "q"), request.query_params.get("days", "31")
        days = days if days in DAYS else "31"
        since = self._console.now() - int(days) * DAY_S if days else None
        page = await self._console.search_audit(
            identity, text, since, read_number(request, "before")
        )
        problem = ""
        if isinstance(page, Denial):
            problem, entries, before = page.line, [], None
        else:
            entries, before = list(page.entries), page.before
        more = None
        if before is not None:
            more = "?" + urlencode({"q": text, "days": days, "before": before})
        return self._frame.render(
            identity,
            "audit.html",
            text=text,
            days=days,
            choices=DAYS,
            problem=problem,
            rows=[
                (entry, describe_event(entry.event), _find_why(entry.event)) for entry in entries
            ],
            more=more,
        )

    async def _show_why(self, request: Request, identity: Identity) -> Response:
        name, app = read_text(request, "user"), read_text(request, "app")
        answer, wrong = None, ""
        if name or app:
            target = parse_login(app)
            verdict = None if target is None else self._console.explain(identity, name, target)
            if verdict is None:
                wrong = "Name an app as the home page does."
            elif isinstance(verdict, Denial):
                wrong = verdict.line
            else:
                answer = verdict
        return self._frame.render(
            identity,
            "why.html",
            name=name,
            app=app,
            answer=answer,
            wrong=wrong,
            describe_change=describe_change,
        )

    async def _show_health(self, request: Request, identity: Identity) -> Response:
        checks = "checks" in request.query_params
        report = await self._console.read_health(identity, checks=checks)
        if isinstance(report, Denial):
            return self._frame.refuse(request, report, identity)
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
