"""A load that moves bytes through several tunnels at once, as fast as possible."""

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Iterable

from load.greeting import FLOW, SINK, greet
from load.tunnel import LoadError, expect_mark, open_tunnel
from load.upstream import BLOCK, CHUNK, SCRATCH
from peers import Door

PATIENCE_S = 60.0


def flood(door: Door, streams: int, each: int, *, up: bool, started: Callable[[], None]) -> float:
    """Move `each` bytes over each of `streams` tunnels and return the seconds.

    The bytes go to the upstream (`up`) or come from it. All tunnels are open before the clock starts;
    `started` is called at that moment. Upwards the clock stops when the upstream confirms that it has
    everything. Raises LoadError.
    """
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(open_tunnel(door)) for _ in range(streams)]
        started()
        begin = time.perf_counter()
        for sock in socks:
            sock.sendall(greet(SINK if up else FLOW, each))
        (_push if up else _pull)(socks, each)
        return time.perf_counter() - begin


def _push(socks: list[socket.socket], each: int) -> None:
    by_fd = _unblock(socks)
    move_bytes(by_fd, each, select.EPOLLOUT, lambda fd, left: by_fd[fd].send(BLOCK[:left]))
    for sock in socks:
        sock.settimeout(PATIENCE_S)
        expect_mark(sock)


def _pull(socks: list[socket.socket], each: int) -> None:
    by_fd = _unblock(socks)

    def take(fd: int, left: int) -> int:
        # MSG_TRUNC as in the upstream's sink.
        return by_fd[fd].recv_into(SCRATCH, min(CHUNK, left), socket.MSG_TRUNC)

    move_bytes(by_fd, each, select.EPOLLIN, take)


def _unblock(socks: list[socket.socket]) -> dict[int, socket.socket]:
    for sock in socks:
        sock.setblocking(False)  # Python itself would wait in a socket with a timeout
    return {sock.fileno(): sock for sock in socks}


def move_bytes(
    fds: Iterable[int], each: int, readiness: int, step: Callable[[int, int], int]
) -> None:
    """Move `each` bytes over each descriptor, and leave it blocking. Raises LoadError.

    `step` moves up to that many bytes over a descriptor with `readiness`, and returns how many it moved.
    """
    left = dict.fromkeys(fds, each)
    with select.epoll() as poll:
        for fd in left:
            os.set_blocking(fd, False)
            poll.register(fd, readiness)
        while left:
            ready = poll.poll(PATIENCE_S)
            if not ready:
                raise LoadError(
                    f"no byte moved for {PATIENCE_S:.0f} s; {sum(left.values())} were left"
                )
            for fd, _ in ready:
                try:
                    moved = step(fd, left[fd])
                except BlockingIOError:
                    continue
                except OSError as error:
                    raise LoadError(f"cut with {left[fd]} bytes left: {error}") from None
                if not moved:
                    raise LoadError(f"ended with {left[fd]} bytes left")
                left[fd] -= moved
                if left[fd] == 0:
                    poll.unregister(fd)
                    os.set_blocking(fd, True)
                    del left[fd]
