"""Recordings for users who may play them on the web, and the search in their text.

A recording is a log of bytes with no index, so each search reads the files. It takes at most `SEARCH_S`, and
continues with the next page. After each piece it yields to the terminals of this worker.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from stagedoor.admin import recordings
from stagedoor.admin.blocking import call_blocking
from stagedoor.admin.context import WorkerContext
from stagedoor.admin.recordings import Recorded, find_recorded_session
from stagedoor.admin.service import AdminService
from stagedoor.audit.opening import make_first_id
from stagedoor.authz.decide import has_somewhere, may_replay
from stagedoor.authz.step_up import StepUpRules, check_proof
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.session import AccessMethod
from stagedoor.model.source import Source
from stagedoor.model.units import KIB, MIB
from stagedoor.recording.folder import StoredRecording, list_stored, read_ending
from stagedoor.recording.text_search import FoundLine, find_text
from stagedoor.wire.terminal.asciicast import AsciicastError, AsciicastReader, find_last_event_time

PAGE = 50
"""Recordings on one page."""
SCANNED = 1000
"""The recordings that one request reads to fill a page: one row of the store each."""
_TAIL_BYTES = (64 * 1024, 1024 * 1024)
"""The bytes of a recording's end that are read for its last event; the second if that event is a long one."""
AUDIT_AGAIN_S = 3600.0
"""The time after which a view by the same user is audited again: a player requests a recording in pieces."""
_MAX_VIEWS = 1000
_T = TypeVar("_T")
SEARCH_S = 2.0
"""The time limit of one search, seconds."""
MAX_BYTES = 32 * MIB
"""The most bytes of one recording that are searched."""
MAX_LINES = 3
"""The most lines shown of one recording."""
_PIECE_BYTES = 256 * KIB
_PAUSE_S = 0.001


@dataclass
class TextSearch:
    """One search for a text."""

    text: str
    monotonic: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    is_cut: bool = field(default=False, init=False)
    """Whether the last recording was not read to its end."""

    def __post_init__(self) -> None:
        self._ends_at = self.monotonic() + SEARCH_S

    @property
    def is_over(self) -> bool:
        """Return whether the time of the search is up."""
        return self.monotonic() >= self._ends_at

    def find_lines(self, path: Path) -> Sequence[FoundLine]:
        """Return the first lines of a recording that have the text. A damaged one is read up to there.

        Raises OSError.
        """
        self.is_cut = False
        lines: list[FoundLine] = []
        try:
            events = AsciicastReader(self._read(path)).read_events()
            lines += islice(find_text(events, self.text), MAX_LINES)
        except AsciicastError:
            self.is_cut = True
        return lines

    def _read(self, path: Path) -> Iterator[bytes]:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            left = MAX_BYTES
            while left > 0 and (piece := os.read(fd, min(left, _PIECE_BYTES))):
                yield piece
                left -= len(piece)
                self.pause(_PAUSE_S)
                if self.is_over:
                    break
            self.is_cut = bool(os.read(fd, 1))
        finally:
            os.close(fd)


@dataclass(frozen=True, slots=True)
class RecordingFilter:
    """A filter of recordings. `user` and `app` are parts of names.

    They are no older than `within_s` seconds, None for any age. `text` is what their terminals showed, "" for
    any.
    """

    user: str = ""
    app: str = ""
    within_s: float | None = None
    text: str = ""


@dataclass(slots=True)
class RecordingPage:
    """A page of recordings, the newest first. `before` is the id for the next page, "" at the end.

    A search for text counts the otherwise matching recordings that it could not search: the `sealed` ones,
    which are encrypted, the `unproved` ones, whose app requires a fresh proof, and the `cut` ones, of which
    it read only the beginning.
    """

    recordings: list[Recorded] = field(default_factory=list)
    before: str = ""
    sealed: int = 0
    unproved: int = 0
    cut: int = 0


class RecordingService:
    """The recordings of this gateway for users who may play them. Denies by default.

    Belongs to one event loop. It uses the disk and the store in a thread; a failure is a Denial.
    """

    def __init__(self, context: WorkerContext, step_up: StepUpRules) -> None:
        self._now, self._monotonic = context.now, context.monotonic
        self._settings = context.settings
        self._database = context.database
        self._service = AdminService(context.database, context.settings.data_dir, "", context.now)
        self._policy = context.policy
        self._step_up = step_up
        self._searching = asyncio.Lock()
        """Allows one search at a time in a worker, since a search keeps a thread busy."""
        self._audited_at: dict[tuple[str, str, str], float] = {}

    def has_any(self, identity: Identity) -> bool:
        """Return whether a grant lets the user play recordings of any app."""
        return has_somewhere(self._policy(), identity, Permission.REPLAY, self._now())

    def may_play(self, identity: Identity, recording: Recorded) -> bool:
        """Return whether the user may play the recording now, with a credential that is still valid.

        Reads memory only.
        """
        policy, now = self._policy(), self._now()
        credential = policy.check_credential(identity, now)
        return not isinstance(credential, Denial) and may_replay(
            policy, identity, recording.target, now
        )

    async def list_page(
        self, identity: Identity, before: str, wanted: RecordingFilter, source: Source
    ) -> RecordingPage | Denial:
        """Return a page of the recordings that the user may play, older than the id `before` ("" for all).

        Lines that a search shows of a recording are a view of it, which is in the audit before this returns.
        """
        if not wanted.text:
            return await _read(partial(self._read_page, identity, before, wanted, None))
        async with self._searching:
            search = TextSearch(wanted.text, self._monotonic)
            page = await _read(partial(self._read_page, identity, before, wanted, search))
        if isinstance(page, Denial):
            return page
        denial = await self._audit(identity, page.recordings, source, wanted.text)
        return denial or page

    def _read_page(
        self, identity: Identity, before: str, wanted: RecordingFilter, search: TextSearch | None
    ) -> RecordingPage:
        """Read a page. Runs in a thread. Raises StoreError, OSError."""
        first = "" if wanted.within_s is None else make_first_id(self._now() - wanted.within_s)
        files = [
            file
            for file in reversed(self._list_files())
            if first <= file.id and (not before or file.id < before)
        ]
        page = RecordingPage()
        for at, file in enumerate(files):
            is_over = search is not None and at > 0 and search.is_over
            if len(page.recordings) == PAGE or at == SCANNED or is_over:
                page.before = files[at - 1].id
                return page
            recording = self._load(file)
            if not (self.may_play(identity, recording) and _fits(recording, wanted)):
                continue
            if search is not None:
                self._search(identity, recording, search, page)
            else:
                page.recordings.append(_with_duration(recording))
        return page

    def _search(
        self, identity: Identity, recording: Recorded, search: TextSearch, page: RecordingPage
    ) -> None:
        """Add the recording to the page if the text is in it, or count why it was not read."""
        target = recording.target
        if recording.sealed:
            page.sealed += 1
        elif target is not None and check_proof(
            self._step_up, self._policy(), identity, target, self._now()
        ):
            page.unproved += 1
        else:
            lines = search.find_lines(recording.file.path)
            page.cut += search.is_cut and not lines
            if lines:
                page.recordings.append(replace(_with_duration(recording), lines=lines))

    async def find(self, identity: Identity, id_: str) -> Recorded | Denial | None:
        """Return a recording that the user may play. None if there is none, or the user may not play it."""

        def read() -> Recorded | None:
            # The file's name comes from the folder, so no path that the browser sent is opened.
            file = next((file for file in self._list_files() if file.id == id_), None)
            recording = None if file is None else self._load(file)
            return (
                _with_duration(recording)
                if recording is not None and self.may_play(identity, recording)
                else None
            )

        return await _read(read)

    async def record_view(
        self, identity: Identity, recording: Recorded, source: Source
    ) -> Denial | None:
        """Write the user's view of the recording to the audit. It is durable when this returns None."""
        key = (identity.name, recording.file.id, str(source.address))
        now = self._monotonic()
        if now - self._audited_at.get(key, -AUDIT_AGAIN_S) < AUDIT_AGAIN_S:
            return None

        refused = await self._audit(identity, [recording], source)
        if refused is not None:
            return refused
        if len(self._audited_at) >= _MAX_VIEWS:
            self._audited_at.clear()  # some views are then audited once more
        self._audited_at[key] = now
        return None

    async def _audit(
        self,
        identity: Identity,
        viewed: Sequence[Recorded],
        source: Source,
        searched: str | None = None,
    ) -> Denial | None:
        return await call_blocking(
            recordings.record_views,
            self._service,
            viewed,
            searched,
            identity=identity.name,
            source=str(source),
            access_method=AccessMethod.WEB.value,
        )

    def _list_files(self) -> list[StoredRecording]:
        return list_stored(self._settings.recordings_folder)

    def _load(self, file: StoredRecording) -> Recorded:
        return Recorded(file, find_recorded_session(self._database, file))


def _fits(recording: Recorded, wanted: RecordingFilter) -> bool:
    app = "" if recording.target is None else recording.target.login_name
    return wanted.user in (recording.user or "") and wanted.app in app


async def _read(function: Callable[[], _T]) -> _T | Denial:
    """Call `function` in a thread. A store or a folder that cannot be read is a Denial."""
    try:
        return await call_blocking(function)
    except OSError as error:
        return Denial(Reason.INTERNAL, f"the gateway cannot read its recordings ({error.strerror})")


def _with_duration(recording: Recorded) -> Recorded:
    """Return the recording with its duration, if it can be read."""
    if recording.sealed:
        return recording
    for most in _TAIL_BYTES:
        try:
            lasts_s = find_last_event_time(
                read_ending(recording.file.path, recording.file.size, most)
            )
        except OSError:
            return recording  # removed meanwhile
        if lasts_s is not None or most >= recording.file.size:
            return replace(recording, lasts_s=lasts_s)
    return recording
