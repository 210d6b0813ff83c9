"""What an administrator may do with recordings: find, read and compare them with the audit."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagedoor.admin import sessions as oversight
from stagedoor.admin.service import AdminService
from stagedoor.admin.sessions import Filter
from stagedoor.keys.age import SUFFIX, AgeOpener
from stagedoor.model.errors import NotFoundError, RefusedError, StagedoorError
from stagedoor.model.event import Event, Kind
from stagedoor.recording.folder import RecordingEntry, kept, read
from stagedoor.store.journal import StoreJournal
from stagedoor.store.sessions import SessionRecord, find_sessions
from stagedoor.wire.asciicast import AsciicastError, Reader

FOLDER = "recordings"
__all__ = [
    "Recorded",
    "RecordingEntry",
    "find",
    "list_recordings",
    "note_viewed",
    "open_recording",
    "was_changed",
]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording and whose it is; `session` is None where the store no longer knows it."""

    file: RecordingEntry
    session: SessionRecord | None

    @property
    def sealed(self) -> bool:
        return self.file.suffix == SUFFIX


def list_recordings(service: AdminService, *, identity: str | None = None) -> list[Recorded]:
    """Oldest first. Raises StagedoorError."""
    known: dict[str, SessionRecord | None] = {}
    found = []
    for file in _kept(service):
        if file.session not in known:
            rows = find_sessions(service.database, file.session, limit=1)
            known[file.session] = rows[0] if rows and rows[0].id == file.session else None
        session = known[file.session]
        if identity is None or (session is not None and session.identity == identity):
            found.append(Recorded(file, session))
    return found


def find(service: AdminService, given: str) -> Recorded:
    """The one whose id, or session's id, alone begins so. Raises NotFoundError, RefusedError."""
    if len(given) < oversight.MIN_PREFIX:
        raise RefusedError(
            f"{given!r} is too short for a recording's id: {oversight.MIN_PREFIX} characters"
        )
    every = list_recordings(service)
    found = [one for one in every if one.file.id == given]
    found = found or [one for one in every if one.file.id.startswith(given)]
    if not found:
        raise NotFoundError(f"there is no recording {given}; see `stagedoor recording list`")
    if len(found) > 1:
        raise RefusedError(f"more than one recording begins with {given}; write more of the id")
    return found[0]


def open_recording(recorded: Recorded, identities: Sequence[Path]) -> Reader:
    """Read it, opened with the keys in `identities` if it is sealed. Raises StagedoorError.

    Reading on raises AsciicastError or StagedoorError where the file is damaged.
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
        return Reader(pieces)
    except AsciicastError as error:
        raise StagedoorError(f"{recorded.file.path} is no recording: {error}") from None


def was_changed(service: AdminService, recorded: Recorded) -> bool | None:
    """Whether the file differs from what the audit says of it; None while the audit says nothing.

    The audit has it once a recording has ended. Reads the whole file. Raises StagedoorError.
    """
    name = recorded.file.path.name
    for entry in oversight.entries(service, Filter(session=recorded.file.session)):
        event = entry.event
        ended = event.kind in (Kind.RECORDING_ENDED, Kind.RECORDING_FAILED)
        if ended and event.fields.get("recording") == name:
            digest = hashlib.sha256()
            for piece in _read(recorded.file.path):
                digest.update(piece)
            return digest.hexdigest() != event.fields.get("sha256")
    return None


def note_viewed(
    service: AdminService, session: str, target: str | None, name: str, **who: str
) -> None:
    """Write to the audit, before anything is shown, that somebody reads the recording in file `name`.

    `who` are `identity`, `source` and `way` of the person on the web; without them it is the actor
    at the desk. When this returns it is durable. Raises StoreError.
    """
    fields: dict[str, str | int | float | bool | None] = {"recording": name}
    if not who:
        fields["actor"] = service.actor
    event = Event(
        service.clock(),
        Kind.RECORDING_VIEWED,
        service.instance,
        session,
        target=target,
        fields=fields,
        **who,
    )
    StoreJournal(service.database).append([event])


def _kept(service: AdminService) -> list[RecordingEntry]:
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
