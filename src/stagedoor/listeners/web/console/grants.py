"""Pages on grants and requests, for administrators. Each change is previewed before it is made."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from stagedoor.admin.access import console_grants as grants
from stagedoor.listeners.web.console.frame import (
    ConsoleFrame,
    join_permissions,
    make_more_link,
    read_end,
)
from stagedoor.listeners.web.pages.fields import read_number, read_text
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
        one = "/admin/grants/{number:number}"
        self.routes: list[BaseRoute] = [
            frame.get("/admin/grants", self._show_all),
            frame.get("/admin/grants/preview", self._preview),
            frame.change("/admin/grants/add", self._add),
            frame.get(one, self._show),
            frame.change(f"{one}/remove", self._remove),
            frame.change(f"{one}/on-request", self._make_on_request),
            frame.get("/admin/requests", self._show_requests),
        ]

    async def _show_all(self, request: Request, identity: Identity) -> Response | Denial:
        wanted = read_text(request, "wanted")
        after = read_number(request, "after") or 0
        page = await grants.list_grants(self._console, identity, wanted, after)
        if isinstance(page, Denial):
            return page
        return self._frame.render(
            identity,
            "grants.html",
            page=page,
            wanted=wanted,
            more=make_more_link(wanted=wanted, after=page.after),
            permissions=list(Permission),
            may_give=grants.may_give(self._console, identity),
            usual=DEFAULT,
        )

    async def _preview(self, request: Request, identity: Identity) -> Response | Denial:
        """Show who would gain access. As a GET it changes nothing, so its URL can be sent to a colleague."""
        params = request.query_params
        fields = {name: params.get(name, "") for name in ("subject", "app", "environment", "days")}
        fields["permissions"] = join_permissions(request)
        rule = self._parse(fields)
        if isinstance(rule, Denial):
            return rule
        shown = await grants.preview_adding(self._console, identity, rule)
        if isinstance(shown, Denial):
            return shown
        return self._frame.render(
            identity,
            "grant.html",
            shown=shown,
            fields=fields,
            is_new=True,
            may_request=False,
            back=f"{request.url.path}?{request.url.query}",
        )

    async def _add(self, _: Request, identity: Identity, fields: dict[str, str]) -> str | Denial:
        rule = self._parse(fields)
        if not isinstance(rule, Denial):
            rule = await grants.add_grant(self._console, identity, rule)
        return rule if isinstance(rule, Denial) else f"/grants/{rule.id}"

    async def _show(self, request: Request, identity: Identity) -> Response | Denial:
        number = request.path_params["number"]
        shown = await grants.preview_removing(self._console, identity, number)
        if isinstance(shown, Denial):
            return shown
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

    async def _remove(
        self, request: Request, identity: Identity, _: dict[str, str]
    ) -> str | Denial:
        number = request.path_params["number"]
        removed = await grants.remove_grant(self._console, identity, number)
        return removed if isinstance(removed, Denial) else "/grants"

    async def _make_on_request(
        self, request: Request, identity: Identity, fields: dict[str, str]
    ) -> str | Denial:
        number = request.path_params["number"]
        approvers = fields.get("approvers", "").replace(",", " ").split()
        rule = await grants.make_on_request(self._console, identity, number, approvers)
        return rule if isinstance(rule, Denial) else "/grants"

    async def _show_requests(self, _: Request, identity: Identity) -> Response | Denial:
        views = await grants.list_request_views(self._console, identity)
        if isinstance(views, Denial):
            return views
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
