"""A way to wake the relay's thread from another one."""

import contextlib
import os


class Wake:
    """A descriptor that is readable once `ring` was called, until `hush`."""

    __slots__ = ("_read_fd", "_write_fd")

    def __init__(self) -> None:
        if hasattr(os, "eventfd"):
            self._read_fd = self._write_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._read_fd, self._write_fd = os.pipe()
            os.set_blocking(self._read_fd, False)
            os.set_blocking(self._write_fd, False)

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        return self._read_fd

    def ring(self) -> None:
        """Make the descriptor readable. Any thread."""
        # Full means that it rings already. An eventfd takes eight bytes, host order; a pipe any.
        with contextlib.suppress(BlockingIOError):
            os.write(self._write_fd, _ONE)

    def hush(self) -> None:
        """Make the descriptor unreadable until the next `ring`."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read_fd, 4096)

    def close_descriptors(self) -> None:
        """Close the descriptors."""
        os.close(self._read_fd)
        if self._write_fd != self._read_fd:
            os.close(self._write_fd)


_ONE = b"\1\1\1\1\1\1\1\1"
"""Any number but 0 rings, and 0x0101… is the same in both byte orders."""
