"""An observer of an sftp channel: it reports file names and sizes, never contents.

Only the head of each packet is kept (draft-ietf-secsh-filexfer-02 §3, which OpenSSH speaks, with the
extensions in its PROTOCOL), so memory stays bounded whatever is transferred. A client that speaks
another protocol is reported as not understood, and never disturbed.

A client must not be able to do anything that is not reported. So a change is reported when the server
answers it, or when the channel ends without an answer. If a client has too many requests in flight, or
two with the same number, answers cannot be matched to requests any more; from then on its requests are
reported as it makes them.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace

_VERSION = 3
_OK = 0
_HEAD = 9 * 1024
"""The bytes of a packet that are examined: two paths of PATH_MAX and the fields before them."""
_OUTSTANDING = 4096
"""The limit on unanswered requests, and on open files, that are remembered."""
_NAMES = 1024 * 1024
"""The limit on the characters of their names that are remembered."""
_PATH_BYTES = 4096
"""PATH_MAX of Linux. No file has a longer name; a longer one is cut, and ends in an ellipsis."""
_PATHS = {13: "remove", 14: "mkdir", 15: "rmdir"}
"""Requests that change the file at one path (§6.5, §6.6)."""
_PAIRS = {18: "rename", 20: "symlink"}
"""Requests that have two paths (§6.5, §6.10)."""
_EXTENDED_PAIRS = {b"posix-rename@openssh.com": "rename", b"hardlink@openssh.com": "hardlink"}


@dataclass(frozen=True, slots=True)
class FileEvent:
    """A change to a file, or a transfer.

    `did` is `transfer`, `remove`, `rename`, `symlink`, `hardlink`, `mkdir`, `rmdir`, `setstat`, `copy`
    (within the shell, by a copy-data request) or `lost`: the rest of the channel is not understood.
    `path` is as the client named it, with bytes that are not UTF-8 escaped; `to` is the new name of a
    rename, a link or a copy. `sent` and `received` are the bytes written to and read from the file.
    `attributes` are those that were set, such as `mode=0644 size=0`. `whole` is False for a file that
    was still open when the channel ended, and for a request whose answer was not seen.
    """

    did: str
    path: str
    to: str | None = None
    sent: int = 0
    received: int = 0
    whole: bool = True
    attributes: str = ""


@dataclass(slots=True)
class _File:
    path: str
    sent: int = 0
    received: int = 0
    attributes: str = ""


def is_sftp_server(command: str) -> bool:
    """Return True if a command runs OpenSSH's sftp-server, instead of requesting the subsystem."""
    try:
        words = shlex.split(command)
    except ValueError:
        return False
    return bool(words) and words[0].rpartition("/")[2] == "sftp-server"


class SftpWatch:
    """Takes the bytes of both directions, and returns the completed file events. Raises nothing."""

    def __init__(self) -> None:
        self._requests = _Packets()
        self._answers = _Packets()
        self._pending: dict[int, FileEvent] = {}
        """Changes, and a `transfer` for each file that is being opened, by the request's number."""
        self._reading: dict[int, bytes] = {}
        self._files: dict[bytes, _File] = {}
        self._names = 0
        """The characters of names in `_pending` and `_files`."""
        self._unmatched = False
        """True once answers cannot be matched to requests any more."""

    def take_sent(self, data: bytes) -> list[FileEvent]:
        """Take bytes from the client."""
        return [event for head in self._requests.feed(data) for event in self._read_request(head)]

    def take_received(self, data: bytes) -> list[FileEvent]:
        """Take bytes from the server."""
        return [event for head in self._answers.feed(data) for event in self._read_answer(head)]

    def end(self) -> list[FileEvent]:
        """Return the events of unanswered requests and open files, at the end of the channel."""
        left, self._files = list(self._files.values()), {}
        return [*self._report_pending(), *(_transfer(file, whole=False) for file in left)]

    def _read_request(self, head: bytes) -> Iterator[FileEvent]:
        fields = _PacketReader(head)
        kind, request = fields.byte(), fields.number(4)
        match kind:
            case 3:  # SSH_FXP_OPEN, §6.3
                yield from self._keep(request, FileEvent("transfer", _text(fields.string())))
            case 4:  # SSH_FXP_CLOSE
                file = self._files.pop(fields.string(), None)
                if file is not None:
                    self._names -= len(file.path)
                    yield _transfer(file)
            case 5:  # SSH_FXP_READ, §6.4
                if len(self._reading) < _OUTSTANDING:
                    self._reading[request] = fields.string()
            case 6:  # SSH_FXP_WRITE
                file = self._files.get(fields.string())
                fields.number(8)
                if file is not None:
                    file.sent += fields.number(4)
            case 9:  # SSH_FXP_SETSTAT, §6.9
                path = _text(fields.string())
                changed = FileEvent("setstat", path, attributes=_attributes(fields))
                yield from self._keep(request, changed)
            case 10:  # SSH_FXP_FSETSTAT
                file = self._files.get(fields.string())
                if file is not None:
                    file.attributes = _attributes(fields)
            case 200:  # SSH_FXP_EXTENDED, §8
                yield from self._extended(request, fields)
            case _ if kind in _PATHS:
                yield from self._keep(request, FileEvent(_PATHS[kind], _text(fields.string())))
            case _ if kind in _PAIRS:
                path, to = _text(fields.string()), _text(fields.string())
                yield from self._keep(request, FileEvent(_PAIRS[kind], path, to))

    def _extended(self, request: int, fields: "_PacketReader") -> Iterator[FileEvent]:
        name = fields.string()
        if name in _EXTENDED_PAIRS:
            path, to = _text(fields.string()), _text(fields.string())
            yield from self._keep(request, FileEvent(_EXTENDED_PAIRS[name], path, to))
        elif name == b"lsetstat@openssh.com":
            path = _text(fields.string())
            changed = FileEvent("setstat", path, attributes=_attributes(fields))
            yield from self._keep(request, changed)
        elif name == b"copy-data":
            source = self._files.get(fields.string())
            fields.number(16)  # offset and length
            target = self._files.get(fields.string())
            if source is not None and target is not None:
                yield from self._keep(request, FileEvent("copy", source.path, target.path))

    def _keep(self, request: int, event: FileEvent) -> Iterator[FileEvent]:
        """Keep an event until its request is answered. Yield it now if answers cannot be matched."""
        size = _size(event)
        full = len(self._pending) >= _OUTSTANDING or self._names + size > _NAMES
        if request in self._pending or full:
            self._unmatched = True
            yield from self._report_pending()
        if self._unmatched:
            yield _unanswered(event)
        else:
            self._pending[request] = event
            self._names += size

    def _take_pending(self, request: int) -> FileEvent | None:
        event = self._pending.pop(request, None)
        if event is not None:
            self._names -= _size(event)
        return event

    def _report_pending(self) -> Iterator[FileEvent]:
        pending, self._pending = self._pending, {}
        for event in pending.values():
            self._names -= _size(event)
            yield _unanswered(event)

    def _read_answer(self, head: bytes) -> Iterator[FileEvent]:
        fields = _PacketReader(head)
        kind, request = fields.byte(), fields.number(4)
        match kind:
            case 2 if request != _VERSION:  # SSH_FXP_VERSION, §4
                yield FileEvent("lost", "", whole=False)
            case 101:  # SSH_FXP_STATUS, §7
                changed = self._take_pending(request)
                self._reading.pop(request, None)
                if changed is not None and changed.did != "transfer" and fields.number(4) == _OK:
                    yield changed
            case 102:  # SSH_FXP_HANDLE
                opened = self._take_pending(request)
                if opened is not None and opened.did == "transfer":
                    name = fields.string()
                    if len(self._files) < _OUTSTANDING and name not in self._files:
                        self._files[name] = _File(opened.path)
                        self._names += len(opened.path)
                    else:
                        yield _unanswered(opened)
                elif opened is not None:
                    # This is no answer to such a request, so it proves nothing.
                    yield _unanswered(opened)
            case 103:  # SSH_FXP_DATA
                file = self._files.get(self._reading.pop(request, b""))
                if file is not None:
                    file.received += fields.number(4)


class _Packets:
    """Splits bytes into packets, which follow a length (§3), and keeps the head of each."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._wanted = -1
        """The bytes of this packet that are still missing; -1 before its length is known."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(data):
            if self._wanted < 0:
                taken = data[at : at + 4 - len(self._head)]
                self._head += taken
                at += len(taken)
                if len(self._head) < 4:
                    return
                self._wanted = int.from_bytes(self._head, "big")
                self._head.clear()
                if not self._wanted:  # an empty packet
                    self._wanted = -1
                continue
            take = min(self._wanted, len(data) - at)
            room = _HEAD - len(self._head)
            if room > 0:
                self._head += data[at : at + min(take, room)]
            at += take
            self._wanted -= take
            if self._wanted == 0:
                head = bytes(self._head)
                self._head.clear()
                self._wanted = -1
                yield head


class _PacketReader:
    """A reader of the data types of §3, in order. A missing value reads as 0 or as empty."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._at = 0

    def byte(self) -> int:
        return self.number(1)

    def number(self, size: int) -> int:
        value = self._head[self._at : self._at + size]
        self._at += size
        return int.from_bytes(value, "big") if len(value) == size else 0

    def string(self) -> bytes:
        size = self.number(4)
        value = self._head[self._at : self._at + size]
        self._at += size
        return value


def _text(path: bytes) -> str:
    cut = "…" if len(path) > _PATH_BYTES else ""
    return path[:_PATH_BYTES].decode("utf-8", "backslashreplace") + cut


def _size(event: FileEvent) -> int:
    return len(event.path) + len(event.to or "")


def _attributes(fields: _PacketReader) -> str:
    """Return the attributes of §5 that are present, in their order."""
    flags = fields.number(4)
    texts = []
    if flags & 1:
        texts.append(f"size={fields.number(8)}")
    if flags & 2:
        texts.append(f"uid={fields.number(4)} gid={fields.number(4)}")
    if flags & 4:
        texts.append(f"mode={fields.number(4) & 0o7777:04o}")
    if flags & 8:
        fields.number(4)
        texts.append(f"mtime={fields.number(4)}")
    return " ".join(texts)


def _unanswered(event: FileEvent) -> FileEvent:
    return replace(event, whole=False)


def _transfer(file: _File, *, whole: bool = True) -> FileEvent:
    return FileEvent("transfer", file.path, None, file.sent, file.received, whole, file.attributes)
