"""A load that opens tunnels, some of them at once, and closes each when the upstream has answered."""

import contextlib
import select
import socket
import time
from dataclasses import dataclass, field

from load.greeting import HOLD, greet
from load.tunnel import TIMEOUT_S, LoadError, check_answer, connect
from peers import Door

HELLO = greet(HOLD)


@dataclass
class Login:
    """A tunnel that is being opened: connected, then answered with 2xx, then the upstream's first byte."""

    sock: socket.socket
    begun: float
    head: bytes | None = field(default=b"")  # None: the header has been read


def logins(door: Door, count: int, at_once: int) -> tuple[float, list[float]]:
    """Open `count` tunnels, `at_once` at the same time; return the seconds of all, and of each.

    A tunnel's time is from connect() until the first byte that the upstream sends through it.
    Raises LoadError.
    """
    times: list[float] = []
    under_way: dict[int, Login] = {}
    with select.epoll() as poll, contextlib.ExitStack() as stack:

        def begin() -> None:
            begun = time.perf_counter()
            login = Login(stack.enter_context(connect(door)), begun)
            under_way[login.sock.fileno()] = login
            login.sock.setblocking(False)
            if door.request:
                login.sock.send(door.request)
            else:
                login.head = None
                login.sock.send(HELLO)
            poll.register(login.sock.fileno(), select.EPOLLIN)

        start = time.perf_counter()
        begun = 0
        while len(times) < count:
            while begun < count and len(under_way) < at_once:
                begin()
                begun += 1
            ready = poll.poll(TIMEOUT_S)
            if not ready:
                raise LoadError(f"no tunnel opened for {TIMEOUT_S:.0f} s after {len(times)} had")
            for fd, _ in ready:
                login = under_way[fd]
                if _step(login):
                    times.append(time.perf_counter() - login.begun)
                    del under_way[fd]
                    login.sock.close()
        return time.perf_counter() - start, times


def _step(login: Login) -> bool:
    """Read from a tunnel; return True once the upstream has answered. Raises LoadError."""
    try:
        read = login.sock.recv(4096)
    except OSError as error:
        raise LoadError(f"cut: {error}") from None
    if not read:
        raise LoadError(f"hung up after {login.head!r}")
    if login.head is None:
        if read != b"!":
            raise LoadError(f"the upstream answered {read!r}")
        return True
    login.head += read
    if b"\r\n\r\n" in login.head:
        check_answer(login.head)
        login.head = None
        login.sock.send(HELLO)
    return False
