"""What somebody types to the gateway's own page, or pipes into it: bounded in bytes and in time."""

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import TypeVar

from stagedoor.model.units import KIB

MAX_BYTES = 16 * KIB
"""The signature of an RSA key of 16384 bits has some 6 KiB."""
MAX_LINE_BYTES = 4 * KIB
WAIT_S = 120.0
"""For an answer: somebody looks a password up, or finds their security key."""
HINT_S = 2.0
"""How long a pipe may be silent before its person is told what should come."""
INTERRUPTED = 130
"""As a shell has it for SIGINT."""
T = TypeVar("T")


class InputError(Exception):
    """Nothing can be done with what came, or nothing came: one line, and the exit status."""

    def __init__(self, line: str, status: int = 1) -> None:
        super().__init__(line)
        self.status = status


class LineEnd(Enum):
    """How somebody ends a line at a terminal."""

    ENTERED = "entered"
    INTERRUPTED = "interrupted"


class PasswordLine:
    """A line that is typed at a terminal in raw mode, without an echo. Pure.

    Backspace takes a character away, Ctrl-U all of them. Ctrl-C and Ctrl-\\ break it off, and Ctrl-D on an
    empty line. Whatever else comes is part of it.
    """

    def __init__(self) -> None:
        self._typed = bytearray()

    def type(self, byte: int) -> LineEnd | None:
        """One more byte. Raises InputError for a line that is too long."""
        match byte:
            case 0x0A | 0x0D:
                return LineEnd.ENTERED
            case 0x03 | 0x1C:
                return LineEnd.INTERRUPTED
            case 0x04 if not self._typed:
                return LineEnd.INTERRUPTED
            case 0x08 | 0x7F:
                self._take_back()
            case 0x15:
                self._typed.clear()
            case _:
                self._typed.append(byte)
        if len(self._typed) > MAX_LINE_BYTES:
            raise InputError(f"a line of more than {MAX_LINE_BYTES} bytes was typed")
        return None

    @property
    def text(self) -> str:
        """Raises InputError where it is not UTF-8."""
        return _utf8(bytes(self._typed))

    def _take_back(self) -> None:
        """The last character, which has one byte or more (RFC 3629 §3)."""
        while self._typed and 0x80 <= self._typed[-1] < 0xC0:
            self._typed.pop()
        if self._typed:
            self._typed.pop()


class ChannelInput:
    """The input of one channel. Belongs to one event loop.

    It keeps `MAX_BYTES` that nobody has asked for yet, and drops the rest. `write` shows text to the
    person: at a terminal (`is_terminal`), or on stderr.
    """

    def __init__(self, write: Callable[[str], None], wait_s: float = WAIT_S) -> None:
        self._write = write
        self._wait_s = wait_s
        self._kept = bytearray()
        self._dropped = False
        self._ended = False
        self._news = asyncio.Event()
        self._after_return = False
        self.is_terminal = False

    def feed(self, data: bytes) -> None:
        room = MAX_BYTES - len(self._kept)
        self._kept += data[:room]
        self._dropped = self._dropped or len(data) > room
        self._news.set()

    def end(self) -> None:
        """Nothing more comes."""
        self._ended = True
        self._news.set()

    async def ask(self, prompt: str) -> str:
        """What somebody types at a terminal behind `prompt`, unseen. Raises InputError."""
        self._write(prompt)
        line = PasswordLine()

        def typed() -> LineEnd | None:
            for at, byte in enumerate(self._kept):
                again, self._after_return = self._after_return, byte == 0x0D
                if again and byte == 0x0A:
                    continue  # the same key: a pasted line ends with both
                ended = line.type(byte)
                if ended is not None:
                    del self._kept[: at + 1]
                    return ended
            self._kept.clear()
            return None

        ended = await self._until(typed)
        self._write("\n")
        if ended is not LineEnd.ENTERED:
            raise InputError("broken off", INTERRUPTED)
        return line.text

    async def line(self, what: str) -> str:
        """The next line of a pipe, without its end. Raises InputError, which says `what` it should be."""

        def next_line() -> bytes | None:
            line, newline, rest = self._kept.partition(b"\n")
            if not newline and not (self._is_whole and line):
                return None
            self._kept[:] = rest
            return bytes(line)

        line = (await self._until(next_line, f"{what} is missing on stdin")).removesuffix(b"\r")
        if len(line) > MAX_LINE_BYTES:
            raise InputError(f"{what} has more than {MAX_LINE_BYTES} bytes")
        return _utf8(line)

    async def text(self, last: bytes, hint: str) -> str:
        """All that comes, up to `last` or the end of it. `hint` is for a person who does not know that they
        are waited for. Raises InputError."""

        def all_of_it() -> bytes | None:
            if self.is_terminal and (b"\x03" in self._kept or b"\x04" in self._kept):
                raise InputError("broken off", INTERRUPTED)
            at = self._kept.find(last)
            if at < 0 and not self._is_whole:
                return None
            return bytes(self._kept if at < 0 else self._kept[: at + len(last)])

        shown = asyncio.get_running_loop().call_later(
            0 if self.is_terminal else HINT_S, self._write, hint
        )
        try:
            found = await self._until(all_of_it)
        finally:
            shown.cancel()
        return found.replace(b"\r\n", b"\n").replace(b"\r", b"\n").decode(errors="replace")

    @property
    def _is_whole(self) -> bool:
        """Whether what is kept goes to the end of what came."""
        return self._ended and not self._dropped

    async def _until(
        self, found: Callable[[], T | None], missing: str = "the input has ended"
    ) -> T:
        try:
            async with asyncio.timeout(self._wait_s):
                while (result := found()) is None:
                    if self._dropped:
                        raise InputError(f"more than {MAX_BYTES // KIB} KiB came on stdin")
                    if self._ended:
                        raise InputError(missing)
                    self._news.clear()
                    await self._news.wait()
                return result
        except TimeoutError:
            raise InputError(f"nothing was typed or piped in for {self._wait_s:g} s") from None


def _utf8(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise InputError("what came is not UTF-8") from None
