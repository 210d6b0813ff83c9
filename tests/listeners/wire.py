"""Both ends of a tunnel in a test's own hands, and what is read from them."""

import base64
import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.net.peers import PATIENCE_S, Peer
from tests.waiting import wait_until


@dataclass(frozen=True)
class Answer:
    """The answer of the gateway to a CONNECT; `body` is b"" for a 200, whose tunnel is not read."""

    status: int
    line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def one(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, (name, values)
        return values[0] if values else None

    @property
    def message(self) -> str:
        return self.body.decode().strip()


class Upstream:
    """A TCP server on loopback whose connections a test accepts itself."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listening = socket.create_server((host, 0), family=family, backlog=128)
        self.listening.settimeout(PATIENCE_S)
        self.port: int = self.listening.getsockname()[1]
        self._accepted: list[Peer] = []

    def accept(self) -> Peer:
        sock, _ = self.listening.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = Peer(sock)
        self._accepted.append(peer)
        return peer

    def dialled(self) -> bool:
        """Return whether a client has connected that was not accepted yet, without waiting: on
        loopback the listener has seen a connect before the client can say anything."""
        self.listening.setblocking(False)
        try:
            self.listening.accept()[0].close()
        except BlockingIOError:
            return False
        finally:
            self.listening.settimeout(PATIENCE_S)
        return True

    def hang_up(self) -> None:
        """Close every connection, of those who were not accepted too."""
        while self.dialled():
            pass
        while self._accepted:
            self._accepted.pop().close()

    def close(self) -> None:
        self.hang_up()
        self.listening.close()


def basic(name: str, secret: str) -> str:
    text = base64.b64encode(f"{name}:{secret}".encode()).decode()
    return f"Proxy-Authorization: Basic {text}"


def bearer(token: str) -> str:
    return f"Proxy-Authorization: Bearer {token}"


def head(authority: str, *fields: str, version: str = "1.1") -> bytes:
    """Return a request as curl would write it."""
    lines = [f"CONNECT {authority} HTTP/{version}"]
    if version == "1.1":
        lines.append(f"Host: {authority}")
    return "\r\n".join([*lines, *fields, "", ""]).encode("latin-1")


@contextlib.contextmanager
def dialled(port: int, source: str = "127.0.0.1") -> Iterator[Peer]:
    """Yield a connection to the gateway, from an address of 127.0.0.0/8."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S, (source, 0)) as sock:
        if sock.getsockname() == sock.getpeername():
            # No process listens, and the kernel chose that very port for our own end (RFC 9293 §3.5).
            raise ConnectionRefusedError
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield Peer(sock)


def read_answer(peer: Peer) -> Answer:
    """Read the answer's head, and a refusal's whole body up to the end; of a 200 not one byte more."""
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        byte = peer.read(1)
        if not byte:
            raise EOFError(received)
        received += byte
    line, *fields = received[:-4].decode("ascii").split("\r\n")
    status = int(line.split(" ")[1])
    headers = tuple((name, value.strip()) for name, _, value in (f.partition(":") for f in fields))
    return Answer(status, line, headers, b"" if status == 200 else peer.read_to_end())


def said(port: int, request: bytes, source: str = "127.0.0.1") -> Answer:
    """Send one request on a connection of its own, and return the answer."""
    with dialled(port, source) as peer:
        peer.send(request)
        return read_answer(peer)


def eventually(
    what: str, holds: Callable[[], bool], within_s: float = PATIENCE_S, *, costly: bool = False
) -> None:
    """Wait until `holds()` is true: for what is not announced, such as a counter. As `wait_until` does."""
    wait_until(holds, within_s, what, costly=costly)
