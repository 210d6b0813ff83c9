"""The pages of access requests: to ask for access, to wait, and to decide."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from stagedoor.admin.requests.access_requests import RequestRecord
from stagedoor.admin.requests.request_service import RequestService, describe_end
from stagedoor.admin.requests.request_view import RequestView
from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.pages.base import SEE_OTHER, Pages, choose_page_status
from stagedoor.listeners.web.pages.user_routes import UserRoutes
from stagedoor.model.access_request import AccessRequest, RequestState, show_period
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.permission import DEFAULT, ENTERING, Permission, sort_permissions
from stagedoor.model.target import Target
from stagedoor.model.units import HOUR_S, MINUTE_S
from stagedoor.wire.target import MAX_SHOWN_CHARS, parse_login

_USUAL = DEFAULT | {Permission.RECORD}
"""The permissions that the form does not offer, because every request gives them or because they are
duties."""
REFRESH_S = 2
"""The interval at which a page reloads while its request is pending, without a script."""
_OPENS_TERMINAL = "opens=terminal"
"""The query of a request's page after the form. Once approved, it leads to the terminal."""


class RequestPages:
    """The routes of these pages. Belongs to one event loop. A GET changes nothing."""

    def __init__(self, guard: RequestGuard, pages: Pages, requests: RequestService) -> None:
        self._guard = guard
        self._pages = pages
        self._requests = requests
        self._path = f"{pages.place.path}/requests"
        routes = UserRoutes(pages, pages.identify)
        self.routes: list[BaseRoute] = [
            routes.get("/requests", self._show_all),
            routes.post("/requests", self._ask),
            routes.get("/requests/{number:number}", self._show),
            routes.post("/requests/{number:number}/{act}", self._act),
        ]

    async def _show_all(self, request: Request, identity: Identity) -> Response | Denial:
        return await self._render_all(identity, request.query_params.get("app", ""))

    async def _render_all(
        self, identity: Identity, app: str, wrong: str = "", reason: str = ""
    ) -> Response | Denial:
        open_requests = await self._requests.list_requests(identity)
        if isinstance(open_requests, Denial):
            return open_requests
        target = parse_login(app)
        offer = None if target is None else self._requests.offers.find_offer(identity, target)
        if offer is not None and offer.request is not None:
            return RedirectResponse(f"{self._path}/{offer.request.id}?{_OPENS_TERMINAL}", SEE_OTHER)
        rules = self._requests.offers.list_rules(identity)
        return self._pages.render(
            "requests.html",
            identity,
            403 if wrong else 200,
            requests=[(r, r.find_state(self._guard.flow.now())) for r in open_requests],
            app=app[:MAX_SHOWN_CHARS],
            offer=offer,
            wrong=wrong,
            reason=reason,
            may_ask=bool(rules),
            extras=sort_permissions(frozenset().union(*(r.permissions for r in rules)) - _USUAL),
            may_break_glass=any(rule.is_break_glass for rule in rules),
            show_period=show_period,
        )

    async def _ask(
        self, _: Request, identity: Identity, fields: dict[str, str]
    ) -> Response | Denial:
        apps, reason = fields.get("app", ""), fields.get("reason", "")
        targets = _parse_targets(apps)
        lasts_s, wait_s = (
            _parse_duration(fields.get("minutes", "")),
            _parse_duration(fields.get("hours", ""), HOUR_S),
        )
        if targets is None or lasts_s is None or wait_s is None:
            wrong = "name apps as the home page does, and a number of minutes or hours"
            return await self._render_all(identity, apps, wrong, reason)
        starts_at = self._guard.flow.now() + wait_s if wait_s else None
        made = await self._requests.make(
            identity,
            targets,
            reason,
            lasts_s or None,
            needs=ENTERING | {p for p in Permission if f"allow-{p}" in fields},
            break_glass="break_glass" in fields,
            starts_at=starts_at,
        )
        if isinstance(made, Denial):
            if made.reason is Reason.STEP_UP_NEEDED:
                return self._pages.ask_for_proof(self._path)
            return await self._render_all(identity, apps, made.line, reason)
        return RedirectResponse(f"{self._path}/{made.id}?{_OPENS_TERMINAL}", SEE_OTHER)

    async def _show(self, request: Request, identity: Identity) -> Response | Denial:
        record = await self._requests.read(identity, request.path_params["number"])
        if isinstance(record, Denial):
            return record
        view = None
        if record.request.user != identity.name:
            view = await self._requests.describe(identity, record.request)
        if isinstance(view, Denial):
            return view
        from_form = request.query_params.get("opens") == "terminal"
        return self._render_one(identity, record, view, from_form=from_form)

    def _render_one(
        self,
        identity: Identity,
        record: RequestRecord,
        view: RequestView | None,
        *,
        from_form: bool,
    ) -> Response:
        now, asked = self._guard.flow.now(), record.request
        state, is_own = asked.find_state(now), asked.user == identity.name
        onward = None
        is_open = state is RequestState.APPROVED and not asked.is_later(now)
        if is_own and is_open and len(asked.targets) == 1:
            onward = f"{self._pages.place.path}/app/{asked.targets[0].login_name}"
        return self._pages.render(
            "request.html",
            identity,
            request=asked,
            view=view,
            rule=self._requests.offers.find_rule_of(asked),
            decisions=record.decisions,
            state=state,
            said="" if state is RequestState.PENDING else describe_end(record, now),
            is_own=is_own,
            may_leave=is_own and state in (RequestState.PENDING, RequestState.APPROVED),
            may_decide=view is not None and view.may_decide and state is RequestState.PENDING,
            may_review=not is_own and asked.needs_review,
            minutes=f"{asked.lasts_s / MINUTE_S:.0f}",
            refresh_s=REFRESH_S if is_own and state is RequestState.PENDING else None,
            onward=onward,
            opens_terminal=from_form and onward is not None and asked.began_at is None,
            path=f"{self._path}/{asked.id}",
            show_period=show_period,
        )

    async def _act(self, request: Request, identity: Identity, fields: dict[str, str]) -> Response:
        number = request.path_params["number"]
        result = await self._perform(identity, number, request.path_params["act"], fields)
        if result is None:
            return self._pages.answer_message(
                "Not found", "There is no such page here.", 404, identity
            )
        if isinstance(result, Denial):
            if result.reason is Reason.STEP_UP_NEEDED:
                return self._pages.ask_for_proof(f"{self._path}/{number}")
            return self._pages.answer_message(
                "Nothing was changed", result.line, choose_page_status(result), identity
            )
        return RedirectResponse(f"{self._path}/{number}", SEE_OTHER)

    async def _perform(
        self, identity: Identity, number: int, act: str, fields: dict[str, str]
    ) -> AccessRequest | Denial | None:
        match act:
            case "approve":
                lasts_s = _parse_duration(fields.get("minutes", ""))
                if lasts_s is None:
                    return Denial(Reason.BAD_REQUEST, "give a number of minutes")
                return await self._requests.decide(
                    identity, number, is_yes=True, lasts_s=lasts_s or None
                )
            case "deny":
                note = fields.get("why", "")
                return await self._requests.decide(identity, number, is_yes=False, note=note)
            case "withdraw":
                return await self._requests.leave(identity, number)
            case "review":
                return await self._requests.review(identity, number)
        return None


def _parse_targets(apps: str) -> Sequence[Target] | None:
    """Return the apps in a form, separated by blanks or commas, or None if a word is not an app's name."""
    targets = [parse_login(word) for word in apps.replace(",", " ").split()]
    named = [target for target in targets if target is not None]
    return named if len(named) == len(targets) else None


def _parse_duration(text: str, unit_s: float = MINUTE_S) -> float | None:
    """Return a number of `unit_s` in seconds, 0 for an empty field, or None for any other text."""
    text = text.strip()
    if not text:
        return 0.0
    is_number = text.isascii() and text.isdigit() and len(text) < 7
    return float(text) * unit_s if is_number else None
