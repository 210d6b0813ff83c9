"""The common part of the pages for administrators: access, rendering, and the answer to a change."""

from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from stagedoor.admin.access.console import NO_PAGE, ConsoleService
from stagedoor.listeners.web.guard import RequestGuard, web
from stagedoor.listeners.web.pages.base import SEE_OTHER, Pages, choose_page_status
from stagedoor.listeners.web.pages.markup import WAYS
from stagedoor.listeners.web.pages.user_routes import UserRoutes
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.units import DAY_S
from stagedoor.model.webpass import describe_way

_T = TypeVar("_T")
MOST_DAYS = 3650
MAX_CHARS = 200
"""The characters of a field that are read."""


class ConsoleFrame:
    """The pages' common part. Belongs to one event loop."""

    def __init__(self, guard: RequestGuard, pages: Pages, console: ConsoleService) -> None:
        self._guard = guard
        self._pages = pages
        self.console = console
        self.path = f"{pages.place.path}/admin"
        self.user_routes = UserRoutes(pages, self.identify)

    async def identify(self, request: Request) -> Identity | Response:
        """Return the identity of a person with a role, or the answer to send instead."""
        identity = await self._pages.identify(request)
        if isinstance(identity, Response) or self.console.has_any(identity):
            return identity
        return self.refuse(request, NO_PAGE, identity)

    def render(
        self, identity: Identity, template: str, *, status: int = 200, **values: object
    ) -> Response:
        """Return a page, drawn from `templates/console`."""
        page = self._pages.place.page(
            f"console/{template}",
            visitor=self._pages.describe_user(identity),
            path=self.path,
            ways=WAYS,
            by=describe_way,
            proved=self.console.check_change(identity, None, "a change") is None,
            **values,
        )
        return HTMLResponse(page, status)

    def refuse(self, request: Request, denial: Denial, identity: Identity) -> Response:
        """Return the page of a refusal. Without a role it is that of a wrong address."""
        if denial is NO_PAGE:
            self._guard.flow.deny(denial, web(self._guard.source_of(request)), identity)
            return self._pages.message("Not found", "There is no such page here.", 404, identity)
        if denial.reason is Reason.STEP_UP_NEEDED:
            wanted = urlencode({"next": self.find_way_back(request)})
            return RedirectResponse(f"{self._pages.place.path}/step-up?{wanted}", SEE_OTHER)
        if denial.reason is Reason.NO_GRANT:
            self._guard.flow.deny(denial, web(self._guard.source_of(request)), identity)
        is_read = request.method == "GET"
        is_missing = is_read and denial.reason is Reason.BAD_REQUEST
        title = "Not shown" if is_read else "Nothing was changed"
        status = 404 if is_missing else choose_page_status(denial)
        return self._pages.message(title, denial.line, status, identity)

    def find_way_back(self, request: Request) -> str:
        """Return the path of the page whose form was sent: the address without its last word."""
        if request.method == "GET":
            return request.url.path
        return request.url.path.rpartition("/")[0]

    async def change(
        self,
        request: Request,
        act: Callable[[Identity, dict[str, str]], Awaitable[_T | Denial]],
        onward: Callable[[_T], str],
    ) -> Response:
        """Make the change that a form asks for, and redirect to the page `onward`.

        A refused change is tried again if the policy in memory was old: the proof may be a moment old.
        """
        fields = await self._pages.read_form(request)
        if isinstance(fields, Response):
            return fields
        identity = await self.identify(request)
        if isinstance(identity, Response):
            return identity
        reader = self._guard.flow.policy
        version = reader.version
        result = await act(identity, fields)
        if isinstance(result, Denial):
            if result.reason is Reason.STEP_UP_NEEDED and await reader.read_newer_than(version):
                result = await act(identity, fields)
            if isinstance(result, Denial):
                return self.refuse(request, result, identity)
        await reader.read_newer_than(version)  # so that the next page shows the change
        return RedirectResponse(onward(result), SEE_OTHER)


def read_text(request: Request, name: str) -> str:
    """Return a parameter of the query, stripped and cut to a bounded length."""
    return request.query_params.get(name, "").strip()[:MAX_CHARS]


def read_number(request: Request, name: str) -> int | None:
    """Return a parameter of the query as a whole number, or None for any other text."""
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else None


def read_end(days: str, now: float) -> float | None:
    """Return the time that is a number of days after `now`, None for "". Raises ValueError."""
    text = days.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 0 < int(text) <= MOST_DAYS):
        raise ValueError("give a number of days, or none for a grant without end")
    return now + int(text) * DAY_S
