"""Listening sockets: bound by the supervisor, inherited and accepted from by workers."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable

from stagedoor.model.errors import StagedoorError
from stagedoor.model.source import Source, host_port
from stagedoor.net import sockopts
from stagedoor.net.tcp import TcpStream

BACKLOG = 4096
"""How many finished handshakes may wait for an accept; the kernel caps it at net.core.somaxconn."""
ACCEPTS_PER_TURN = 64
"""So that a flood of accepts leaves the event loop time for those who are in already."""
PAUSE_S = 0.1

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


Socket = socket.socket
"""A listening socket, for what accepts from it by itself."""


class Listening:
    """The sockets of one address: one for each family that the name stands for."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets

    def fds(self) -> list[int]:
        return [sock.fileno() for sock in self._sockets]

    def names(self) -> list[tuple[str, int]]:
        """Address and port of each socket."""
        return [sock.getsockname()[:2] for sock in self._sockets]

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()


def bind(
    host: str, port: int, *, again: list[tuple[str, int]] | None = None, setting: str = ""
) -> Listening:
    """Listen on every address of `host` ("" for all interfaces, IPv4 and IPv6 apart).

    With SO_REUSEPORT, so that each worker can have a socket of its own on one port: for the second
    worker pass the `names` of the first as `again`, which also tells what port 0 has become.
    `setting` names where the address comes from, for messages. Raises StagedoorError.
    """
    sockets: list[socket.socket] = []
    try:
        for family, (address, wanted) in _addresses(host, port, again):
            # All families on the port that the first one got.
            at = (address, wanted or (sockets[0].getsockname()[1] if sockets else 0))
            sockets.append(_bound(family, at, first=again is None))
    except OSError as error:
        for sock in sockets:
            sock.close()
        why = error.strerror or str(error)
        if error.errno == errno.EACCES:  # ip(7), ip_unprivileged_port_start
            why += "; a port below 1024 needs CAP_NET_BIND_SERVICE"
        raise StagedoorError(
            f"cannot listen on {host_port(host, port)}: {why}"
            + (f" (change {setting})" if setting else "")
        ) from None
    return Listening(sockets)


def _addresses(
    host: str, port: int, again: list[tuple[str, int]] | None
) -> list[tuple[int, tuple[str, int]]]:
    if again is not None:
        return [(int(socket.AF_INET6 if ":" in h else socket.AF_INET), (h, p)) for h, p in again]
    if not host:
        found = [(int(socket.AF_INET), ("0.0.0.0", port))]
        return [*found, (int(socket.AF_INET6), ("::", port))] if socket.has_ipv6 else found
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((int(info[0]), (str(info[4][0]), port)) for info in infos))


def _bound(family: int, address: tuple[str, int], *, first: bool) -> socket.socket:
    """A listening socket. The `first` on a port must have it for itself alone.

    SO_REUSEPORT would let any other process of ours share the port unseen, a second gateway too. So
    the first one takes the port without it, and opens it to the others (socket(7)) only then: of
    two gateways that start at once, one is told by listen(2).
    """
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not first:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        sockopts.apply(sock, sockopts.KeepAlive())
        sock.listen(BACKLOG)
        if first:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def adopt(fd: int) -> socket.socket:
    """A listening socket that was inherited as `fd`."""
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return sock


class Acceptor:
    """Accepts from one listening socket on the event loop, until it is closed.

    When descriptors or memory run out (accept(2): EMFILE and the like) it pauses and goes on by
    itself; those who wait stay in the backlog meanwhile. `on_pause` is told why, once a pause.
    """

    def __init__(
        self,
        sock: socket.socket,
        accepted: Callable[[TcpStream, Source], None],
        on_pause: Callable[[str], None],
    ) -> None:
        self._sock = sock
        self._accepted = accepted
        self._on_pause = on_pause
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._told = False
        self._loop.add_reader(sock.fileno(), self._accept)

    def _accept(self) -> bool:
        """Accept one turn's worth; whether there may be more."""
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, peer = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                self._told = False
                return False
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._rest(error)
                # Otherwise it is the error of a connection that is gone already (accept(2)).
                return False
            try:
                sock.setblocking(False)
                source = Source.of(*peer[:2])
            except (OSError, ValueError):
                sock.close()
                continue
            self._accepted(TcpStream(sock), source)
        return True

    def _rest(self, error: OSError) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._pause = self._loop.call_later(PAUSE_S, self._go_on)
        if not self._told:
            self._told = True
            self._on_pause(os.strerror(error.errno or 0))

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def close(self) -> None:
        """Accept those who wait already, whom a close would reset, and no more."""
        if self._pause is not None:
            self._pause.cancel()
        for _ in range(BACKLOG // ACCEPTS_PER_TURN):
            if not self._accept():
                break
        if self._pause is not None:
            self._pause.cancel()
        with contextlib.suppress(OSError, ValueError):
            self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
