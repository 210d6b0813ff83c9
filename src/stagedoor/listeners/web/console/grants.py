"""Grants and requests, for administrators: each change is shown before it is made."""

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stagedoor.admin.access import console_grants as grants
from stagedoor.listeners.web.console.frame import ConsoleFrame, read_end, read_number, read_text
from stagedoor.model.access_request import show_period
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import GrantRule
from stagedoor.model.identity import Identity
from stagedoor.model.permission import DEFAULT, Permission, parse_permissions


class GrantPages:
    """The routes of these pages. Belongs to one event loop. A GET changes nothing."""

    def __init__(self, frame: ConsoleFrame) -> None:
        self._frame = frame
        self._console = frame.console
        routes = frame.user_routes
        self.routes: list[BaseRoute] = [
            routes.get("/admin/grants", self._show_all),
            routes.get("/admin/grants/preview", self._preview),
            Route("/admin/grants/add", self._add, methods=["POST"]),
            routes.get("/admin/grants/{number:int}", self._show),
            Route("/admin/grants/{number:int}/remove", self._remove, methods=["POST"]),
            Route("/admin/grants/{number:int}/on-request", self._make_on_request, methods=["POST"]),
            routes.get("/admin/requests", self._show_requests),
        ]

    async def _show_all(self, request: Request, identity: Identity) -> Response:
        wanted = read_text(request, "wanted")
        after = read_number(request, "after") or 0
        page = await grants.list_grants(self._console, identity, wanted, after)
        if isinstance(page, Denial):
            return self._frame.refuse(request, page, identity)
        more = None
        if page.after is not None:
            more = "?" + urlencode({"wanted": wanted, "after": page.after})
        return self._frame.render(
            identity,
            "grants.html",
            page=page,
            wanted=wanted,
            more=more,
            permissions=list(Permission),
            may_give=grants.may_give(self._console, identity),
            usual=DEFAULT,
        )

    async def _preview(self, request: Request, identity: Identity) -> Response:
        """Show who would gain access. A GET: it changes nothing, so its URL can be sent to a colleague."""
        params = request.query_params
        fields = {name: params.get(name, "") for name in ("subject", "app", "environment", "days")}
        fields["permissions"] = ",".join(params.getlist("permission")) or params.get(
            "permissions", ""
        )
        rule = self._parse(fields)
        shown = (
            rule
            if isinstance(rule, Denial)
            else await grants.preview_adding(self._console, identity, rule)
        )
        if isinstance(shown, Denial):
            return self._frame.refuse(request, shown, identity)
        return self._frame.render(
            identity,
            "grant.html",
            shown=shown,
            fields=fields,
            is_new=True,
            may_request=False,
            back=f"{request.url.path}?{request.url.query}",
        )

    async def _add(self, request: Request) -> Response:
        async def add(identity: Identity, fields: dict[str, str]) -> GrantRule | Denial:
            rule = self._parse(fields)
            if isinstance(rule, Denial):
                return rule
            return await grants.add_grant(self._console, identity, rule)

        return await self._frame.change(
            request, add, lambda rule: f"{self._frame.path}/grants/{rule.id}"
        )

    async def _show(self, request: Request, identity: Identity) -> Response:
        number = request.path_params["number"]
        shown = await grants.preview_removing(self._console, identity, number)
        if isinstance(shown, Denial):
            return self._frame.refuse(request, shown, identity)
        may_request = grants.may_make_on_request(self._console, identity, shown.row.rule)
        return self._frame.render(
            identity,
            "grant.html",
            shown=shown,
            fields={},
            is_new=False,
            may_request=may_request,
            back="",
        )

    async def _remove(self, request: Request) -> Response:
        number = request.path_params["number"]

        async def remove(identity: Identity, _: dict[str, str]) -> GrantRule | Denial:
            return await grants.remove_grant(self._console, identity, number)

        return await self._frame.change(request, remove, lambda _: f"{self._frame.path}/grants")

    async def _make_on_request(self, request: Request) -> Response:
        number = request.path_params["number"]

        async def change(identity: Identity, fields: dict[str, str]) -> object:
            approvers = fields.get("approvers", "").replace(",", " ").split()
            return await grants.make_on_request(self._console, identity, number, approvers)

        return await self._frame.change(request, change, lambda _: f"{self._frame.path}/grants")

    async def _show_requests(self, request: Request, identity: Identity) -> Response:
        views = await grants.list_request_views(self._console, identity)
        if isinstance(views, Denial):
            return self._frame.refuse(request, views, identity)
        return self._frame.render(identity, "requests.html", views=views, show_period=show_period)

    def _parse(self, fields: dict[str, str]) -> GrantRule | Denial:
        """Return the grant that a form names. `add_grant` checks its subject and its patterns."""
        try:
            return GrantRule(
                0,
                fields.get("subject", "").strip(),
                fields.get("app", "").strip(),
                fields.get("environment", "").strip() or "*",
                read_end(fields.get("days", ""), self._console.now()),
                parse_permissions([fields.get("permissions", "")]),
            )
        except ValueError as error:
            return Denial(Reason.BAD_REQUEST, str(error))
