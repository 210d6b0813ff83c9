"""What `scp -O` does, seen from beside it: file names and sizes, never contents.

The protocol is that of rcp and has no standard; this follows OpenSSH's scp.c (`source`, `sink`). The
sender says a line (`C0644 12 name`), the sink answers a byte, the sender gives the bytes and one
more, and so on in turns. Other traffic is not understood, and never disturbed.
"""

import re
import shlex
from enum import Enum

from stagedoor.wire.sftp import FileEvent

_LINE = 9 * 1024
"""Bytes of a line: a name of PATH_MAX and what stands around it."""
_DEPTH = 256
"""Folders within each other whose names are kept in mind."""
_COPY = re.compile(rb"([CD])[0-7]{1,5} ([0-9]+) ([^/\0]+)")
_MOST = 2**64 - 1
"""What scp.c's strtoull makes of a larger number; it takes any count of zeros before one."""


class ScpDirection(Enum):
    """Where files go: `scp -t` takes them, `scp -f` gives them."""

    TO_SHELL = "t"
    FROM_SHELL = "f"


class _Now(Enum):
    LINE = "a line"
    ANSWER = "whether the sink wants the file"
    BYTES = "the file's bytes"
    LAST = "the byte after them"
    LOST = "nothing that is understood"


def scp_way(command: str) -> ScpDirection | None:
    """How a command that an scp runs at the other end moves files; None if it is no such command."""
    try:
        program, *words = shlex.split(command)
    except ValueError:
        return None
    if program.rpartition("/")[2] != "scp":
        return None
    for word in words:
        if not word.startswith("-") or word == "--":
            return None
        for way in ScpDirection:
            if way.value in word[1:]:
                return way
    return None


class ScpWatch:
    """Feed it both directions; it returns what was done. Raises nothing.

    Paths are as the sender named them: below the place that stands in the command.
    """

    def __init__(self, way: ScpDirection) -> None:
        self._to_shell = way is ScpDirection.TO_SHELL
        self._now = _Now.LINE
        self._line = bytearray()
        self._folders: list[str] = []
        self._deeper = 0
        """Folders beyond `_DEPTH`, whose names are not kept."""
        self._path = ""
        self._size = 0
        self._left = 0

    def sent(self, data: bytes) -> list[FileEvent]:
        """From the client."""
        return self._said(data) if self._to_shell else self._answered(data)

    def received(self, data: bytes) -> list[FileEvent]:
        """From the shell."""
        return self._answered(data) if self._to_shell else self._said(data)

    def end(self) -> list[FileEvent]:
        """The channel is closed."""
        under_way = self._now in (_Now.BYTES, _Now.LAST)
        self._now = _Now.LOST
        return [self._transfer(whole=False)] if under_way else []

    def _said(self, data: bytes) -> list[FileEvent]:
        """By the sender."""
        done = []
        at = 0
        while at < len(data) and self._now is not _Now.LOST:
            match self._now:
                case _Now.LINE:
                    at, understood = self._line_from(data, at)
                    if not understood:
                        self._now = _Now.LOST
                        done.append(FileEvent("lost", "/".join(self._folders), whole=False))
                case _Now.ANSWER:
                    # It did not wait to be asked; then these are the bytes.
                    self._now = _Now.BYTES if self._left else _Now.LAST
                case _Now.BYTES:
                    taken = min(self._left, len(data) - at)
                    self._left -= taken
                    at += taken
                    if not self._left:
                        self._now = _Now.LAST
                case _Now.LAST:
                    # 0, or a message why not all of it could be read.
                    whole = data[at] == 0
                    at += whole
                    done.append(self._transfer(whole=whole))
                    self._now = _Now.LINE
        return done

    def _line_from(self, data: bytes, at: int) -> tuple[int, bool]:
        """Where in `data` to go on, and whether it was understood so far."""
        end = data.find(b"\n", at)
        self._line += data[at : end if end >= 0 else len(data)]
        if len(self._line) > _LINE:
            return len(data), False
        if end < 0:
            return len(data), True
        line = bytes(self._line)
        self._line.clear()
        return end + 1, self._understand(line)

    def _understand(self, line: bytes) -> bool:
        if line[:1] in (b"T", b"\1", b"\2"):  # times; a file that the sender could not open
            return True
        if line == b"E":
            if self._deeper:
                self._deeper -= 1
            elif self._folders:
                self._folders.pop()
            return True
        copy = _COPY.fullmatch(line)
        if copy is None:
            return False
        kind, size, name = copy.groups()
        text = name.decode("utf-8", "backslashreplace")
        if kind == b"C":
            self._path = "/".join([*self._folders, text])
            digits = size.lstrip(b"0") or b"0"
            self._size = self._left = min(int(digits[:21]), _MOST)
            self._now = _Now.ANSWER
        elif len(self._folders) < _DEPTH:
            self._folders.append(text)
        else:
            self._deeper += 1
        return True

    def _answered(self, data: bytes) -> list[FileEvent]:
        """By the sink: 0 is yes, all else a message why not (and no bytes follow)."""
        if self._now is _Now.ANSWER and data:
            if data[0] != 0:
                self._now = _Now.LINE
            elif self._left:
                self._now = _Now.BYTES
            else:
                self._now = _Now.LAST
        return []

    def _transfer(self, *, whole: bool) -> FileEvent:
        moved = self._size - self._left
        sent, received = (moved, 0) if self._to_shell else (0, moved)
        return FileEvent("transfer", self._path, None, sent, received, whole)
