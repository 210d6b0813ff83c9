"""Channels through a jump host: each is a stock `ssh -W` with its bytes on stdin and stdout."""

import contextlib
import fcntl
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from load.flood import move_bytes
from load.greeting import ECHO, FLOW, READY, SINK, greet
from load.tunnel import TIMEOUT_S, LoadError
from load.upstream import BLOCK, CHUNK

PATIENCE_S = 60.0
_END_S = 10.0
_OPENING = 8
"""How many channels are opened at the same time."""


class Channel:
    """One `ssh -W`. `stdin` and `stdout` are pipes of 1 MiB."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.stdin = self._process.stdin.fileno()
        self.stdout = self._process.stdout.fileno()
        for fd in (self.stdin, self.stdout):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, CHUNK)

    def expect_mark(self) -> None:
        """Read the byte by which the upstream says that it is ready, or done. Raises LoadError."""
        waiting = select.poll()  # select(2) has a limit of 1023 for descriptors
        waiting.register(self.stdout, select.POLLIN)
        if not waiting.poll(TIMEOUT_S * 1e3):
            raise LoadError(f"no answer from the upstream for {TIMEOUT_S:.0f} s")
        read = os.read(self.stdout, 1)
        if read != b"!":
            raise LoadError(f"the upstream answered {read!r}: {self._words()}")

    def drink(self, size: int) -> None:
        """Send `size` bytes and the end to a command, and wait until it answers `!`. Raises LoadError."""
        left = size
        while left:
            left -= os.write(self.stdin, BLOCK[:left])
        assert self._process.stdin is not None
        self._process.stdin.close()
        self.expect_mark()

    def _words(self) -> str:
        if self._process.poll() is None:
            return "ssh is still there"
        assert self._process.stderr is not None
        said = (self._process.stderr.read() or b"").decode(errors="replace").split("\n")
        return said[0] or "ssh said nothing"

    def close(self) -> None:
        """Close the input and end the process, as a developer's ssh ends."""
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def channels(argv: Sequence[str], count: int, greeting: bytes) -> Iterator[list[Channel]]:
    """Open `count` channels, each over its own connection; yield them once all are answered.

    Raises LoadError.
    """
    with contextlib.ExitStack() as stack:
        open_channels: list[Channel] = []
        while len(open_channels) < count:
            size = min(_OPENING, count - len(open_channels))
            opening = [Channel(argv) for _ in range(size)]
            for channel in opening:
                stack.callback(channel.close)
                os.write(channel.stdin, greeting)
            for channel in opening:
                channel.expect_mark()
            open_channels += opening
        yield open_channels


def flood(
    argv: Sequence[str], streams: int, each: int, *, up: bool, started: Callable[[], None]
) -> float:
    """Move bytes through channels as `flood.flood` does through tunnels. Raises LoadError."""
    with channels(argv, streams, greet(READY)) as open_channels:
        started()
        begin = time.perf_counter()
        for channel in open_channels:
            os.write(channel.stdin, greet(SINK if up else FLOW, each))
        if up:
            move_bytes([channel.stdin for channel in open_channels], each, select.EPOLLOUT, _push)
            for channel in open_channels:
                channel.expect_mark()
        else:
            # splice(2) to /dev/null: the load copies nothing, as in `flood`.
            with Path("/dev/null").open("wb", buffering=0) as nowhere:
                drop = nowhere.fileno()
                move_bytes(
                    [channel.stdout for channel in open_channels],
                    each,
                    select.EPOLLIN,
                    lambda fd, left: os.splice(fd, drop, min(CHUNK, left)),
                )
        return time.perf_counter() - begin


def _push(fd: int, left: int) -> int:
    return os.write(fd, BLOCK[:left])


@contextlib.contextmanager
def terminal(argv: Sequence[str]) -> Iterator[Channel]:
    """Open a channel whose upstream echoes. Raises LoadError."""
    with channels(argv, 1, greet(ECHO)) as (channel,):
        yield channel


@contextlib.contextmanager
def typed(argv: Sequence[str]) -> Iterator[Channel]:
    """Run a command that prints `!` and then answers its input. Raises LoadError."""
    channel = Channel(argv)
    try:
        channel.expect_mark()
        yield channel
    finally:
        channel.close()


def keystrokes(channel: Channel, count: int) -> list[float]:
    """Return the seconds of each of `count` round trips of a byte. Raises LoadError."""
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        os.write(channel.stdin, b"k")
        if not os.read(channel.stdout, 1):
            raise LoadError("hung up between two keystrokes")
        times.append(time.perf_counter() - begin)
    return times


def logins(argv: Sequence[str], count: int, at_once: int) -> float:
    """Log in `count` times, `at_once` at the same time, and return the seconds.

    Each login ends with the upstream's byte. Raises LoadError.
    """
    begin = time.perf_counter()
    under_way: dict[int, Channel] = {}
    begun = done = 0
    with select.epoll() as poll, contextlib.ExitStack() as stack:
        while done < count:
            while begun < count and len(under_way) < at_once:
                channel = Channel(argv)
                stack.callback(channel.close)
                os.write(channel.stdin, greet(READY))
                poll.register(channel.stdout, select.EPOLLIN)
                under_way[channel.stdout] = channel
                begun += 1
            ready = poll.poll(TIMEOUT_S)
            if not ready:
                raise LoadError(f"nobody was let in for {TIMEOUT_S:.0f} s after {done} had been")
            for fd, _ in ready:
                poll.unregister(fd)
                under_way.pop(fd).expect_mark()
                done += 1
        return time.perf_counter() - begin
