"""A gateway that answers whatever the test says, on a real socket, and remembers what it was sent."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.pace import allow

PATIENCE_S = allow(60.0)

Script = Callable[[socket.socket, str], None]
"""Called with the request's target once its header was read; the socket is closed after it."""


def answering(*pieces: bytes) -> Script:
    """Send the pieces, each in a segment of its own, then hang up."""

    def script(conn: socket.socket, _target: str) -> None:
        for piece in pieces:
            conn.sendall(piece)

    return script


def refusing(status: int, line: str, *fields: str) -> Script:
    """Refuse as the Stagedoor gateway does: one line of plain text, then the end."""
    body = f"{line}\n".encode()
    head = [f"HTTP/1.1 {status} Refused", "Content-Type: text/plain; charset=utf-8"]
    head += [f"Content-Length: {len(body)}", "Connection: close", *fields]
    return answering("\r\n".join(head).encode() + b"\r\n\r\n" + body)


OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def echoing(conn: socket.socket, _target: str) -> None:
    """Open the tunnel, send back all that comes, and end when the other side does."""
    conn.sendall(OPENED)
    while data := conn.recv(65536):
        conn.sendall(data)
    if not isinstance(conn, ssl.SSLSocket):
        conn.shutdown(socket.SHUT_WR)


@dataclass
class ScriptedGateway:
    """Runs `scripts` in turn, one for each connection, the last one for all that follow."""

    scripts: list[Script]
    tls: ssl.SSLContext | None = None
    requests: list[bytes] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)

    def __enter__(self) -> "ScriptedGateway":
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._start(self._accept)
        return self

    def __exit__(self, *_error: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for conn in list(self._open):
            with contextlib.suppress(OSError):
                conn.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        turn = 0
        while True:
            try:
                conn, _ = self._listener.accept()
            except OSError:
                return
            conn.settimeout(PATIENCE_S)
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            script = self.scripts[min(turn, len(self.scripts) - 1)]
            turn += 1
            self._start(self._serve, conn, script)

    def _serve(self, conn: socket.socket, script: Script) -> None:
        self._open.add(conn)
        raw = conn
        try:
            if self.tls is not None:
                conn = self.tls.wrap_socket(conn, server_side=True)
                self._open.add(conn)
            request = read_request(conn)
            self.requests.append(request)
            script(conn, request.split()[1].decode())
        except (OSError, EOFError) as fault:
            self.faults.append(fault)  # the client under test has the right to hang up
        finally:
            self._open -= {conn, raw}
            conn.close()


def read_request(conn: socket.socket) -> bytes:
    """The header, byte by byte, so that what follows it stays in place."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        byte = conn.recv(1)
        if not byte:
            raise EOFError(request)
        request += byte
    return request


def relaying(conn: socket.socket, target: str) -> None:
    """A corporate proxy's way: open the tunnel to the target and carry both ways."""
    host, _, port = target.rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as upstream:
        conn.sendall(OPENED)
        back = threading.Thread(target=copy, args=(upstream, conn))
        back.start()
        copy(conn, upstream)
        back.join(PATIENCE_S)


def copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
