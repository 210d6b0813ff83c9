"""The pool of pipes for splicing.

A tunnel takes a pipe while bytes are in flight and returns it empty, so a few pipes serve thousands of
tunnels.
"""

import fcntl
import os

SMALLEST = 64 * 1024
"""A pipe smaller than the kernel's default size, as a user over `pipe-user-pages-soft` gets (pipe(7)), moves
fewer bytes per call than copying, so it is not used."""


class Pipe:
    """A pipe of `size` bytes, of which it holds `full` now."""

    __slots__ = ("full", "read_fd", "size", "write_fd")

    def __init__(self, read_fd: int, write_fd: int, size: int) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        self.size = size
        self.full = 0

    def close_ends(self) -> None:
        """Close both ends."""
        os.close(self.read_fd)
        os.close(self.write_fd)


class PipePool:
    """A pool of at most `limit` pipes, of `size` bytes or as large as the kernel allows. For one thread."""

    __slots__ = ("_free", "_limit", "_open", "_refused", "_size")

    def __init__(self, size: int, limit: int) -> None:
        self._size = size
        self._limit = limit
        self._free: list[Pipe] = []
        self._open = 0
        self._refused = False

    def is_ready(self) -> bool:
        """Return whether `take` is likely to return a pipe."""
        return bool(self._free) or (self._open < self._limit and not self._refused)

    def take(self) -> Pipe | None:
        """Return an empty pipe, or None if none is available."""
        if self._free:
            return self._free.pop()
        return self._make() if self.is_ready() else None

    def give(self, pipe: Pipe) -> None:
        """Take a pipe back. One that still holds bytes is closed, since their tunnel has ended."""
        self._refused = False
        if pipe.full or self._open > self._limit:
            pipe.close_ends()
            self._open -= 1
        else:
            self._free.append(pipe)

    def close_free(self) -> None:
        """Close the free pipes; `give` closes those in use."""
        self._limit = 0
        for pipe in self._free:
            pipe.close_ends()
        self._open -= len(self._free)
        self._free.clear()

    def _make(self) -> Pipe | None:
        try:
            read_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # EMFILE, ENFILE: copying needs no descriptor
            self._refused = True
            return None
        size = _grow(write_fd, self._size)
        if size < min(SMALLEST, self._size):
            # Over fs.pipe-user-pages-soft. Do not try again before a pipe is returned.
            os.close(read_fd)
            os.close(write_fd)
            self._refused = True
            return None
        self._open += 1
        return Pipe(read_fd, write_fd, size)


def _grow(fd: int, size: int) -> int:
    """Enlarge the pipe to `size`, or as far as is permitted (EPERM: fcntl(2), F_SETPIPE_SZ)."""
    while size > SMALLEST:
        try:
            return fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)
        except OSError:
            size //= 2
    return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
