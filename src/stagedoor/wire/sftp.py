"""What an sftp channel does, seen from beside it: file names and sizes, never contents.

Of each packet (draft-ietf-secsh-filexfer-02 §3, which OpenSSH speaks, with the extensions of its
PROTOCOL) only the head is kept, so memory stays bounded whatever is transferred. A client that speaks
something else is not understood, and never disturbed.

A client must not be able to do something beside what is told of it. So a change is told when it is
answered, or when the channel ends without an answer; and a client that has too many requests under way, or
two by one number, is told of as it asks, since answers cannot be matched to its requests any more.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace

_VERSION = 3
_OK = 0
_HEAD = 9 * 1024
"""Bytes of a packet that are looked at: two paths of PATH_MAX and what stands before them."""
_OUTSTANDING = 4096
"""Requests without an answer, and open files, that are kept in mind."""
_NAMES = 1024 * 1024
"""Characters of names that are kept in mind for them."""
_PATH_BYTES = 4096
"""PATH_MAX of Linux. No longer name is one of a file; where it is cut, an ellipsis stands."""
_PATHS = {13: "remove", 14: "mkdir", 15: "rmdir"}
"""Requests that change what is at one path (§6.5, §6.6)."""
_PAIRS = {18: "rename", 20: "symlink"}
"""Those that change two (§6.5, §6.10)."""
_EXTENDED_PAIRS = {b"posix-rename@openssh.com": "rename", b"hardlink@openssh.com": "hardlink"}


@dataclass(frozen=True, slots=True)
class FileEvent:
    """`did` is `transfer`, `remove`, `rename`, `symlink`, `hardlink`, `mkdir`, `rmdir`, `setstat`,
    `copy` (within the shell, by a copy-data request), or `lost`: what follows in this channel is not
    understood.

    `path` is as the client named it, what is no UTF-8 escaped; `to` the new name of a rename, a link or a
    copy. `sent` and `received` are bytes written to and read from it. `attributes` are those that were set,
    as `mode=0644 size=0`. `whole` is False for a file that was still open when the channel ended, and for
    what was asked for with no answer seen.
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
    """Whether a command runs OpenSSH's sftp-server, instead of asking for the subsystem."""
    try:
        words = shlex.split(command)
    except ValueError:
        return False
    return bool(words) and words[0].rpartition("/")[2] == "sftp-server"


class SftpWatch:
    """Feed it both directions; it returns what was done. Raises nothing."""

    def __init__(self) -> None:
        self._asked = _Packets()
        self._answered = _Packets()
        self._pending: dict[int, FileEvent] = {}
        """Changes, and `transfer` for a file that is being opened, by the number of the request."""
        self._reading: dict[int, bytes] = {}
        self._files: dict[bytes, _File] = {}
        self._names = 0
        """Characters of names in `_pending` and `_files`."""
        self._unmatched = False
        """Answers cannot be matched to requests any more."""

    def sent(self, data: bytes) -> list[FileEvent]:
        """From the client."""
        return [event for head in self._asked.feed(data) for event in self._ask(head)]

    def received(self, data: bytes) -> list[FileEvent]:
        """From the server."""
        return [event for head in self._answered.feed(data) for event in self._answer(head)]

    def end(self) -> list[FileEvent]:
        """The channel is closed."""
        left, self._files = list(self._files.values()), {}
        return [*self._all_pending(), *(_transfer(file, whole=False) for file in left)]

    def _ask(self, head: bytes) -> Iterator[FileEvent]:
        words = _Words(head)
        kind, request = words.byte(), words.number(4)
        match kind:
            case 3:  # SSH_FXP_OPEN, §6.3
                yield from self._keep(request, FileEvent("transfer", _text(words.string())))
            case 4:  # SSH_FXP_CLOSE
                file = self._files.pop(words.string(), None)
                if file is not None:
                    self._names -= len(file.path)
                    yield _transfer(file)
            case 5:  # SSH_FXP_READ, §6.4
                if len(self._reading) < _OUTSTANDING:
                    self._reading[request] = words.string()
            case 6:  # SSH_FXP_WRITE
                file = self._files.get(words.string())
                words.number(8)
                if file is not None:
                    file.sent += words.number(4)
            case 9:  # SSH_FXP_SETSTAT, §6.9
                path = _text(words.string())
                changed = FileEvent("setstat", path, attributes=_attributes(words))
                yield from self._keep(request, changed)
            case 10:  # SSH_FXP_FSETSTAT
                file = self._files.get(words.string())
                if file is not None:
                    file.attributes = _attributes(words)
            case 200:  # SSH_FXP_EXTENDED, §8
                yield from self._extended(request, words)
            case _ if kind in _PATHS:
                yield from self._keep(request, FileEvent(_PATHS[kind], _text(words.string())))
            case _ if kind in _PAIRS:
                path, to = _text(words.string()), _text(words.string())
                yield from self._keep(request, FileEvent(_PAIRS[kind], path, to))

    def _extended(self, request: int, words: "_Words") -> Iterator[FileEvent]:
        name = words.string()
        if name in _EXTENDED_PAIRS:
            path, to = _text(words.string()), _text(words.string())
            yield from self._keep(request, FileEvent(_EXTENDED_PAIRS[name], path, to))
        elif name == b"lsetstat@openssh.com":
            path = _text(words.string())
            changed = FileEvent("setstat", path, attributes=_attributes(words))
            yield from self._keep(request, changed)
        elif name == b"copy-data":
            source = self._files.get(words.string())
            words.number(16)  # where from, and how much
            target = self._files.get(words.string())
            if source is not None and target is not None:
                yield from self._keep(request, FileEvent("copy", source.path, target.path))

    def _keep(self, request: int, event: FileEvent) -> Iterator[FileEvent]:
        """Until it is answered."""
        size = _size(event)
        full = len(self._pending) >= _OUTSTANDING or self._names + size > _NAMES
        if request in self._pending or full:
            self._unmatched = True
            yield from self._all_pending()
        if self._unmatched:
            yield _unanswered(event)
        else:
            self._pending[request] = event
            self._names += size

    def _answered_one(self, request: int) -> FileEvent | None:
        event = self._pending.pop(request, None)
        if event is not None:
            self._names -= _size(event)
        return event

    def _all_pending(self) -> Iterator[FileEvent]:
        pending, self._pending = self._pending, {}
        for event in pending.values():
            self._names -= _size(event)
            yield _unanswered(event)

    def _answer(self, head: bytes) -> Iterator[FileEvent]:
        words = _Words(head)
        kind, request = words.byte(), words.number(4)
        match kind:
            case 2 if request != _VERSION:  # SSH_FXP_VERSION, §4
                yield FileEvent("lost", "", whole=False)
            case 101:  # SSH_FXP_STATUS, §7
                changed = self._answered_one(request)
                self._reading.pop(request, None)
                if changed is not None and changed.did != "transfer" and words.number(4) == _OK:
                    yield changed
            case 102:  # SSH_FXP_HANDLE
                opened = self._answered_one(request)
                if opened is not None and opened.did == "transfer":
                    name = words.string()
                    if len(self._files) < _OUTSTANDING and name not in self._files:
                        self._files[name] = _File(opened.path)
                        self._names += len(opened.path)
                    else:
                        yield _unanswered(opened)
                elif opened is not None:
                    yield _unanswered(opened)  # no answer to that: it says nothing
            case 103:  # SSH_FXP_DATA
                file = self._files.get(self._reading.pop(request, b""))
                if file is not None:
                    file.received += words.number(4)


class _Packets:
    """Bytes to the heads of packets: what follows a length (§3)."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._wanted = -1
        """Bytes of this packet that have not come; -1 before its length is known."""

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
                if not self._wanted:  # a packet without anything in it
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


class _Words:
    """The data types of §3, read one by one; what is not there reads as nothing."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._at = 0

    def byte(self) -> int:
        return self.number(1)

    def number(self, size: int) -> int:
        found = self._head[self._at : self._at + size]
        self._at += size
        return int.from_bytes(found, "big") if len(found) == size else 0

    def string(self) -> bytes:
        size = self.number(4)
        found = self._head[self._at : self._at + size]
        self._at += size
        return found


def _text(path: bytes) -> str:
    cut = "…" if len(path) > _PATH_BYTES else ""
    return path[:_PATH_BYTES].decode("utf-8", "backslashreplace") + cut


def _size(event: FileEvent) -> int:
    return len(event.path) + len(event.to or "")


def _attributes(words: _Words) -> str:
    """Those of §5 that are there, in their order."""
    flags = words.number(4)
    found = []
    if flags & 1:
        found.append(f"size={words.number(8)}")
    if flags & 2:
        found.append(f"uid={words.number(4)} gid={words.number(4)}")
    if flags & 4:
        found.append(f"mode={words.number(4) & 0o7777:04o}")
    if flags & 8:
        words.number(4)
        found.append(f"mtime={words.number(4)}")
    return " ".join(found)


def _unanswered(event: FileEvent) -> FileEvent:
    return replace(event, whole=False)


def _transfer(file: _File, *, whole: bool = True) -> FileEvent:
    return FileEvent("transfer", file.path, None, file.sent, file.received, whole, file.attributes)
