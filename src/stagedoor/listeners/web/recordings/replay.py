"""Recordings on the web: the list, the player's page, and the bytes that it plays.

What the page plays is the file as it is on the disk, in pieces: nothing is held in memory here. An
encrypted one cannot be read by the gateway; it is listed, and the page says how it is played.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Send

from stagedoor.admin.recordings.service import RecordingService, UserRecording
from stagedoor.listeners.web import headers
from stagedoor.listeners.web.guard import RequestGuard, web
from stagedoor.listeners.web.pages.base import SEE_OTHER, Pages
from stagedoor.listeners.web.pages.markup import PagePath
from stagedoor.listeners.web.ports import PassIssuer
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.wire.answer import status_of
from stagedoor.wire.byterange import UnsatisfiableError, parse_range

CAST = "application/x-asciicast"
"""As asciinema has it (https://docs.asciinema.org/manual/asciicast/v2/)."""
_PIECE_BYTES = 64 * 1024
_MAX_TEXT = 100
SPEEDS = ("0.5", "1", "2", "4", "8")


def list_page(place: PagePath, takes: Sequence[UserRecording], wanted: str, more: str) -> str:
    """Return the list as HTML, newest first. `more` is the path of the next page, empty for none."""
    return place.page("recordings.html", takes=takes, wanted=wanted, more=more)


def sealed_line(take: UserRecording) -> str:
    """Say in one line how an encrypted recording, which is not played here, can be played."""
    return (
        f"This recording is encrypted, and the gateway has no key to it. With a key, play it by: "
        f"stagedoor recording play {take.id} --identity FILE"
    )


def sealed_page(place: PagePath, take: UserRecording) -> str:
    """Return the page of an encrypted recording as HTML."""
    return place.page("sealed.html", take=take, line=sealed_line(take))


def player_page(place: PagePath, take: UserRecording, source: str, nonce: str) -> str:
    """Return the player's page as HTML; its script reads `source`."""
    return place.page("player.html", take=take, source=source, nonce=nonce, speeds=SPEEDS)


class Replay:
    """Belongs to one event loop."""

    def __init__(
        self, guard: RequestGuard, passes: PassIssuer, pages: Pages, recordings: RecordingService
    ) -> None:
        self._guard = guard
        self._passes = passes
        self._pages = pages
        self._recordings = recordings
        self.routes: list[BaseRoute] = [
            Route("/recordings", self._list),
            Route("/recordings/{id}", self._play),
            Route("/recordings/{id}/cast", self._cast),
        ]

    async def _viewer(self, request: Request) -> Identity | Response:
        """Who it is that may play recordings; or what to answer instead."""
        identity = await self._pages.signed_in(request)
        if isinstance(identity, Response) or self._recordings.has_recordings(identity):
            return identity
        denial = Denial.with_mend(
            Reason.NO_GRANT,
            "you may not play recordings",
            f"an administrator lets them with: stagedoor grant add user:{identity.name} '*' --allow replay "
            "--without enter; a token, or a link for one app, never opens them",
            "ask an administrator; a token, or a link for one app, never opens them",
        )
        return self._pages.denied(request, denial, identity)

    async def _list(self, request: Request) -> Response:
        identity = await self._viewer(request)
        if isinstance(identity, Response):
            return identity
        wanted = request.query_params.get("wanted", "").strip()[:_MAX_TEXT]
        before = request.query_params.get("before", "")[:_MAX_TEXT]
        found = await self._recordings.list_page(identity, before, wanted)
        if isinstance(found, Denial):
            return self._pages.said("Not now", found.line, status_of(found.reason))
        takes, go_on = found
        more = ""
        if go_on:
            query = urlencode({"wanted": wanted, "before": go_on})
            more = f"{self._pages.place.path}/recordings?{query}"
        return HTMLResponse(list_page(self._pages.place, takes, wanted, more))

    async def _play(self, request: Request) -> Response:
        found = await self._take(request)
        if isinstance(found, Response):
            return found
        identity, take = found
        place = self._pages.place
        if await self._not_proved(identity, take) is not None:
            wanted = urlencode({"next": request.url.path})
            return RedirectResponse(f"{place.path}/step-up?{wanted}", SEE_OTHER)
        if take.sealed:
            return HTMLResponse(sealed_page(place, take))
        if "replay.js" not in place.assets:
            why = f"The player was not built into this installation; stagedoor recording play {take.id}"
            return self._pages.said("Not built", why, 503)
        nonce = secrets.token_urlsafe(16)
        source = f"{place.path}/recordings/{quote(take.id)}/cast"
        page = player_page(place, take, source, nonce)
        return HTMLResponse(page, headers={"content-security-policy": headers.of_terminal(nonce)})

    async def _cast(self, request: Request) -> Response:
        """The bytes, or a range of them. It is written down who looks before the first one leaves."""
        found = await self._take(request)
        if isinstance(found, Response):
            # To a script, a page to sign in would look like a recording.
            return Response("sign in again\n", 401) if found.status_code < 400 else found
        identity, take = found
        if (denial := await self._not_proved(identity, take)) is not None:
            self._guard.flow.deny(
                denial, web(self._guard.source_of(request)), identity, take.target
            )
            return Response(f"{denial.line}\n", status_of(denial.reason))
        if take.sealed:
            return Response(f"{sealed_line(take)}\n", 409)
        denial = await self._recordings.audit_view(identity, take, self._guard.source_of(request))
        if denial is not None:
            return Response(f"{denial.line}\n", status_of(denial.reason))
        try:
            wanted = parse_range(request.headers.get("range"), take.size)
        except UnsatisfiableError:
            return Response(None, 416, {"content-range": f"bytes */{take.size}"})
        first, length = (wanted.first, wanted.length) if wanted else (0, take.size)
        shown = {
            "accept-ranges": "bytes",
            "content-length": str(length),
            "content-disposition": f'attachment; filename="{take.id}.cast"',
        }
        if wanted:
            shown["content-range"] = wanted.header
        return _Played(
            self._bytes(identity, take, first, length),
            206 if wanted else 200,
            shown,
            media_type=CAST,
        )

    async def _take(self, request: Request) -> tuple[Identity, UserRecording] | Response:
        identity = await self._viewer(request)
        if isinstance(identity, Response):
            return identity
        found = await self._recordings.find(identity, request.path_params["id"])
        if isinstance(found, Denial):
            return self._pages.said("Not now", found.line, status_of(found.reason))
        if found is None:
            # In the same words for one that they may not play: who was recorded where is not told.
            why = "There is no such recording on this gateway, or you may not play it."
            return self._pages.said("Not found", why, 404)
        return identity, found

    async def _not_proved(self, identity: Identity, take: UserRecording) -> Denial | None:
        """Why somebody may not see yet what a terminal showed: its app wants a fresh proof of who enters."""
        if take.target is None:
            return None
        found = await self._guard.flow.check_step_up(identity, take.target)
        return found if isinstance(found, Denial) else None

    async def _bytes(
        self, identity: Identity, take: UserRecording, first: int, length: int
    ) -> AsyncIterator[bytes]:
        fd = await asyncio.to_thread(os.open, take.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            while length > 0 and self._may_go_on(identity, take):
                piece = await asyncio.to_thread(os.pread, fd, min(length, _PIECE_BYTES), first)
                if not piece:
                    return  # cut shorter meanwhile
                yield piece
                first += len(piece)
                length -= len(piece)
        finally:
            os.close(fd)

    def _may_go_on(self, identity: Identity, take: UserRecording) -> bool:
        return self._passes.why_ended(identity) is None and self._recordings.may_play(
            identity, take
        )


class _Played(StreamingResponse):
    """One that hangs up where its bytes end too early: the length that was promised tells the reader."""

    async def stream_response(self, send: Send) -> None:
        head = {"type": "http.response.start", "status": self.status_code}
        await send({**head, "headers": self.raw_headers})
        left = int(self.headers["content-length"])
        async for piece in self.body_iterator:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            left -= len(piece)
        if left == 0:
            await send({"type": "http.response.body", "body": b""})
