"""The list of recordings, the player's page, and the bytes that it plays.

The player gets the file as it is on the disk, piece by piece, so that no recording is held in memory. The
gateway cannot read encrypted recordings; it lists them, and their pages explain how to play them.
"""

from functools import partial
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from stagedoor.admin.recording_service import RecordingFilter, RecordingService
from stagedoor.admin.recordings import Recorded
from stagedoor.listeners.web.file_stream import send_file
from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.pages.base import Pages
from stagedoor.listeners.web.pages.fields import DAYS, read_days, read_text
from stagedoor.listeners.web.pages.language import translate
from stagedoor.listeners.web.pages.markup import PagePath, PageUser
from stagedoor.listeners.web.pages.user_routes import UserRoutes
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.wire.http.answer import choose_status
from stagedoor.wire.http.fields import UnsatisfiableError, parse_range

CAST = "application/x-asciicast"
"""The media type that asciinema uses (https://docs.asciinema.org/manual/asciicast/v2/)."""
_MAX_TEXT = 100
SPEEDS = ("0.5", "1", "2", "4", "8")


def explain_sealed(recording: Recorded) -> str:
    """Return a line that explains how to play an encrypted recording."""
    return (
        f"This recording is encrypted, and the gateway has no key to it. With a key, play it by: "
        f"stagedoor recording play {recording.file.id} --identity FILE"
    )


def render_player(
    place: PagePath, visitor: PageUser, recording: Recorded, source: str, nonce: str
) -> str:
    """Return the player's page as HTML; its script reads `source`."""
    return place.page(
        "player.html",
        visitor=visitor,
        recording=recording,
        source=source,
        nonce=nonce,
        speeds=SPEEDS,
    )


class Replay:
    """The routes of recordings. Belongs to one event loop."""

    def __init__(self, guard: RequestGuard, pages: Pages, recordings: RecordingService) -> None:
        self._guard = guard
        self._pages = pages
        self._recordings = recordings
        routes = UserRoutes(pages, self._identify_viewer)
        self.routes: list[BaseRoute] = [
            routes.get("/recordings", self._list),
            routes.get("/recordings/{id}", self._play),
            UserRoutes(pages, self._identify_player).get("/recordings/{id}/cast", self._send_cast),
        ]

    async def _identify_viewer(self, request: Request) -> Identity | Response:
        """Return the identity of a user who may play recordings, or the answer to send instead."""
        identity = await self._pages.identify(request)
        if isinstance(identity, Response) or self._recordings.has_any(identity):
            return identity
        denial = Denial.with_fix(
            Reason.NO_GRANT,
            "you may not play recordings",
            f"an administrator allows it with: stagedoor grant add user:{identity.name} '*' --allow replay "
            "--without enter; a token, or a link for one app, never opens them",
            "ask an administrator; a token, or a link for one app, never opens them",
        )
        return self._pages.render_refusal(request, denial, identity)

    async def _identify_player(self, request: Request) -> Identity | Response:
        """Do as `_identify_viewer`, without the sign-in page, which a script would take for a recording."""
        identity = await self._identify_viewer(request)
        if isinstance(identity, Identity) or identity.status_code >= 400:
            return identity
        return Response(f"{translate('sign in again')}\n", 401)

    async def _list(self, request: Request, identity: Identity) -> Response:
        user, app, text, before = (
            read_text(request, name, _MAX_TEXT) for name in ("user", "app", "text", "before")
        )
        days, within_s = read_days(request, "")
        wanted = RecordingFilter(user, app, within_s, text)
        source = self._guard.find_source(request)
        page = await self._recordings.list_page(identity, before, wanted, source)
        if isinstance(page, Denial):
            return self._pages.explain(page, identity)
        query = {"user": user, "app": app, "text": text, "days": days}
        return self._pages.render(
            "recordings.html",
            identity,
            page=page,
            wanted=wanted,
            days=days,
            choices=DAYS,
            here=f"{request.url.path}?{urlencode({**query, 'before': before})}",
            more=f"?{urlencode({**query, 'before': page.before})}" if page.before else "",
        )

    async def _play(self, request: Request, identity: Identity) -> Response:
        recording = await self._find(request, identity)
        if isinstance(recording, Response):
            return recording
        if await self._check_presence(identity, recording) is not None:
            return self._pages.ask_for_proof(request.url.path)
        if recording.sealed:
            line = explain_sealed(recording)
            return self._pages.render("sealed.html", identity, recording=recording, line=line)
        place, visitor = self._pages.place, self._pages.describe_user(identity)
        if "replay.js" not in place.assets:
            why = "The player was not built into this installation; ask an administrator."
            return self._pages.answer_message("Not built", why, 503)
        source = f"{place.path}/recordings/{quote(recording.file.id)}/cast"
        return self._pages.render_with_terminal(
            partial(render_player, place, visitor, recording, source)
        )

    async def _send_cast(self, request: Request, identity: Identity) -> Response:
        """Send a recording or a range of it, after an audit event about the viewer."""
        recording = await self._find(request, identity)
        if isinstance(recording, Response):
            return recording
        source = self._guard.find_source(request)
        if (denial := await self._check_presence(identity, recording)) is not None:
            self._guard.record_denial(request, denial, identity, recording.target)
            return Response(f"{translate(denial.line)}\n", choose_status(denial.reason))
        if recording.sealed:
            return Response(f"{translate(explain_sealed(recording))}\n", 409)
        denial = await self._recordings.record_view(identity, recording, source)
        if denial is not None:
            return Response(f"{translate(denial.line)}\n", choose_status(denial.reason))
        try:
            wanted = parse_range(request.headers.get("range"), recording.file.size)
        except UnsatisfiableError:
            return Response(None, 416, {"content-range": f"bytes */{recording.file.size}"})
        first, length = (wanted.first, wanted.length) if wanted else (0, recording.file.size)
        fields = {
            "accept-ranges": "bytes",
            "content-disposition": f'attachment; filename="{recording.file.id}.cast"',
            "content-type": CAST,
        }
        if wanted:
            fields["content-range"] = wanted.header
        is_still_allowed = partial(self._recordings.may_play, identity, recording)
        status = 206 if wanted else 200
        return send_file(
            recording.file.path, length, is_still_allowed, fields, first=first, status=status
        )

    async def _find(self, request: Request, identity: Identity) -> Recorded | Response:
        recording = await self._recordings.find(identity, request.path_params["id"])
        if isinstance(recording, Denial):
            return self._pages.explain(recording)
        if recording is None:
            # Worded like the refusal of a forbidden recording, so that its existence is not revealed.
            why = "There is no such recording on this gateway, or you may not play it."
            return self._pages.answer_message("Not found", why, 404)
        return recording

    async def _check_presence(self, identity: Identity, recording: Recorded) -> Denial | None:
        """Refuse a viewer without the fresh proof of presence that the recording's app demands."""
        if recording.target is None:
            return None
        proof = await self._guard.flow.check_step_up(identity, recording.target)
        return proof if isinstance(proof, Denial) else None
