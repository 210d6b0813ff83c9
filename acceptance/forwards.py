"""Drives of ssh's port forwarding, half-close included: many programs end a request with it."""

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
    """-L: a port here leads to a service beyond the shell."""
    with _service() as service:
        port = free_port()
        with reach.inside(*_EXACTLY, "-L", f"{LOOPBACK}:{port}:{LOOPBACK}:{service}"):
            _exchange(port)


def remote_forward(reach: Reach, _: Path) -> None:
    """-R: a port beside the shell leads to a service here."""
    with _service() as service:
        port = free_port()
        with reach.inside(*_EXACTLY, "-R", f"{LOOPBACK}:{port}:{LOOPBACK}:{service}"):
            _exchange(port)


def dynamic_forward(reach: Reach, _: Path) -> None:
    """-D: a SOCKS5 proxy here (RFC 1928), asked for a name."""
    with _service() as service:
        port = free_port()
        with reach.inside(*_EXACTLY, "-D", f"{LOOPBACK}:{port}"):
            _exchange(port, (b"\x05\x01\x00", 2), (_socks("localhost", service), 10))


def service_forward(reach: Reach, host: str, port: int) -> None:
    """-L: a port here leads to a web server that only the shell can reach."""
    here = free_port()
    with reach.inside(*_EXACTLY, "-L", f"{LOOPBACK}:{here}:{host}:{port}"):
        _ask_web(here, host)


def service_socks(reach: Reach, host: str, port: int) -> None:
    """-D: the same by SOCKS5, with the name resolved at the other end."""
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
    """Say each, whose answer has so many bytes."""
    for greeting, length in greetings:
        sock.sendall(greeting)
        answer = sock.recv(length, socket.MSG_WAITALL)
        expect(answer[1:2] == b"\0", f"the SOCKS proxy refused: {answer.hex()}")


_EXACTLY = ("-o", "ExitOnForwardFailure=yes")


class _Echo(socketserver.BaseRequestHandler):
    """Answers only once the other side has half-closed."""

    def handle(self) -> None:
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
    """A port that nobody has. Another may take it before we do; ssh then says so.

    Not one of those that the kernel gives to a program that asks for any, or connects.
    """
    while True:
        port = random.randrange(10_000, 32_768)  # noqa: S311 - no secret
        with suppress(OSError), socket.create_server((LOOPBACK, port)):
            return port


def _exchange(port: int, *greetings: tuple[bytes, int]) -> None:
    """Say each greeting, whose answer has so many bytes; then send, half-close, read to the end."""
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
        return  # the reader sees it too, and tells
