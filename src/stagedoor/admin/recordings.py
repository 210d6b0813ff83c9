"""Recordings for administrators: finding and reading them, and comparing them with the audit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from stagedoor.admin import sessions
from stagedoor.admin.service import AdminService
from stagedoor.admin.sessions import Filter
from stagedoor.keys.age import SUFFIX, AgeOpener
from stagedoor.model.errors import NotFoundError, RefusedError, StagedoorError
from stagedoor.model.event import Event, EventKind
from stagedoor.model.units import KIB
from stagedoor.recording.folder import StoredRecording, kept
from stagedoor.store.journal import StoreJournal
from stagedoor.store.sessions import SessionRecord, find_sessions
from stagedoor.wire.terminal.asciicast import AsciicastError, AsciicastReader

FOLDER = "recordings"
_PIECE_BYTES = 64 * KIB
__all__ = [
    "Recorded",
    "StoredRecording",
    "audit_view",
    "find_digest",
    "find_recording",
    "list_recordings",
    "open_recording",
]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording and its session; `session` is None if the store no longer has it."""

    file: StoredRecording
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


def find_recording(recordings: Sequence[Recorded], prefix: str) -> Recorded:
    """Return the recording with this id, or the only one whose id begins so.

    The id begins with the session's id. Raises NotFoundError, RefusedError.
    """
    sessions.require_long_enough(prefix, "recording")
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
        raise StagedoorError(f"{name} is no recording: {error}") from None


def find_digest(service: AdminService, recorded: Recorded) -> str | None:
    """Return the SHA-256 of a recording in the audit, None before its end. Raises StoreError."""
    name = recorded.file.path.name
    for entry in sessions.entries(service, Filter(session=recorded.file.session)):
        event = entry.event
        ended = event.kind in (EventKind.RECORDING_ENDED, EventKind.RECORDING_FAILED)
        if ended and event.fields.get("recording") == name:
            return str(event.fields["sha256"]) if "sha256" in event.fields else None
    return None


def audit_view(
    service: AdminService, session: str, target: str | None, name: str, **who: str
) -> None:
    """Write to the audit that the recording in file `name` is viewed. Call it before anything is shown.

    `who` has `identity`, `source` and `way` of a user on the web. Over the API, and on the gateway's machine,
    the service's actor is the viewer. The event is durable when this returns. Raises StoreError.
    """
    fields: dict[str, str | int | float | bool | None] = {"recording": name}
    if service.actor:
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


def _list_files(service: AdminService) -> list[StoredRecording]:
    try:
        return kept(service.data_dir / FOLDER)
    except OSError as error:
        raise StagedoorError(
            f"cannot read {service.data_dir / FOLDER}: {error.strerror}; run this as the account that "
            "runs the gateway"
        ) from None
