"""The list of recordings, the player's page, and the bytes that it plays.

The player gets the file as it is on the disk, piece by piece, so no recording is held in memory. The gateway
cannot read an encrypted recording; it is listed, and its page explains how to play it.
"""

import secrets
from functools import partial
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.admin.recording_service import RecordingFilter, RecordingService, UserRecording
from stagedoor.listeners.web import headers
from stagedoor.listeners.web.file_stream import send_file
from stagedoor.listeners.web.guard import RequestGuard, web
from stagedoor.listeners.web.pages.base import SEE_OTHER, Pages
from stagedoor.listeners.web.pages.language import translate
from stagedoor.listeners.web.pages.markup import PagePath, PageUser
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.units import DAY_S
from stagedoor.signin.passes import PassService
from stagedoor.wire.http.answer import choose_status
from stagedoor.wire.http.fields import UnsatisfiableError, parse_range

CAST = "application/x-asciicast"
"""The media type that asciinema uses (https://docs.asciinema.org/manual/asciicast/v2/)."""
_MAX_TEXT = 100
SPEEDS = ("0.5", "1", "2", "4", "8")
DAYS = ("1", "7", "31", "")


def explain_sealed(recording: UserRecording) -> str:
    """Return one line on how to play an encrypted recording, which is not played here."""
    return (
        f"This recording is encrypted, and the gateway has no key to it. With a key, play it by: "
        f"stagedoor recording play {recording.id} --identity FILE"
    )


def render_sealed(place: PagePath, visitor: PageUser, recording: UserRecording) -> str:
    """Return the page of an encrypted recording as HTML."""
    line = explain_sealed(recording)
    return place.page("sealed.html", visitor=visitor, take=recording, line=line)


def render_player(
    place: PagePath, visitor: PageUser, recording: UserRecording, source: str, nonce: str
) -> str:
    """Return the player's page as HTML; its script reads `source`."""
    return place.page(
        "player.html", visitor=visitor, take=recording, source=source, nonce=nonce, speeds=SPEEDS
    )


class Replay:
    """The routes of recordings. Belongs to one event loop."""

    def __init__(
        self, guard: RequestGuard, passes: PassService, pages: Pages, recordings: RecordingService
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
        """Return the identity of a user who may play recordings, or the answer to send instead."""
        identity = await self._pages.identify(request)
        if isinstance(identity, Response) or self._recordings.has_any(identity):
            return identity
        denial = Denial.with_mend(
            Reason.NO_GRANT,
            "you may not play recordings",
            f"an administrator lets them with: stagedoor grant add user:{identity.name} '*' --allow replay "
            "--without enter; a token, or a link for one app, never opens them",
            "ask an administrator; a token, or a link for one app, never opens them",
        )
        return self._pages.refuse(request, denial, identity)

    async def _list(self, request: Request) -> Response:
        identity = await self._viewer(request)
        if isinstance(identity, Response):
            return identity
        user, app, text, before, days = (
            request.query_params.get(name, "").strip()[:_MAX_TEXT]
            for name in ("user", "app", "text", "before", "days")
        )
        days = days if days in DAYS else ""
        wanted = RecordingFilter(user, app, int(days) * DAY_S if days else None, text)
        source = self._guard.source_of(request)
        page = await self._recordings.list_page(identity, before, wanted, source)
        if isinstance(page, Denial):
            return self._pages.message("Not now", page.line, choose_status(page.reason), identity)
        query = {"user": user, "app": app, "text": text, "days": days}
        return HTMLResponse(
            self._pages.place.page(
                "recordings.html",
                visitor=self._pages.describe_user(identity),
                page=page,
                wanted=wanted,
                days=days,
                choices=DAYS,
                here=f"{request.url.path}?{urlencode({**query, 'before': before})}",
                more=f"?{urlencode({**query, 'before': page.before})}" if page.before else "",
            )
        )

    async def _play(self, request: Request) -> Response:
        result = await self._find(request)
        if isinstance(result, Response):
            return result
        identity, recording = result
        place, visitor = self._pages.place, self._pages.describe_user(identity)
        if await self._check_presence(identity, recording) is not None:
            wanted = urlencode({"next": request.url.path})
            return RedirectResponse(f"{place.path}/step-up?{wanted}", SEE_OTHER)
        if recording.sealed:
            return HTMLResponse(render_sealed(place, visitor, recording))
        if "replay.js" not in place.assets:
            why = "The player was not built into this installation; ask an administrator."
            return self._pages.message("Not built", why, 503)
        nonce = secrets.token_urlsafe(16)
        source = f"{place.path}/recordings/{quote(recording.id)}/cast"
        page = render_player(place, visitor, recording, source, nonce)
        return HTMLResponse(
            page, headers={"content-security-policy": headers.make_terminal_policy(nonce)}
        )

    async def _cast(self, request: Request) -> Response:
        """Send a recording or a range of it, after an audit event about the viewer."""
        result = await self._find(request)
        if isinstance(result, Response):
            # The script would take the page to sign in for a recording.
            return (
                Response(f"{translate('sign in again')}\n", 401)
                if result.status_code < 400
                else result
            )
        identity, recording = result
        if (denial := await self._check_presence(identity, recording)) is not None:
            self._guard.flow.deny(
                denial, web(self._guard.source_of(request)), identity, recording.target
            )
            return Response(f"{translate(denial.line)}\n", choose_status(denial.reason))
        if recording.sealed:
            return Response(f"{translate(explain_sealed(recording))}\n", 409)
        denial = await self._recordings.audit_view(
            identity, recording, self._guard.source_of(request)
        )
        if denial is not None:
            return Response(f"{translate(denial.line)}\n", choose_status(denial.reason))
        try:
            wanted = parse_range(request.headers.get("range"), recording.size)
        except UnsatisfiableError:
            return Response(None, 416, {"content-range": f"bytes */{recording.size}"})
        first, length = (wanted.first, wanted.length) if wanted else (0, recording.size)
        fields = {
            "accept-ranges": "bytes",
            "content-disposition": f'attachment; filename="{recording.id}.cast"',
            "content-type": CAST,
        }
        if wanted:
            fields["content-range"] = wanted.header
        may_go_on = partial(self._may_go_on, identity, recording)
        status = 206 if wanted else 200
        return send_file(recording.path, length, may_go_on, fields, first=first, status=status)

    async def _find(self, request: Request) -> tuple[Identity, UserRecording] | Response:
        identity = await self._viewer(request)
        if isinstance(identity, Response):
            return identity
        recording = await self._recordings.find(identity, request.path_params["id"])
        if isinstance(recording, Denial):
            return self._pages.message("Not now", recording.line, choose_status(recording.reason))
        if recording is None:
            # The same words as for a forbidden recording, so that its existence is not revealed.
            why = "There is no such recording on this gateway, or you may not play it."
            return self._pages.message("Not found", why, 404)
        return identity, recording

    async def _check_presence(self, identity: Identity, recording: UserRecording) -> Denial | None:
        """Refuse a viewer without the fresh proof of presence that the recording's app demands."""
        if recording.target is None:
            return None
        proof = await self._guard.flow.check_step_up(identity, recording.target)
        return proof if isinstance(proof, Denial) else None

    def _may_go_on(self, identity: Identity, recording: UserRecording) -> bool:
        return self._passes.explain_end(identity) is None and self._recordings.may_play(
            identity, recording
        )
