"""A load that moves bytes through several tunnels at once, as fast as possible."""

import contextlib
import select
import socket
import time
from collections.abc import Callable

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
    def send(sock: socket.socket, left: int) -> int:
        return sock.send(BLOCK[:left])

    _move(socks, each, select.EPOLLOUT, send)
    for sock in socks:
        sock.settimeout(PATIENCE_S)
        expect_mark(sock)


def _pull(socks: list[socket.socket], each: int) -> None:
    def take(sock: socket.socket, left: int) -> int:
        # MSG_TRUNC as in the upstream's sink.
        return sock.recv_into(SCRATCH, min(CHUNK, left), socket.MSG_TRUNC)

    _move(socks, each, select.EPOLLIN, take)


def _move(
    socks: list[socket.socket],
    each: int,
    readiness: int,
    step: Callable[[socket.socket, int], int],
) -> None:
    left = {sock.fileno(): each for sock in socks}
    by_fd = {sock.fileno(): sock for sock in socks}
    with select.epoll() as poll:
        for sock in socks:
            sock.setblocking(False)
            poll.register(sock.fileno(), readiness)
        while by_fd:
            ready = poll.poll(PATIENCE_S)
            if not ready:
                raise LoadError(f"no byte moved for {PATIENCE_S:.0f} s; {sum(left.values())} left")
            for fd, _ in ready:
                try:
                    moved = step(by_fd[fd], left[fd])
                except BlockingIOError:
                    continue
                except OSError as error:
                    raise LoadError(f"cut with {left[fd]} bytes left: {error}") from None
                if not moved:
                    raise LoadError(f"ended with {left[fd]} bytes left")
                left[fd] -= moved
                if left[fd] == 0:
                    poll.unregister(fd)
                    del by_fd[fd]
