"""The common part of administrators' pages: access, rendering, and the answer to a change."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stagedoor.admin.access.console import NO_PAGE, ConsoleService
from stagedoor.admin.guard import TRIES, StalePolicyError
from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.pages.base import SEE_OTHER, Pages, choose_page_status
from stagedoor.listeners.web.pages.markup import ACCESS_METHODS
from stagedoor.listeners.web.pages.user_routes import UserRoutes
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.units import DAY_S
from stagedoor.model.webpass import describe_sign_in_method

MAX_DAYS = 3650
_BUSY = Denial(
    Reason.OVERLOADED, "the policy changed at each attempt, so nothing was done; try again"
)
Change = Callable[[Request, Identity, dict[str, str]], Awaitable[str | Denial]]
"""Makes the change of a form. Returns the path, below `ConsoleFrame.path`, of the page to show next."""


class ConsoleFrame:
    """The pages' common part. Belongs to one event loop."""

    def __init__(self, guard: RequestGuard, pages: Pages, console: ConsoleService) -> None:
        self._guard = guard
        self._pages = pages
        self.console = console
        self.path = f"{pages.place.path}/admin"
        self._routes = UserRoutes(pages, self._identify, self._render_refusal)
        self.get = self._routes.get

    async def _identify(self, request: Request) -> Identity | Response:
        """Return the identity of a person with a role, or the answer to send instead."""
        identity = await self._pages.identify(request)
        if isinstance(identity, Response) or self.console.has_any(identity):
            return identity
        return self._render_refusal(request, NO_PAGE, identity)

    def render(self, identity: Identity, template: str, **values: object) -> Response:
        """Return a page, drawn from `templates/console`."""
        return self._pages.render(
            f"console/{template}",
            identity,
            path=self.path,
            access_methods=ACCESS_METHODS,
            by=describe_sign_in_method,
            proved=self.console.check_change(identity, None, "a change") is None,
            **values,
        )

    def _render_refusal(self, request: Request, denial: Denial, identity: Identity) -> Response:
        """Return the page of a refusal. Users without a role see the same page as for a wrong address."""
        if denial.reason is Reason.NO_GRANT:
            self._guard.record_denial(request, denial, identity)
        if denial is NO_PAGE:
            return self._pages.answer_message(
                "Not found", "There is no such page here.", 404, identity
            )
        is_read = request.method == "GET"
        if denial.reason is Reason.STEP_UP_NEEDED:
            # The address of the form's page is that of the form without its last word.
            path = request.url.path
            return self._pages.ask_for_proof(path if is_read else path.rpartition("/")[0])
        is_missing = is_read and denial.reason is Reason.BAD_REQUEST
        title = "Not shown" if is_read else "Nothing was changed"
        status = 404 if is_missing else choose_page_status(denial)
        return self._pages.answer_message(title, denial.line, status, identity)

    def change(self, path: str, act: Change) -> Route:
        """Return the route of a form that makes a change.

        It is judged by the current policy, so a role that was just removed no longer counts, and a proof
        given a moment ago does. If the policy changes before the transaction, the change is judged again.
        """

        async def answer(
            request: Request, identity: Identity, fields: dict[str, str]
        ) -> Response | Denial:
            reader = self._guard.flow.policy
            for _ in range(TRIES):
                await reader.read_newer_than(reader.version)
                with suppress(StalePolicyError):
                    onward = await act(request, identity, fields)
                    break
            else:
                return _BUSY
            if isinstance(onward, Denial):
                return onward
            await reader.read_newer_than(reader.version)  # so that the next page shows the change
            return RedirectResponse(self.path + onward, SEE_OTHER)

        return self._routes.post(path, answer)


def make_more_link(**query: object) -> str | None:
    """Return the link to the next page of a list, or None if a value is None and so there is no such page."""
    return None if None in query.values() else "?" + urlencode(query)


def join_permissions(request: Request) -> str:
    """Return the permissions in the query of a preview: a form's ticked boxes, or a link's list."""
    params = request.query_params
    return ",".join(params.getlist("permission")) or params.get("permissions", "")


def read_end(days: str, now: float) -> float | None:
    """Return the time `days` after `now`, or None for "". Raises ValueError."""
    text = days.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 0 < int(text) <= MAX_DAYS):
        raise ValueError("give a number of days, or none for a grant without end")
    return now + int(text) * DAY_S
