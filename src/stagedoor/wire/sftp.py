"""What an sftp channel does, seen from beside it: file names and sizes, never contents.

Of each packet (draft-ietf-secsh-filexfer-02 §3, which OpenSSH speaks) only the head is kept, so
memory stays bounded whatever is transferred. Whoever speaks something else is not understood, and
never disturbed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_OK = 0
_HEAD = 9 * 1024
"""Bytes of a packet that are looked at: two paths of PATH_MAX and what stands before them."""
_PACKET_LIMIT = 512 * 1024
"""A longer packet is no sftp (OpenSSH takes 256 KiB)."""
_OUTSTANDING = 4096
"""Requests without an answer, and open files, that are kept in mind; beyond it none are added."""


@dataclass(frozen=True, slots=True)
class FileEvent:
    """`did` is `transfer`, `remove` or `rename`.

    `path` is as the client named it, what is no UTF-8 replaced; `to` the new name of a rename.
    `sent` and `received` are bytes written to and read from it. `whole` is False for a file that
    was still open when the channel ended.
    """

    did: str
    path: str
    to: str | None = None
    sent: int = 0
    received: int = 0
    whole: bool = True


@dataclass(slots=True)
class _File:
    path: str
    sent: int = 0
    received: int = 0


class SftpWatch:
    """Feed it both directions; it returns what was done. Raises nothing."""

    def __init__(self) -> None:
        self._asked = _Packets()
        self._answered = _Packets()
        self._opening: dict[int, str] = {}
        self._reading: dict[int, bytes] = {}
        self._changing: dict[int, FileEvent] = {}
        self._files: dict[bytes, _File] = {}

    def sent(self, data: bytes) -> list[FileEvent]:
        """From the client."""
        return [event for head in self._asked.feed(data) for event in self._ask(head)]

    def received(self, data: bytes) -> list[FileEvent]:
        """From the server."""
        return [event for head in self._answered.feed(data) for event in self._answer(head)]

    def end(self) -> list[FileEvent]:
        """The channel is closed."""
        left, self._files = list(self._files.values()), {}
        return [_transfer(file, whole=False) for file in left]

    def _ask(self, head: bytes) -> Iterator[FileEvent]:
        words = _Words(head)
        kind, request = words.byte(), words.number(4)
        match kind:
            case 3:  # SSH_FXP_OPEN, §6.3
                _keep(self._opening, request, _text(words.string()))
            case 4:  # SSH_FXP_CLOSE
                file = self._files.pop(words.string(), None)
                if file is not None:
                    yield _transfer(file)
            case 5:  # SSH_FXP_READ, §6.4
                _keep(self._reading, request, words.string())
            case 6:  # SSH_FXP_WRITE
                file = self._files.get(words.string())
                words.number(8)
                if file is not None:
                    file.sent += words.number(4)
            case 13:  # SSH_FXP_REMOVE, §6.5
                _keep(self._changing, request, FileEvent("remove", _text(words.string())))
            case 18:  # SSH_FXP_RENAME
                self._rename(request, words)
            case 200:  # SSH_FXP_EXTENDED, §8
                if words.string() == b"posix-rename@openssh.com":
                    self._rename(request, words)

    def _rename(self, request: int, words: "_Words") -> None:
        path, to = _text(words.string()), _text(words.string())
        _keep(self._changing, request, FileEvent("rename", path, to))

    def _answer(self, head: bytes) -> Iterator[FileEvent]:
        words = _Words(head)
        kind, request = words.byte(), words.number(4)
        match kind:
            case 101:  # SSH_FXP_STATUS, §7
                changed = self._changing.pop(request, None)
                self._opening.pop(request, None)
                self._reading.pop(request, None)
                if changed is not None and words.number(4) == _OK:
                    yield changed
            case 102:  # SSH_FXP_HANDLE
                path = self._opening.pop(request, None)
                if path is not None:
                    _keep(self._files, words.string(), _File(path))
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
        self._lost = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(data) and not self._lost:
            if self._wanted < 0:
                taken = data[at : at + 4 - len(self._head)]
                self._head += taken
                at += len(taken)
                if len(self._head) < 4:
                    return
                self._wanted = int.from_bytes(self._head, "big")
                self._head.clear()
                self._lost = not 0 < self._wanted <= _PACKET_LIMIT
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


def _keep(kept: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    if len(kept) < _OUTSTANDING:
        kept[key] = value


def _text(path: bytes) -> str:
    return path.decode("utf-8", "replace")


def _transfer(file: _File, *, whole: bool = True) -> FileEvent:
    return FileEvent("transfer", file.path, None, file.sent, file.received, whole)
