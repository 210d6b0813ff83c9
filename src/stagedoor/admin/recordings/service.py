"""Recordings for those who may play them on the web: the folder, the store, and the setting."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from stagedoor.admin import service as admin
from stagedoor.admin.asking import ask
from stagedoor.admin.recordings import recordings
from stagedoor.authz.replay import has_somewhere, may_replay
from stagedoor.keys.age import SUFFIX
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.policy import Policy
from stagedoor.model.session import AccessMethod
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.recording.folder import RecordingEntry, ending, kept
from stagedoor.settings.settings import Settings
from stagedoor.store.database import Database
from stagedoor.store.sessions import SessionRecord, find_sessions
from stagedoor.wire.asciicast import last_event_at
from stagedoor.wire.target import parse_login

PAGE = 50
"""Recordings on one page."""
LOOKED_AT = 1000
"""Recordings that one request looks at, for a page of those that fit: one row of the store each."""
_TAIL_BYTES = (64 * 1024, 1024 * 1024)
"""How much of a recording's end is read for its last event: more where that is a long one."""
NOTED_S = 3600.0
"""Somebody who looks on is written down again after so long: a player asks for a recording in pieces."""
_NOTED = 1000
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class UserRecording:
    """A recording: `id` names it in a path, `path` is its file of `size` bytes.

    `user` and `target` are None where nobody knows any more whose it is; `opened_at` and
    `written_at` are seconds since the epoch, of the login and of the last byte so far. `sealed` ones
    are encrypted, and cannot be read by the gateway.
    """

    id: str
    session: str
    path: Path
    size: int
    sealed: bool
    user: str | None
    target: Target | None
    opened_at: float | None
    written_at: float
    lasts_s: float | None = None
    """Until its last event; None for one that cannot be read, or that nobody has measured."""


class RecordingService:
    """The recordings of this gateway, for those who may play them. Default deny.

    Belongs to one event loop; the disk and the store are asked in a thread.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        policy: Callable[[], Policy],
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`policy` is the policy as it is now; `now` gives seconds since the epoch."""
        self._now = now
        self._monotonic = monotonic
        self._settings = settings
        self._database = database
        self._policy = policy
        self._noted: dict[tuple[str, str, str], float] = {}

    def viewer(self, identity: Identity) -> bool:
        """Whether there are any that they might play."""
        return has_somewhere(self._policy(), identity, Permission.REPLAY, self._now())

    def may_play(self, identity: Identity, take: UserRecording) -> bool:
        """Whether they still may. From memory, at once."""
        return may_replay(self._policy(), identity, take.target, self._now())

    async def listed(
        self, identity: Identity, before: str, wanted: str
    ) -> tuple[Sequence[UserRecording], str] | Denial:
        """Those that they may play, the newest first, older than the id `before` ("" for all).

        `wanted` is a part of a user's or an app's name. Some at a time: with the id to go on before, "" at
        the end.
        """

        def look() -> tuple[Sequence[UserRecording], str]:
            files = [one for one in reversed(self._kept()) if not before or one.id < before]
            found: list[UserRecording] = []
            for at, file in enumerate(files):
                if len(found) == PAGE or at == LOOKED_AT:
                    return found, files[at - 1].id
                take = self._take(file)
                if self.may_play(identity, take) and _fits(take, wanted):
                    found.append(_measured(take))
            return found, ""

        return await _asked(look)

    async def found(self, identity: Identity, id_: str) -> UserRecording | Denial | None:
        """One of them; None for what is not there, or is there and they may not play it."""

        def look() -> UserRecording | None:
            # Its name comes out of the folder, so no path of the developer's making is opened.
            file = next((one for one in self._kept() if one.id == id_), None)
            take = None if file is None else self._take(file)
            return _measured(take) if take is not None and self.may_play(identity, take) else None

        return await _asked(look)

    async def viewed(
        self, identity: Identity, take: UserRecording, source: Source
    ) -> Denial | None:
        """Write down that they look at it; when this returns None, it is durable."""
        key = (identity.name, take.id, str(source.address))
        now = self._monotonic()
        if now - self._noted.get(key, -NOTED_S) < NOTED_S:
            return None

        def note() -> None:
            service = admin.AdminService(self._database, self._settings.data_dir, "", self._now)
            target = None if take.target is None else str(take.target)
            recordings.note_viewed(
                service,
                take.session,
                target,
                take.path.name,
                identity=identity.name,
                source=str(source),
                way=AccessMethod.WEB.value,
            )

        refused = await ask(note)
        if refused is not None:
            return refused
        if len(self._noted) >= _NOTED:
            self._noted.clear()  # then some are written down once more
        self._noted[key] = now
        return None

    def _kept(self) -> list[RecordingEntry]:
        return kept(self._settings.recordings_folder)

    def _take(self, file: RecordingEntry) -> UserRecording:
        rows = find_sessions(self._database, file.session, limit=1)
        session = rows[0] if rows and rows[0].id == file.session else None
        return UserRecording(
            file.id,
            file.session,
            file.path,
            file.size,
            file.suffix == SUFFIX,
            session.identity if session else None,
            _target(session),
            session.opened_at if session else None,
            file.changed_at,
        )


def _target(session: SessionRecord | None) -> Target | None:
    return None if session is None else parse_login(session.target)


def _fits(take: UserRecording, wanted: str) -> bool:
    return wanted in (take.user or "") or wanted in str(take.target or "")


async def _asked(look: Callable[[], _T]) -> _T | Denial:
    try:
        return await ask(look)
    except OSError as error:
        return Denial(Reason.INTERNAL, f"the gateway cannot read its recordings ({error.strerror})")


def _measured(take: UserRecording) -> UserRecording:
    """With its duration, where it can be read."""
    if take.sealed:
        return take
    for most in _TAIL_BYTES:
        try:
            lasts_s = last_event_at(ending(take.path, take.size, most))
        except OSError:
            return take  # removed while we look
        if lasts_s is not None or most >= take.size:
            return replace(take, lasts_s=lasts_s)
    return take
