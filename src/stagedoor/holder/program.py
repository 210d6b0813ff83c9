"""The program in a terminal: its process, its window, and its output."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass, replace

from stagedoor.holder.spawn import Child, set_size, spawn
from stagedoor.holder.state import TerminalState
from stagedoor.wire.terminal.frames import MAX_DATA_BYTES, Hello, Size

REDRAW_S = 0.06
"""How long a window stays one row smaller, seconds: a program that checks at once must see the change."""
_READ_BYTES = 16 * 1024


@dataclass(eq=False, slots=True)
class TerminalProgram:
    """The program in the terminal, and the terminal's state.

    It has `hung_up` once no process has the terminal open, and has `ended` once its process is gone.
    `grow_at` is when its window gets its last row back, monotonic; None if it has that row.
    """

    child: Child
    state: TerminalState
    pidfd: int
    hung_up: bool = False
    ended: bool = False
    grow_at: float | None = None

    @classmethod
    def start(cls, hello: Hello) -> "TerminalProgram":
        """Start the program that a client asks for. Raises OSError."""
        child = spawn(hello)
        return cls(child, TerminalState(hello.size), os.pidfd_open(child.pid))

    def is_busy(self) -> bool:
        """Return whether a job that the program has started is in the foreground.

        tcgetpgrp(3) returns 0 until the program has made the terminal its controlling one. A session's
        first process leads its group.
        """
        if self.ended:
            return False
        with suppress(OSError):
            return os.tcgetpgrp(self.child.fd) not in (0, self.child.pid)
        return False

    def read_output(self) -> bytes:
        """Return output of the program; empty if there is none."""
        data = bytearray()
        # One read returns at most 4 KiB; fewer, larger frames take less time at both ends.
        while len(data) <= MAX_DATA_BYTES - _READ_BYTES:
            try:
                piece = os.read(self.child.fd, _READ_BYTES)
            except BlockingIOError:
                break
            except OSError:  # EIO: no process has the other end open any more (pty(7))
                piece = b""
            if not piece:
                self.hung_up = True
                break
            data += piece
        return bytes(data)

    def write_input(self) -> int:
        """Write what clients have typed. Return how many bytes the terminal took. Raises OSError."""
        return os.write(self.child.fd, self.state.typed[:_READ_BYTES])

    def resize(self, size: Size) -> None:
        """Set the size of its window."""
        if not self.ended:
            set_size(self.child.fd, size)

    def redraw(self, size: Size, now: float) -> None:
        """Make a full-screen program draw its screen: its window loses a row until `grow_at`."""
        self.resize(replace(size, rows=size.rows - 1))
        self.grow_at = now + REDRAW_S

    def grow(self, now: float) -> None:
        """Give the window its last row back, if it is time."""
        if self.grow_at is not None and now >= self.grow_at:
            self.grow_at = None
            set_size(self.child.fd, self.state.size)

    def reap(self) -> tuple[int, str]:
        """Wait for the program, which has ended. Return its exit status and the signal that killed it.

        The signal is its name without SIG, or empty; with a signal, the status is 128 and its number.
        """
        _pid, status = os.waitpid(self.child.pid, 0)
        os.close(self.pidfd)
        code = os.waitstatus_to_exitcode(status)
        if code >= 0:
            return code, ""
        name = ""
        with suppress(ValueError):  # most of the realtime signals have no name
            name = signal.Signals(-code).name.removeprefix("SIG")
        return 128 - code, name
