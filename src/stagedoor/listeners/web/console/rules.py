"""Pages on other rules than grants, for administrators. Each change is previewed before it is made."""

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from stagedoor.admin.access import console_rules as rules
from stagedoor.admin.access.console_rules import Rule
from stagedoor.listeners.web.console.frame import ConsoleFrame, join_permissions, read_end
from stagedoor.listeners.web.pages.fields import read_text
from stagedoor.model.access_request import RequestRule, show_period
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import RefusedError
from stagedoor.model.hours import require_hours
from stagedoor.model.identity import Identity
from stagedoor.model.permission import DEFAULT, Permission, parse_permissions
from stagedoor.model.role import Role, RoleRule
from stagedoor.wire.duration import parse_duration

Fields = Mapping[str, str]
KINDS: Mapping[str, type[Rule]] = {"request": RequestRule, "role": RoleRule}
_MAX_APPROVALS = 10


class RulePages:
    """The routes of these pages. Belongs to one event loop. A GET changes nothing."""

    def __init__(self, frame: ConsoleFrame) -> None:
        self._frame = frame
        self._console = frame.console
        one = "/admin/rules/{kind}/{number:number}"
        self.routes: list[BaseRoute] = [
            frame.get("/admin/rules", self._show_all),
            frame.get("/admin/rules/{kind}", self._show_all),
            frame.get("/admin/rules/{kind}/preview", self._preview),
            frame.change("/admin/rules/{kind}/add", self._add),
            frame.get(one, self._show),
            frame.change(f"{one}/remove", self._remove),
        ]

    async def _show_all(self, _: Request, identity: Identity) -> Response | Denial:
        view = await rules.list_rules(self._console, identity)
        if isinstance(view, Denial):
            return view
        return self._frame.render(
            identity,
            "rules.html",
            view=view,
            step_up=self._console.settings.step_up,
            permissions=[named for named in Permission if named is not Permission.ENTER],
            usual=DEFAULT,
            roles=list(Role),
            show_period=show_period,
        )

    async def _preview(self, request: Request, identity: Identity) -> Response | Denial:
        """Show who would gain. As a GET it changes nothing, so its URL can be sent to a colleague."""
        fields = {name: read_text(request, name) for name in request.query_params}
        fields["permissions"] = join_permissions(request)
        rule = self._parse(request, fields)
        if isinstance(rule, Denial):
            return rule
        shown = await rules.preview_adding(self._console, identity, rule)
        if isinstance(shown, Denial):
            return shown
        back = f"{request.url.path}?{request.url.query}"
        return self._render(request, identity, shown, fields, back)

    async def _add(
        self, request: Request, identity: Identity, fields: dict[str, str]
    ) -> str | Denial:
        rule = self._parse(request, fields)
        if not isinstance(rule, Denial):
            rule = await rules.add_rule(self._console, identity, rule)
        return rule if isinstance(rule, Denial) else "/rules"

    async def _show(self, request: Request, identity: Identity) -> Response | Denial:
        number = request.path_params["number"]
        shown = await rules.preview_removing(self._console, identity, _find_kind(request), number)
        if isinstance(shown, Denial):
            return shown
        return self._render(request, identity, shown, {}, request.url.path)

    async def _remove(
        self, request: Request, identity: Identity, _: dict[str, str]
    ) -> str | Denial:
        kind, number = _find_kind(request), request.path_params["number"]
        removed = await rules.remove_rule(self._console, identity, kind, number)
        return removed if isinstance(removed, Denial) else "/rules"

    def _render(
        self,
        request: Request,
        identity: Identity,
        shown: rules.RulePreview,
        fields: Fields,
        back: str,
    ) -> Response:
        return self._frame.render(
            identity,
            "rule.html",
            shown=shown,
            kind=request.path_params["kind"],
            fields=fields,
            back=back,
            show_period=show_period,
        )

    def _parse(self, request: Request, fields: Fields) -> Rule | Denial:
        """Return the rule that a form names. `admin` checks its subjects and patterns."""
        parse = _parse_role if _find_kind(request) is RoleRule else _parse_request_rule
        try:
            return parse(fields, self._console.now())
        except (ValueError, RefusedError) as error:
            return Denial(Reason.BAD_REQUEST, str(error))


def _find_kind(request: Request) -> type[Rule]:
    """Return the kind of rule in the path. Raises HTTPException for any other word."""
    kind = KINDS.get(request.path_params["kind"])
    if kind is None:
        raise HTTPException(404)
    return kind


def _parse_role(fields: Fields, now: float) -> RoleRule:
    """Return the role that a form gives. Raises ValueError."""
    role = fields.get("role", "")
    if role not in list(Role):
        raise ValueError(f"{role!r} is not a role; there are: {', '.join(Role)}")
    return RoleRule(
        0,
        fields.get("subject", "").strip(),
        Role(role),
        fields.get("app", "").strip() or "*",
        fields.get("environment", "").strip() or "*",
        read_end(fields.get("days", ""), now),
    )


def _parse_request_rule(fields: Fields, _now: float) -> RequestRule:
    """Return the rule of a form. Raises ValueError, RefusedError."""
    is_break_glass = "break_glass" in fields
    longest_s = parse_duration(
        fields.get("longest", "").strip() or ("30m" if is_break_glass else "1h")
    )
    if longest_s is None:
        raise ValueError("the longest access is not a duration; write 30m, 2h or 1d")
    hours = fields.get("hours", "").strip()
    allowed = [word for word in fields.get("permissions", "").split(",") if word]
    approvals = "0" if is_break_glass else fields.get("approvals", "").strip() or "1"
    if not (approvals.isascii() and approvals.isdigit() and int(approvals) <= _MAX_APPROVALS):
        raise ValueError(f"approvals are a number up to {_MAX_APPROVALS}")
    return RequestRule(
        0,
        fields.get("subject", "").strip(),
        fields.get("app", "").strip(),
        fields.get("environment", "").strip() or "*",
        parse_permissions([*allowed, Permission.ENTER]),
        longest_s,
        tuple(dict.fromkeys(fields.get("approvers", "").replace(",", " ").split())),
        int(approvals),
        fields.get("reason", "").strip() or "*",
        is_break_glass,
        "step_up" in fields,
        require_hours(hours) if hours else None,
    )
