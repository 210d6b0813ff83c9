"""Checks of ssh's port forwarding, also of a half-close, with which many programs end a request."""

import os
import random
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from acceptance.reach import Reach
from acceptance.verdict import FailedError, expect
from stagedoor.model.units import KIB

LOOPBACK = "127.0.0.1"
BOUND_S = 60.0


def local_forward(reach: Reach, _: Path) -> None:
    """Check -L: a port here leads to a service beside the shell."""
    with _service() as service:
        port = free_port()
        with reach.inside(*_EXACTLY, "-L", f"{LOOPBACK}:{port}:{LOOPBACK}:{service}"):
            _exchange(port)


def remote_forward(reach: Reach, _: Path) -> None:
    """Check -R: a port beside the shell leads to a service here."""
    with _service() as service:
        port = free_port()
        with reach.inside(*_EXACTLY, "-R", f"{LOOPBACK}:{port}:{LOOPBACK}:{service}"):
            _exchange(port)


def dynamic_forward(reach: Reach, _: Path) -> None:
    """Check -D: a SOCKS5 proxy here (RFC 1928), with a name as the address."""
    with _service() as service:
        port = free_port()
        with reach.inside(*_EXACTLY, "-D", f"{LOOPBACK}:{port}"):
            _exchange(port, (b"\x05\x01\x00", 2), (_socks("localhost", service), 10))


def service_forward(reach: Reach, host: str, port: int) -> None:
    """Check -L with a web server that only the shell can reach."""
    here = free_port()
    with reach.inside(*_EXACTLY, "-L", f"{LOOPBACK}:{here}:{host}:{port}"):
        _ask_web(here, host)


def service_socks(reach: Reach, host: str, port: int) -> None:
    """Check -D with a web server that only the shell can reach and whose name only it can resolve."""
    here = free_port()
    with reach.inside(*_EXACTLY, "-D", f"{LOOPBACK}:{here}"):
        _ask_web(here, host, (b"\x05\x01\x00", 2), (_socks(host, port), 10))


def _socks(host: str, port: int) -> bytes:
    return b"\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + port.to_bytes(2, "big")


def _ask_web(port: int, host: str, *greetings: tuple[bytes, int]) -> None:
    answer = b""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=BOUND_S) as sock:
            _greet(sock, greetings)
            sock.sendall(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            while chunk := sock.recv(64 * KIB):
                answer += chunk
    except OSError as error:
        raise FailedError(f"the forwarded connection failed: {error}") from None
    expect(b" 200 " in answer.split(b"\r\n")[0], f"{host} answered {answer[:60]!r}")


def _greet(sock: socket.socket, greetings: tuple[tuple[bytes, int], ...]) -> None:
    """Send each greeting and read its answer, whose length in bytes comes with it. Raises FailedError."""
    for greeting, length in greetings:
        sock.sendall(greeting)
        answer = sock.recv(length, socket.MSG_WAITALL)
        expect(answer[1:2] == b"\0", f"the SOCKS proxy refused: {answer.hex()}")


_EXACTLY = ("-o", "ExitOnForwardFailure=yes")


class _Echo(socketserver.BaseRequestHandler):
    """A handler that answers only once the client has half-closed."""

    def handle(self) -> None:
        """Read to the end, then send the data back between `<` and `>`."""
        received = b""
        while chunk := self.request.recv(64 * KIB):
            received += chunk
        self.request.sendall(b"<" + received + b">")


class _Service(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextmanager
def _service() -> Iterator[int]:
    with _Service((LOOPBACK, 0), _Echo) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def free_port() -> int:
    """Return a free port. Another program may still take it first; ssh then reports that.

    It is not one of the ports that the kernel assigns automatically.
    """
    while True:
        port = random.randrange(10_000, 32_768)  # noqa: S311 - no secret
        with suppress(OSError), socket.create_server((LOOPBACK, port)):
            return port


def _exchange(port: int, *greetings: tuple[bytes, int]) -> None:
    """Send the greetings (see `_greet`), then send data, half-close and read to the end.

    Raises FailedError.
    """
    sent = os.urandom(512 * KIB)
    received = b""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=BOUND_S) as sock:
            _greet(sock, greetings)
            sending = threading.Thread(target=_send, args=(sock, sent), daemon=True)
            sending.start()
            while chunk := sock.recv(64 * KIB):
                received += chunk
            sending.join(BOUND_S)
    except OSError as error:
        raise FailedError(f"the forwarded connection failed: {error}") from None
    expect(received == b"<" + sent + b">", f"{len(sent)} bytes went, {len(received)} came")


def _send(sock: socket.socket, payload: bytes) -> None:
    try:
        sock.sendall(payload)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the reader gets the error too, and reports it
