"""Recordings for administrators: finding and reading them, and comparing them with the audit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from stagedoor.admin import sessions
from stagedoor.admin.service import AdminService
from stagedoor.keys.age import SUFFIX, AgeOpener
from stagedoor.model.errors import RefusedError, StagedoorError
from stagedoor.model.event import Event, EventKind, Plain
from stagedoor.model.target import Target
from stagedoor.model.units import KIB
from stagedoor.recording.folder import StoredRecording, list_stored
from stagedoor.recording.text_search import FoundLine
from stagedoor.store.database import Database
from stagedoor.store.journal import Filter, StoreJournal
from stagedoor.store.sessions import SessionRecord, find_sessions
from stagedoor.wire.target import parse_login
from stagedoor.wire.terminal.asciicast import AsciicastError, AsciicastReader

FOLDER = "recordings"
_PIECE_BYTES = 64 * KIB


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording and its session; `session` is None if the store no longer has it.

    `lasts_s` is the time until its last event, None if it cannot be read or was not measured. `lines` are
    those found by a search.
    """

    file: StoredRecording
    session: SessionRecord | None
    lasts_s: float | None = None
    lines: Sequence[FoundLine] = ()

    @property
    def sealed(self) -> bool:
        """Return whether the recording is encrypted, so that the gateway cannot read it."""
        return self.file.suffix == SUFFIX

    @property
    def user(self) -> str | None:
        """Return whose terminal it shows."""
        return None if self.session is None else self.session.identity

    @property
    def target_name(self) -> str | None:
        """Return the app of the terminal, as the store has it."""
        return None if self.session is None else self.session.target

    @property
    def target(self) -> Target | None:
        """Return the app of the terminal."""
        return None if self.session is None else parse_login(self.session.target)

    @property
    def opened_at(self) -> float | None:
        """Return when the session was opened, in seconds since the epoch."""
        return None if self.session is None else self.session.opened_at


def list_recordings(service: AdminService, *, identity: str | None = None) -> list[Recorded]:
    """List the recordings of all users, or of `identity`, the oldest first. Raises StagedoorError."""
    known: dict[str, SessionRecord | None] = {}
    recordings = []
    for file in _list_files(service):
        if file.session not in known:
            known[file.session] = find_recorded_session(service.database, file)
        session = known[file.session]
        if identity is None or (session is not None and session.identity == identity):
            recordings.append(Recorded(file, session))
    return recordings


def find_recorded_session(database: Database, file: StoredRecording) -> SessionRecord | None:
    """Return the session of a recording, None if the store no longer has it. Raises StoreError."""
    rows = find_sessions(database, file.session, limit=1)
    return rows[0] if rows and rows[0].id == file.session else None


def find_recording(recordings: Sequence[Recorded], prefix: str) -> Recorded:
    """Return the recording with this id or with the only id that begins with `prefix`.

    The id begins with the session's id. Raises NotFoundError, RefusedError.
    """
    matches = [recorded for recorded in recordings if recorded.file.id == prefix]
    matches = matches or [
        recorded for recorded in recordings if recorded.file.id.startswith(prefix)
    ]
    return sessions.require_only(matches, prefix, "recording")


def open_recording(
    file: BinaryIO, name: str, identities: Sequence[Path], *, is_encrypted: bool
) -> AsciicastReader:
    """Open the recording `name` for reading, with the keys in the files `identities` if it is encrypted.

    Raises StagedoorError. Reading further raises AsciicastError or StagedoorError if the file is damaged.
    """
    pieces: Iterator[bytes] = iter(partial(file.read, _PIECE_BYTES), b"")
    if is_encrypted:
        if not identities:
            raise RefusedError(
                f"the recording {name} is encrypted; name the file with a recipient's private key with "
                "--identity"
            )
        pieces = AgeOpener(identities).open(pieces)
    try:
        return AsciicastReader(pieces)
    except AsciicastError as error:
        raise StagedoorError(f"{name} is not a recording: {error}") from None


def find_digest(service: AdminService, recorded: Recorded) -> str | None:
    """Return the SHA-256 of a recording in the audit, None before its end. Raises StoreError."""
    kinds = EventKind.RECORDING_ENDED, EventKind.RECORDING_FAILED
    wanted = Filter(session=recorded.file.session, kinds=kinds)
    for entry in sessions.list_entries(service, wanted):
        fields = entry.event.fields
        if fields.get("recording") == recorded.file.path.name:
            return str(fields["sha256"]) if "sha256" in fields else None
    return None


def record_views(
    service: AdminService,
    recordings: Sequence[Recorded],
    searched: str | None = None,
    *,
    identity: str | None = None,
    source: str | None = None,
    access_method: str | None = None,
) -> None:
    """Write to the audit that recordings are viewed. Call it before anything is shown.

    A user on the web has an `identity`, a `source` and an `access_method`. Over the API the caller has an
    `identity`, and the service's actor is recorded too. On the gateway's machine the actor alone is the
    viewer. `searched` is the text whose lines are shown, None for all of a recording. The events are durable
    when this returns. Raises StoreError.
    """
    events = []
    for recorded in recordings:
        fields: dict[str, Plain] = {"recording": recorded.file.path.name}
        if service.actor:
            fields["actor"] = service.actor
        if searched is not None:
            fields["searched"] = searched
        event = Event(
            service.clock(),
            EventKind.RECORDING_VIEWED,
            service.instance,
            recorded.file.session,
            target=recorded.target_name,
            identity=identity,
            source=source,
            access_method=access_method,
            fields=fields,
        )
        events.append(event)
    if events:
        StoreJournal(service.database).append(events)


def _list_files(service: AdminService) -> list[StoredRecording]:
    try:
        return list_stored(service.data_dir / FOLDER)
    except OSError as error:
        raise StagedoorError(
            f"cannot read {service.data_dir / FOLDER}: {error.strerror}; run this as the account that "
            "runs the gateway"
        ) from None
