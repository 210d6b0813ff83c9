"""Moves bytes between a child's descriptors and a channel, with backpressure both ways."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress

_CHUNK = 64 * 1024


class OutputPump:
    """A pump that reads the output of a child from `fd` whenever the channel has room, until its end."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        write: Callable[[bytes], None],
        on_end: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._fd = fd
        self._write = write
        self._on_end = on_end
        self.is_paused = False
        """Whether reading is stopped."""
        loop.add_reader(fd, self._readable)

    @property
    def is_open(self) -> bool:
        """Return whether the descriptor is open."""
        return self._fd >= 0

    def pause(self) -> None:
        """Stop reading: the channel's buffer is full. The child waits once its pipe is full too."""
        if self.is_open and not self.is_paused:
            self.is_paused = True
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        """Read again."""
        if self.is_open and self.is_paused:
            self.is_paused = False
            self._loop.add_reader(self._fd, self._readable)

    def close_descriptor(self) -> None:
        """Close the descriptor without a call of `on_end`."""
        if self.is_open:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _readable(self) -> None:
        try:
            chunk = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            # EIO: no process has the terminal open any more (pty(7)).
            chunk = b""
        if chunk:
            self._write(chunk)
            return
        self.close_descriptor()
        self._on_end()


class InputPump:
    """A pump that writes to a child's `fd`. It pauses and resumes the channel while `fd` is full."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        pause: Callable[[], None],
        resume: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._fd = fd
        self._pause = pause
        self._resume = resume
        self._waiting = bytearray()
        self._ends = False

    def write(self, chunk: bytes) -> None:
        """Write `chunk`. What the child does not take at once is kept, and the channel is paused."""
        if self._fd < 0:
            return  # the child has closed its standard input: drop the input, as sshd does
        if not self._waiting:
            chunk = chunk[self._write(chunk) :]
            if not chunk or self._fd < 0:
                return
            self._pause()
            self._loop.add_writer(self._fd, self._writable)
        self._waiting += chunk

    def end(self) -> None:
        """Close the descriptor once all input is written."""
        self._ends = True
        if not self._waiting:
            self.close_descriptor()

    def close_descriptor(self) -> None:
        """Close the descriptor at once, and drop waiting input."""
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._waiting.clear()

    def _write(self, chunk: bytes | bytearray) -> int:
        try:
            return os.write(self._fd, chunk)
        except BlockingIOError:
            return 0
        except OSError:
            # EPIPE, EIO: no process reads from it any longer.
            self.close_descriptor()
            return len(chunk)

    def _writable(self) -> None:
        del self._waiting[: self._write(self._waiting)]
        if self._waiting:
            return
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)
            if self._ends:
                self.close_descriptor()
        with suppress(OSError):
            self._resume()
