"""Servers that take the audit, as a log host has them: syslog by counted octets, and HTTP."""

import contextlib
import http.server
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

_HEAD = re.compile(rb"(\d{1,7}) ")
_MESSAGE = re.compile(
    r"<(?P<pri>\d{1,3})>1 (?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (?P<host>[!-~]{1,255}) "
    r"stagedoor - (?P<id>[!-~]{1,32}) - (?P<text>.*)"
)
"""RFC 5424 §6, with the parts that we fill."""


class SyslogServer:
    """RFC 5425, or RFC 6587 without `certificate`. `lines` are the messages' texts, in order.

    `stalls`: it accepts and reads nothing. After `cut_after` bytes of a connection it closes it.
    """

    def __init__(self, certificate: tuple[Path, Path] | None = None, *, port: int = 0) -> None:
        self.lines: list[str] = []
        self.heads: list[re.Match[str]] = []
        self.connections = 0
        self.cut_after: int | None = None
        self.stalls = False
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._context.load_cert_chain(*certificate)
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                taken, _ = self._listening.accept()
                self.connections += 1
                self._open.append(taken)
                threading.Thread(target=self._read, args=(taken,), daemon=True).start()

    def _read(self, taken: socket.socket) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            if self.stalls:
                return
            if self._context is not None:
                taken = self._context.wrap_socket(taken, server_side=True)
                self._open.append(taken)
            received, total = b"", 0
            while data := taken.recv(65536):
                received, total = received + data, total + len(data)
                while (head := _HEAD.match(received)) and len(received) >= head.end() + int(
                    head[1]
                ):
                    end = head.end() + int(head[1])
                    match = _MESSAGE.fullmatch(received[head.end() : end].decode("ascii"))
                    assert match is not None, received[:200]
                    self.heads.append(match)
                    self.lines.append(match["text"])
                    received = received[end:]
                if self.cut_after is not None and total > self.cut_after:
                    taken.close()
                    return

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._accepting.join(5)
        self._listening.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


@contextlib.contextmanager
def syslog_server(certificate: tuple[Path, Path] | None = None) -> Iterator[SyslogServer]:
    with contextlib.closing(SyslogServer(certificate)) as server:
        yield server


class HttpServer(http.server.ThreadingHTTPServer):
    """Takes POSTs, answers `status`, and keeps the lines of those that it answered 200.

    A `location` is where its answers redirect to.
    """

    daemon_threads = True

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.location = ""
        self.lines: list[str] = []
        self.headers: list[dict[str, str]] = []
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.headers.append({k.lower(): v for k, v in self.headers.items()})
        if self.server.status == 200:
            self.server.lines += body.splitlines()
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def http_server(certificate: tuple[Path, Path] | None = None) -> Iterator[HttpServer]:
    server = HttpServer(certificate)
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
