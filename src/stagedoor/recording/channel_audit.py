"""The records of a channel: events in the audit, and a recording if the rules require one.

A recording has the contents of a terminal. Events have no contents: they name the command or the files, the
number of bytes each way, and how the channel ended.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from stagedoor.model.event import EventFields, EventKind
from stagedoor.model.session import OpenedSession
from stagedoor.model.units import KIB
from stagedoor.recording.recorder import Recorder, Recording
from stagedoor.wire.oneline import to_one_line
from stagedoor.wire.ssh.scp import ScpWatch, parse_scp_direction
from stagedoor.wire.ssh.sftp import FileEvent, SftpWatch, is_sftp_server
from stagedoor.wire.terminal.asciicast import AsciicastHeader


@dataclass(frozen=True, slots=True)
class RecordingPlan:
    """The rules for recording terminals.

    If a recording fails, its session is closed, unless `continues_unrecorded` is true. If `record_input` is
    true, the recording includes what the user types.
    """

    recorder: Recorder
    continues_unrecorded: bool = False
    record_input: bool = False


NAMED = 1000
"""The number of files of one channel that each have an event."""
BATCH = 1000
"""The number of later files that share an event."""

_Event = tuple[EventKind, EventFields]


@dataclass(slots=True)
class _Batch:
    """Files that share an event, which has only sums: a list of names could be long."""

    did: Counter[str] = field(default_factory=Counter)
    first: str = ""
    last: str = ""
    sent: int = 0
    received: int = 0

    def add(self, event: FileEvent) -> None:
        if not self.did:
            self.first = event.path
        self.last = event.path
        self.did[event.did] += 1
        self.sent += event.sent
        self.received += event.received


class FileAudit:
    """The files of one channel, as events to write. `count` is their number.

    The hash is SHA-256 over the lines of all events so far (`encode_line`). It proves whether a given list is
    the list of the files that were moved.
    """

    def __init__(self) -> None:
        self.count = 0
        self._hash = hashlib.sha256()
        self._batch = _Batch()

    def add(self, event: FileEvent) -> Iterator[_Event]:
        """Count a file. Yield its event, or that of a batch which is full now."""
        self.count += 1
        self._hash.update(encode_line(event))
        if self.count <= NAMED:
            yield EventKind.CHANNEL_FILE, _fields(event)
            return
        self._batch.add(event)
        if self._batch.did.total() == BATCH:
            yield from self.end()

    def end(self) -> Iterator[_Event]:
        """Yield the event of the last batch, at the channel's end."""
        batch, self._batch = self._batch, _Batch()
        if batch.did:
            yield (
                EventKind.CHANNEL_FILES,
                {
                    "files": batch.did.total(),
                    "did": ", ".join(f"{n} {name}" for name, n in sorted(batch.did.items())),
                    "first": batch.first,
                    "last": batch.last,
                    "sent": batch.sent,
                    "received": batch.received,
                    "sha256": self._hash.hexdigest(),
                },
            )


def encode_line(event: FileEvent) -> bytes:
    """Return the line of JSON with which an event enters the hash."""
    return json.dumps(asdict(event), sort_keys=True).encode() + b"\n"


def _fields(event: FileEvent) -> EventFields:
    return {
        "did": event.did,
        "path": event.path,
        "to": event.to,
        "sent": event.sent,
        "received": event.received,
        "whole": event.whole,
        "attributes": event.attributes or None,
    }


Note = Callable[[OpenedSession, EventKind, EventFields], None]
"""A function that queues an event of a session for the audit. Any thread may call it; it never blocks."""


class ExitSignal(NamedTuple):
    """The signal that ended a program (RFC 4254 §6.10): its name without SIG, and a message in `language`."""

    name: str
    core_dumped: bool
    message: str
    language: str


ProgramExit = int | ExitSignal | None
"""The exit status of a program, or the signal that ended it. None if the shell reported neither."""

COMMAND_BYTES = 64 * KIB
"""The longest command that the audit has whole."""
TAIL_BYTES = 16 * KIB
"""The part of a longer command's end that the audit has. The rest of `COMMAND_BYTES` is its beginning."""
BRIEF_CHARS = 400
"""The length to which a command is cut where an event repeats it."""
_DEFAULT_SIZE = (80, 24)
"""The size in the header of a terminal that has none: players need one."""


@dataclass(frozen=True, slots=True)
class ChannelRequest:
    """The request that opened a channel.

    `kind` is `shell`, `exec`, `subsystem` or `forward`; `what` is the command, the subsystem's name or the
    forward's destination. `terminal` is TERM, or None without a terminal; the size is in characters. If the
    client's certificate forces a command, `original` is the command that the client requested.
    """

    kind: str
    what: str = ""
    terminal: str | None = None
    columns: int = 0
    rows: int = 0
    original: str = ""

    @property
    def is_interactive(self) -> bool:
        """Return whether a person works in the channel: it has a terminal, or is a shell without one."""
        return self.terminal is not None or self.kind == "shell"


def make_header(
    opened: OpenedSession, number: int, request: ChannelRequest, now: float
) -> AsciicastHeader:
    """Return the header of a recording; `now` is seconds since the epoch."""
    grant = opened.ready.grant
    width, height = _DEFAULT_SIZE
    return AsciicastHeader(
        width=request.columns or width,
        height=request.rows or height,
        timestamp=int(now),
        command=request.what or None,
        title=f"{grant.identity.name} in {grant.target}",
        env={"TERM": request.terminal} if request.terminal else {},
        extra={
            "stagedoor": {
                "session": opened.id,
                "channel": number,
                "identity": grant.identity.name,
                "target": str(grant.target),
                "source": str(opened.source),
                "grant": grant.rule_id,
            }
        },
    )


def describe_request(what: str, name: str = "what") -> EventFields:
    """Return the fields of an event for a request.

    A request of more than `COMMAND_BYTES` of UTF-8 is cut: the fields have both its ends, its length in bytes
    and its SHA-256.
    """
    data = what.encode("utf-8", "surrogatepass")
    if len(data) <= COMMAND_BYTES:
        return {name: what or None}
    return {
        name: data[: COMMAND_BYTES - TAIL_BYTES].decode("utf-8", "ignore"),
        f"{name}_end": data[-TAIL_BYTES:].decode("utf-8", "ignore"),
        f"{name}_bytes": len(data),
        f"{name}_sha256": hashlib.sha256(data).hexdigest(),
    }


def _file_watch(request: ChannelRequest) -> SftpWatch | ScpWatch | None:
    """Return a parser that finds files in a channel's bytes; None for a channel that moves none."""
    if request.kind == "subsystem" and request.what == "sftp":
        return SftpWatch()
    if request.kind == "exec" and is_sftp_server(request.what):
        return SftpWatch()
    if request.kind != "exec" or request.terminal is not None:
        return None
    direction = parse_scp_direction(request.what)
    return None if direction is None else ScpWatch(direction)


class ChannelAudit:
    """The audit of one channel. `recording` is None for a channel that is not recorded."""

    def __init__(
        self, note: Note, opened: OpenedSession, number: int, request: ChannelRequest,
        recording: Recording | None, *, keeps_input: bool = False,
    ) -> None:  # fmt: skip
        self._note = note
        self._opened = opened
        self._about: EventFields = {
            "channel": number,
            "asked": request.kind,
            "what": to_one_line(request.what, BRIEF_CHARS) or None,
            "terminal": request.terminal,
        }
        self._recording = recording
        self._keeps_input = keeps_input
        self._over = False
        self._watch = _file_watch(request)
        self._files = FileAudit()
        recorded = {"recording": recording.name} if recording else {}
        what = describe_request(request.what)
        if request.original:
            what = {**what, **describe_request(request.original, "original")}
        note(opened, EventKind.CHANNEL_OPENED, {**self._about, **what, **recorded})

    def take_output(self, data: bytes, datatype: int | None = None) -> bool:
        """Take bytes from the shell. Return False if the caller must wait until the recording has room."""
        if self._watch is not None and datatype is None:
            self.record_files(self._watch.take_received(data))
        return self._recording is None or self._recording.record_output(data)

    def take_input(self, data: bytes) -> None:
        """Take bytes from the developer."""
        if self._watch is not None:
            self.record_files(self._watch.take_sent(data))
        if self._recording is not None and self._keeps_input:
            self._recording.record_input(data)

    def record_size(self, columns: int, rows: int) -> None:
        """Record a new window size, in characters."""
        if self._recording is not None:
            self._recording.resize(columns, rows)

    def record_files(self, events: list[FileEvent]) -> None:
        """Write events of files, which a parser found in the bytes or the WebShell's transfers reported."""
        for event in events:
            self._write_events(self._files.add(event))

    def _write_events(self, events: Iterable[tuple[EventKind, EventFields]]) -> None:
        for kind, fields in events:
            self._note(self._opened, kind, {"channel": self._about["channel"], **fields})

    def record_end(self, how: ProgramExit, sent: int, received: int) -> None:
        """Write the channel's end, with bytes as in `model.session.Counts`. Later calls do nothing."""
        if self._over:
            return
        self._over = True
        exit_status = how if isinstance(how, int) else None
        exit_signal = how.name if isinstance(how, ExitSignal) else None
        if self._recording is not None:
            words = (
                f"signal {exit_signal}" if exit_signal
                else "hung up" if exit_status is None else f"exit {exit_status}"
            )  # fmt: skip
            self._recording.mark(words)
            self._recording.end()
        if self._watch is not None:
            self.record_files(self._watch.end())
        self._write_events(self._files.end())
        self._note(
            self._opened,
            EventKind.CHANNEL_CLOSED,
            {
                **self._about,
                "files": self._files.count if self._watch is not None else None,
                "exit": exit_status,
                "signal": exit_signal,
                "sent": sent,
                "received": received,
            },
        )
