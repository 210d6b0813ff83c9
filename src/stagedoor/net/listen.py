"""Sockets that processes inherit. The supervisor binds listening sockets, and workers accept from them."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable

from stagedoor.model.errors import StagedoorError
from stagedoor.model.source import Source, join_host_port
from stagedoor.net import sockopts
from stagedoor.net.tcp import TcpStream

BACKLOG = 4096
"""The number of finished handshakes that may wait for an accept; the kernel caps it at
net.core.somaxconn."""
ACCEPTS_PER_TURN = 64
"""The limit leaves the event loop time for accepted connections during a flood of new ones."""
PAUSE_S = 0.1
"""The pause in accepting when descriptors or memory run out, in seconds."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


Socket = socket.socket
"""A socket, for code that passes it on or accepts from it directly."""


class ListeningGroup:
    """The listening sockets of one address, one for each family that the name resolves to."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets

    def list_descriptors(self) -> list[int]:
        """Return the descriptor of each socket."""
        return [sock.fileno() for sock in self._sockets]

    def list_addresses(self) -> list[tuple[str, int]]:
        """Return the address and port of each socket."""
        return [sock.getsockname()[:2] for sock in self._sockets]

    def close_sockets(self) -> None:
        """Close the sockets."""
        for sock in self._sockets:
            sock.close()


def bind(
    host: str, port: int, *, names: list[tuple[str, int]] | None = None, setting: str = ""
) -> ListeningGroup:
    """Listen on every address of `host` ("" for all interfaces, IPv4 and IPv6 separately).

    SO_REUSEPORT lets each worker have its own socket on the same port. For the second worker, pass the
    `names` of the first, which also contain the port that was chosen for port 0. `setting` names the
    origin of the address in messages. Raises StagedoorError.
    """
    sockets: list[socket.socket] = []
    try:
        for family, (address, own_port) in _addresses(host, port, names):
            # All families use the port that the first one got.
            at = (address, own_port or (sockets[0].getsockname()[1] if sockets else 0))
            sockets.append(_bind_socket(family, at, first=names is None))
    except OSError as error:
        for sock in sockets:
            sock.close()
        why = error.strerror or str(error)
        if error.errno == errno.EACCES:  # ip(7), ip_unprivileged_port_start
            why += "; a port below 1024 needs CAP_NET_BIND_SERVICE"
        raise StagedoorError(
            f"cannot listen on {join_host_port(host, port)}: {why}"
            + (f" (change {setting})" if setting else "")
        ) from None
    return ListeningGroup(sockets)


def _addresses(
    host: str, port: int, names: list[tuple[str, int]] | None
) -> list[tuple[int, tuple[str, int]]]:
    if names is not None:
        return [(int(socket.AF_INET6 if ":" in h else socket.AF_INET), (h, p)) for h, p in names]
    if not host:
        v4 = [(int(socket.AF_INET), ("0.0.0.0", port))]
        return [*v4, (int(socket.AF_INET6), ("::", port))] if socket.has_ipv6 else v4
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((int(info[0]), (str(info[4][0]), port)) for info in infos))


def _bind_socket(family: int, address: tuple[str, int], *, first: bool) -> socket.socket:
    """Return a listening socket. The `first` socket on a port requires exclusive use of it.

    SO_REUSEPORT would let any other process of the same user share the port unnoticed, even a second
    gateway. So the first socket binds without it, and sets it for the others (socket(7)) only after
    listen(2), which reports an error to one of two gateways that start at the same time.
    """
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not first:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        sockopts.tune(sock)
        sock.listen(BACKLOG)
        if first:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def open_pair() -> tuple[Socket, Socket]:
    """Return two sockets that are connected with each other, and inherited by no process."""
    return socket.socketpair()


def adopt(fd: int) -> Socket:
    """Return the socket that was inherited as `fd`. Processes inherit it from this one only if it is passed.

    Raises OSError if there is no such socket.
    """
    sock = socket.socket(fileno=fd)
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock


class Acceptor:
    """Accepts from one listening socket on the event loop, until it is closed.

    When descriptors or memory run out (accept(2): EMFILE and similar) it pauses, and resumes
    automatically; clients stay in the backlog meanwhile. `on_pause` is called with the reason, once for
    each shortage.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_accept: Callable[[TcpStream, Source], None],
        on_pause: Callable[[str], None],
    ) -> None:
        self._sock = sock
        self._on_accept = on_accept
        self._on_pause = on_pause
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._reported = False
        self._loop.add_reader(sock.fileno(), self._accept)

    def _accept(self) -> bool:
        """Accept up to `ACCEPTS_PER_TURN` connections. Return True if there may be more."""
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, peer = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                self._reported = False
                return False
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause_accepting(error)
                    return False
                continue  # the error of a connection that is closed already (accept(2))
            try:
                sock.setblocking(False)
                source = Source.of(*peer[:2])
            except (OSError, ValueError):
                sock.close()
                continue
            self._on_accept(TcpStream(sock), source)
        return True

    def _pause_accepting(self, error: OSError) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._pause = self._loop.call_later(PAUSE_S, self._resume)
        if not self._reported:
            self._reported = True
            self._on_pause(os.strerror(error.errno or 0))

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def stop_accepting(self) -> None:
        """Stop accepting. Connections in the backlog are accepted first, since a close would reset them."""
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
