"""Recordings for administrators: finding and reading them, and comparing them with the audit."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagedoor.admin import sessions
from stagedoor.admin.service import AdminService
from stagedoor.admin.sessions import Filter
from stagedoor.keys.age import SUFFIX, AgeOpener
from stagedoor.model.errors import NotFoundError, RefusedError, StagedoorError
from stagedoor.model.event import Event, EventKind
from stagedoor.recording.folder import RecordingEntry, kept, read
from stagedoor.store.journal import StoreJournal
from stagedoor.store.sessions import SessionRecord, find_sessions
from stagedoor.wire.terminal.asciicast import AsciicastError, AsciicastReader

FOLDER = "recordings"
__all__ = [
    "Recorded",
    "RecordingEntry",
    "audit_view",
    "find_recording",
    "list_recordings",
    "open_recording",
    "was_changed",
]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording and its session; `session` is None if the store no longer has it."""

    file: RecordingEntry
    session: SessionRecord | None

    @property
    def sealed(self) -> bool:
        """Return whether the recording is encrypted."""
        return self.file.suffix == SUFFIX


def list_recordings(service: AdminService, *, identity: str | None = None) -> list[Recorded]:
    """List the recordings of all users, or of `identity`, the oldest first. Raises StagedoorError."""
    known: dict[str, SessionRecord | None] = {}
    recordings = []
    for file in _list_files(service):
        if file.session not in known:
            rows = find_sessions(service.database, file.session, limit=1)
            known[file.session] = rows[0] if rows and rows[0].id == file.session else None
        session = known[file.session]
        if identity is None or (session is not None and session.identity == identity):
            recordings.append(Recorded(file, session))
    return recordings


def find_recording(service: AdminService, prefix: str) -> Recorded:
    """Return the recording with this id, or the only one whose id begins so.

    The id begins with the session's id. Raises NotFoundError, RefusedError, StagedoorError.
    """
    if len(prefix) < sessions.MIN_PREFIX:
        raise RefusedError(
            f"{prefix!r} is too short for a recording's id: {sessions.MIN_PREFIX} characters"
        )
    recordings = list_recordings(service)
    matches = [recorded for recorded in recordings if recorded.file.id == prefix]
    matches = matches or [
        recorded for recorded in recordings if recorded.file.id.startswith(prefix)
    ]
    if not matches:
        raise NotFoundError.with_mend(
            f"there is no recording {prefix}", "see `stagedoor recording list`"
        )
    if len(matches) > 1:
        raise RefusedError(f"more than one recording begins with {prefix}; write more of the id")
    return matches[0]


def open_recording(recorded: Recorded, identities: Sequence[Path]) -> AsciicastReader:
    """Open a recording for reading, with the keys in the files `identities` if it is encrypted.

    Raises StagedoorError. Reading further raises AsciicastError or StagedoorError if the file is damaged.
    """
    pieces = _read(recorded.file.path)
    if recorded.sealed:
        if not identities:
            raise RefusedError(
                f"the recording {recorded.file.id} is encrypted; name the file with a recipient's "
                "private key with --identity"
            )
        pieces = AgeOpener(identities).open(pieces)
    try:
        return AsciicastReader(pieces)
    except AsciicastError as error:
        raise StagedoorError(f"{recorded.file.path} is no recording: {error}") from None


def was_changed(service: AdminService, recorded: Recorded) -> bool | None:
    """Return whether the file differs from its digest in the audit; None if the audit has no digest yet.

    The audit gets the digest when a recording ends. It reads the whole file. Raises StagedoorError.
    """
    name = recorded.file.path.name
    for entry in sessions.entries(service, Filter(session=recorded.file.session)):
        event = entry.event
        ended = event.kind in (EventKind.RECORDING_ENDED, EventKind.RECORDING_FAILED)
        if ended and event.fields.get("recording") == name:
            digest = hashlib.sha256()
            for piece in _read(recorded.file.path):
                digest.update(piece)
            return digest.hexdigest() != event.fields.get("sha256")
    return None


def audit_view(
    service: AdminService, session: str, target: str | None, name: str, **who: str
) -> None:
    """Write to the audit that the recording in file `name` is viewed. Call it before anything is shown.

    `who` has `identity`, `source` and `way` of a user on the web; without it the viewer is the service's
    actor. The event is durable when this returns. Raises StoreError.
    """
    fields: dict[str, str | int | float | bool | None] = {"recording": name}
    if not who:
        fields["actor"] = service.actor
    event = Event(
        service.clock(),
        EventKind.RECORDING_VIEWED,
        service.instance,
        session,
        target=target,
        fields=fields,
        **who,
    )
    StoreJournal(service.database).append([event])


def _list_files(service: AdminService) -> list[RecordingEntry]:
    try:
        return kept(service.data_dir / FOLDER)
    except OSError as error:
        raise StagedoorError(
            f"cannot read {service.data_dir / FOLDER}: {error.strerror}; run this as the account that "
            "runs the gateway"
        ) from None


def _read(path: Path) -> Iterator[bytes]:
    try:
        yield from read(path)
    except OSError as error:
        raise StagedoorError(f"cannot read {path}: {error.strerror}") from None
