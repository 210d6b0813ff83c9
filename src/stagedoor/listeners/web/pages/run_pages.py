"""The pages of runs: the list, and one run with the end of its log and a button to cancel it.

They need no script: the page of an unfinished run reloads every few seconds.
"""

import re
from collections.abc import AsyncIterator, Sequence

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute

from stagedoor.listeners.web.guard import RequestGuard, make_web_login_origin
from stagedoor.listeners.web.pages.base import SEE_OTHER, Pages
from stagedoor.listeners.web.pages.user_routes import UserRoutes
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.run import Output, Run
from stagedoor.session.runs import RunService
from stagedoor.wire.http.answer import choose_status

SHOWN_BYTES = 128 * 1024
"""How much of a log's end a page shows. The whole log can be downloaded."""
REFRESH_S = 5
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
"""Control sequences (ECMA-48 §5.4) and control characters, which a page would show as boxes."""


def show_log(pieces: Sequence[Output]) -> str:
    """Return output as text for a page, without control sequences. Pure."""
    text = b"".join(piece.data for piece in pieces).decode("utf-8", "replace")
    return _ESCAPES.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


class RunPages:
    """The routes of these pages. Belongs to one event loop."""

    def __init__(self, guard: RequestGuard, pages: Pages, runs: RunService) -> None:
        self._guard = guard
        self._pages = pages
        self._runs = runs
        routes = UserRoutes(pages, pages.identify)
        self.routes: list[BaseRoute] = [
            routes.get("/runs", self._list),
            routes.get("/runs/{id}", self._show),
            routes.get("/runs/{id}/log", self._download),
            routes.post("/runs/{id}/cancel", self._cancel),
        ]

    async def _list(self, request: Request, identity: Identity) -> Response:
        runs = await self._runs.list_runs(identity)
        if isinstance(runs, Denial):
            return self._pages.explain(runs, identity)
        return self._pages.render("runs.html", identity, runs=runs)

    async def _show(self, request: Request, identity: Identity) -> Response:
        run = await self._open(request, identity)
        if isinstance(run, Response):
            return run
        pieces = await self._runs.read_end(run, SHOWN_BYTES)
        if isinstance(pieces, Denial):
            return self._pages.explain(pieces, identity)
        return self._pages.render(
            "run.html",
            identity,
            200,
            {} if run.is_over else {"refresh": str(REFRESH_S)},
            run=run,
            log=show_log(pieces),
            left_out=pieces[0].start if pieces else 0,
        )

    async def _download(self, request: Request, identity: Identity) -> Response:
        """Send the log so far, unchanged."""
        run = await self._open(request, identity)
        if isinstance(run, Response):
            return run
        name = f"{run.target.login_name}-{run.id}.log"
        return StreamingResponse(
            self._read_log(identity, run),
            headers={"content-disposition": f'attachment; filename="{name}"'},
            media_type="application/octet-stream",
        )

    async def _read_log(self, identity: Identity, run: Run) -> AsyncIterator[bytes]:
        at = 0
        while self._runs.is_still_allowed(identity, run):
            pieces = await self._runs.read(run, at)
            if isinstance(pieces, Denial) or not pieces:
                return
            for piece in pieces:
                yield piece.data
                at = piece.end

    async def _cancel(self, request: Request, identity: Identity, _: dict[str, str]) -> Response:
        origin = make_web_login_origin(self._guard.find_source(request))
        run = await self._runs.cancel(identity, request.path_params["id"], origin)
        if isinstance(run, Denial):
            return self._pages.answer_message(
                "Not cancelled", run.line, choose_status(run.reason), identity
            )
        return RedirectResponse(f"{self._pages.place.path}/runs/{run.id}", SEE_OTHER)

    async def _open(self, request: Request, identity: Identity) -> Run | Response:
        """Return the run if the user may read it, or the answer to send instead."""
        origin = make_web_login_origin(self._guard.find_source(request))
        run = await self._runs.open_log(identity, request.path_params["id"], origin)
        if not isinstance(run, Denial):
            return run
        if run.reason is Reason.STEP_UP_NEEDED:
            return self._pages.ask_for_proof(request.url.path)
        return self._pages.answer_message(
            "Not found", run.line, choose_status(run.reason), identity
        )
