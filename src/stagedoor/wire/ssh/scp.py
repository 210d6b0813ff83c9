"""An observer of `scp -O`: it reports file names and sizes, never contents.

The protocol is that of rcp and has no standard; this follows OpenSSH's scp.c (`source`, `sink`). The
sender writes a line (`C0644 12 name`), the sink answers with a byte, the sender writes the file and one
more byte, and so on in turns. Other traffic is reported as not understood, and never disturbed.
"""

import re
import shlex
from enum import Enum

from stagedoor.wire.ssh.sftp import FileEvent

_LINE = 9 * 1024
"""The maximum length of a line in bytes: a name of PATH_MAX and the text around it."""
_DEPTH = 256
"""The depth of nested folders whose names are remembered."""
_COPY = re.compile(rb"([CD])[0-7]{1,5} ([0-9]+) ([^/\0]+)")
_MAX_SIZE = 2**64 - 1
"""The value that scp.c's strtoull returns for a larger number; it accepts any count of leading zeros."""


class ScpDirection(Enum):
    """The direction of files: `scp -t` receives them, `scp -f` sends them."""

    TO_SHELL = "t"
    FROM_SHELL = "f"


class _Now(Enum):
    """The part of the protocol that comes next."""

    LINE = "a line"
    ANSWER = "whether the sink wants the file"
    BYTES = "the file's bytes"
    LAST = "the byte after them"
    LOST = "nothing that is understood"


def parse_scp_direction(command: str) -> ScpDirection | None:
    """Return the direction of a command that a remote scp runs, or None for any other command."""
    try:
        program, *words = shlex.split(command)
    except ValueError:
        return None
    if program.rpartition("/")[2] != "scp":
        return None
    for word in words:
        if not word.startswith("-") or word == "--":
            return None
        for direction in ScpDirection:
            if direction.value in word[1:]:
                return direction
    return None


class ScpWatch:
    """Takes the bytes of both directions, and returns the completed file events. Raises nothing.

    Paths are as the sender named them: below the place that the command names.
    """

    def __init__(self, direction: ScpDirection) -> None:
        self._to_shell = direction is ScpDirection.TO_SHELL
        self._now = _Now.LINE
        self._line = bytearray()
        self._folders: list[str] = []
        self._deeper = 0
        """The number of folders beyond `_DEPTH`, whose names are not remembered."""
        self._path = ""
        self._size = 0
        self._left = 0

    def take_sent(self, data: bytes) -> list[FileEvent]:
        """Take bytes from the client."""
        return self._read_sender(data) if self._to_shell else self._read_sink(data)

    def take_received(self, data: bytes) -> list[FileEvent]:
        """Take bytes from the shell."""
        return self._read_sink(data) if self._to_shell else self._read_sender(data)

    def end(self) -> list[FileEvent]:
        """Return the event of an unfinished file, at the end of the channel."""
        under_way = self._now in (_Now.BYTES, _Now.LAST)
        self._now = _Now.LOST
        return [self._transfer(whole=False)] if under_way else []

    def _read_sender(self, data: bytes) -> list[FileEvent]:
        """Take bytes from the sender."""
        events = []
        at = 0
        while at < len(data) and self._now is not _Now.LOST:
            match self._now:
                case _Now.LINE:
                    at, understood = self._read_line(data, at)
                    if not understood:
                        self._now = _Now.LOST
                        events.append(FileEvent("lost", "/".join(self._folders), whole=False))
                case _Now.ANSWER:
                    # The sender did not wait for the answer, so these are the file's bytes.
                    self._now = _Now.BYTES if self._left else _Now.LAST
                case _Now.BYTES:
                    taken = min(self._left, len(data) - at)
                    self._left -= taken
                    at += taken
                    if not self._left:
                        self._now = _Now.LAST
                case _Now.LAST:
                    # 0, or a message why the file could not be read to its end.
                    whole = data[at] == 0
                    at += whole
                    events.append(self._transfer(whole=whole))
                    self._now = _Now.LINE
        return events

    def _read_line(self, data: bytes, at: int) -> tuple[int, bool]:
        """Return the offset in `data` to continue at, and False if a line is not understood."""
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
            self._size = self._left = min(int(digits[:21]), _MAX_SIZE)
            self._now = _Now.ANSWER
        elif len(self._folders) < _DEPTH:
            self._folders.append(text)
        else:
            self._deeper += 1
        return True

    def _read_sink(self, data: bytes) -> list[FileEvent]:
        """Take bytes from the sink: 0 accepts the file; an error message means that no bytes follow."""
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
