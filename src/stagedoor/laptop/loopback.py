"""The loopback port to which the browser returns after a login is approved on this machine."""

from __future__ import annotations

import re
import select
import time
from contextlib import suppress

from stagedoor.laptop.tunnel import errors
from stagedoor.laptop.tunnel.errors import TunnelError, clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

REQUEST_S = 5.0
"""The time limit of a request. A local browser sends it at once."""
REQUEST_LIMIT = 8192
MAX_CONNECTIONS = 8
"""The limit of connections. Other users of this machine can connect too, and must not block the browser."""
_CODE = re.compile(
    rb"GET /\?code=([A-Za-z0-9_-]{16,128})&iss=([A-Za-z0-9._~%-]{1,1024}) HTTP/1\.[01]\r\n"
)
"""The address to which `listeners.web.login_pages` redirects the browser. RFC 9207 defines `iss`."""
_SUBRESOURCE = re.compile(rb"\r\nsec-fetch-dest:(?! *document\r\n)", re.IGNORECASE)
"""Matches requests for a part of a page, such as an image (Fetch Metadata)."""


class LoopbackListener:
    """The port on 127.0.0.1 to which the gateway redirects the browser with a code (RFC 8252 §7.3).

    It refuses other clients, which cannot delay the browser.
    """

    def __init__(self, gateway: str) -> None:
        """Listen for codes that the gateway at the address `gateway` issues. Raises OSError."""
        import socket  # the import would cost a renewal 8 ms

        self._gateway = gateway
        self.result_url = f"{gateway}/"
        """The gateway's page to which the browser is redirected at the end."""
        self._listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(MAX_CONNECTIONS)
        self._listening.setblocking(False)
        self.port = int(self._listening.getsockname()[1])
        self._open: dict[socket.socket, tuple[float, bytes]] = {}
        self._browser: socket.socket | None = None

    def wait(self, wait_s: float) -> str | None:
        """Wait up to `wait_s` seconds for a code from a browser, and return it, or None.

        The caller sends the code to the gateway, and then calls `redirect_browser`. Raises TunnelError for a
        code of another gateway.
        """
        deadline = time.monotonic() + wait_s
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return None
            readable, _, _ = select.select([self._listening, *self._open], [], [], left_s)
            for sock in readable:
                if sock is self._listening:
                    self._accept()
                elif (code := self._read(sock)) is not None:
                    return code
            self._close_expired(time.monotonic())

    def _accept(self) -> None:
        try:
            sock, _ = self._listening.accept()
        except OSError:
            return
        sock.setblocking(False)
        while len(self._open) >= MAX_CONNECTIONS:
            self._close(next(iter(self._open)))
        self._open[sock] = (time.monotonic() + REQUEST_S, b"")

    def _read(self, sock: socket.socket) -> str | None:
        deadline, request = self._open[sock]
        try:
            data = sock.recv(REQUEST_LIMIT)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        request += data
        if not data or len(request) > REQUEST_LIMIT:
            self._close(sock)
            return None
        self._open[sock] = (deadline, request)
        if b"\r\n\r\n" not in request:
            return None
        match = _CODE.match(request)
        if match is None or _SUBRESOURCE.search(request):
            self._answer(sock, 404)
            return None
        self._check_issuer(sock, match.group(2).decode("ascii"))
        del self._open[sock]
        self._browser = sock
        return match.group(1).decode("ascii")

    def _check_issuer(self, sock: socket.socket, issuer: str) -> None:
        """Refuse a code that another gateway issued (RFC 9207 §2.4). Raises TunnelError.

        Otherwise a hostile gateway could start a login at another gateway, and get the code.
        """
        from urllib.parse import unquote

        issuer = clean(unquote(issuer), 200)
        if issuer == self._gateway:
            return
        line = (
            f"the browser allowed a login at {issuer}, but this login is at {self._gateway}: nothing was "
            f"sent there, and this machine is not logged in. If you meant {issuer}, run: "
            f"stagedoor login {issuer}"
        )
        self._answer(sock, 403, line)
        raise TunnelError(errors.REFUSED, line)

    def redirect_browser(self) -> None:
        """Redirect the browser that sent the code to the gateway's page, which shows the result."""
        if self._browser is not None:
            self._answer(self._browser, 303)
            self._browser = None

    def _answer(self, sock: socket.socket, status: int, text: str = "") -> None:
        location = f"Location: {self.result_url}\r\n" if status == 303 else ""
        phrase = {303: "See Other", 403: "Forbidden", 404: "Not Found"}[status]
        body = text.encode()
        head = (
            f"HTTP/1.1 {status} {phrase}\r\n{location}Content-Type: text/plain; charset=utf-8\r\n"
            f"X-Content-Type-Options: nosniff\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        with suppress(OSError):
            sock.send(head.encode("ascii") + body)
        self._close(sock)

    def _close_expired(self, now: float) -> None:
        for sock in [sock for sock, (deadline, _) in self._open.items() if deadline < now]:
            self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        self._open.pop(sock, None)
        sock.close()

    def close(self) -> None:
        """Redirect a waiting browser, and close all sockets."""
        self.redirect_browser()
        for sock in list(self._open):
            self._close(sock)
        self._listening.close()
