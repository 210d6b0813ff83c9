"""A program in a terminal of ours: what it shows is kept as bytes, and bytes are what it is sent."""

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator, Sequence

from tests.waiting import BOUND_S


class Console:
    """A pseudoterminal that is the program's controlling one (pty(7)), read by a thread."""

    def __init__(self, command: Sequence[str], columns: int = 120, rows: int = 40) -> None:
        self._master, slave = pty.openpty()
        self.resize(columns, rows)
        self._shown = bytearray()
        self._news = threading.Condition()
        self._ended = False
        # It takes its standard input as its terminal, in a session of its own.
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "LANG": "C.UTF-8", "TERM": "xterm-256color"},
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._master, view) :]

    @property
    def shown(self) -> bytes:
        with self._news:
            return bytes(self._shown)

    def shows(self, text: bytes, after: int = 0) -> int:
        """Wait for it; the offset behind it."""
        deadline = time.monotonic() + BOUND_S
        with self._news:
            while (at := self._shown.find(text, after)) < 0:
                left = deadline - time.monotonic()
                assert left > 0, f"{text!r} never came: {bytes(self._shown[-500:])!r}"
                assert not self._ended, f"it ended before {text!r}: {bytes(self._shown[-500:])!r}"
                self._news.wait(left)
        return at + len(text)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(BOUND_S)
        finally:
            if self.process.poll() is None:
                self.process.kill()
        self._reader.join(BOUND_S)
        os.close(self._master)

    def _read(self) -> None:
        data = b"first"
        while data:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # no process has the other end any more (EIO)
                data = b""
            with self._news:
                self._shown += data
                self._ended = not data
                self._news.notify_all()


@contextlib.contextmanager
def console(command: Sequence[str], columns: int = 120, rows: int = 40) -> Iterator[Console]:
    new_console = Console(command, columns, rows)
    try:
        yield new_console
    finally:
        new_console.close()
