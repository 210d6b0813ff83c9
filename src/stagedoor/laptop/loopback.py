"""The loopback port to which the browser is redirected when a person has approved a login here."""

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

LOOPBACK_S = 5.0
"""The time limit of a request to the loopback port, which a local browser sends at once."""
LOOPBACK_LIMIT = 8192
AT_ONCE = 8
"""Connections to the loopback port: other users of this machine may connect too, and must block nothing."""
_CODE = re.compile(
    rb"GET /\?code=([A-Za-z0-9_-]{16,128})&iss=([A-Za-z0-9._~%-]{1,1024}) HTTP/1\.[01]\r\n"
)
"""The address to which `listeners.web.login_pages` redirects the browser; `iss` is of RFC 9207."""
_IN_A_PAGE = re.compile(rb"\r\nsec-fetch-dest:(?! *document\r\n)", re.IGNORECASE)
"""Matches requests for a part of some page, such as an image, and not for a page itself (Fetch Metadata)."""


class LoopbackListener:
    """The port on 127.0.0.1 to which the browser is redirected with a code (RFC 8252 §7.3).

    Any other client is refused, and delays nothing.
    """

    def __init__(self, gateway: str) -> None:
        """Listen for codes that the gateway with this address issued. Raises OSError."""
        import socket  # its import would cost a renewal 8 ms

        self._gateway = gateway
        self.done = f"{gateway}/"
        """The gateway's page to which the browser is redirected at the end."""
        self._listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(AT_ONCE)
        self._listening.setblocking(False)
        self.port = int(self._listening.getsockname()[1])
        self._open: dict[socket.socket, tuple[float, bytes]] = {}
        self._browser: socket.socket | None = None

    def wait(self, for_s: float) -> str | None:
        """Return a code that a browser brings within `for_s` seconds, or None.

        The caller sends the code to the gateway, and then calls `redirect_browser`. Raises TunnelError for
        the code of another gateway.
        """
        deadline = time.monotonic() + for_s
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            readable, _, _ = select.select([self._listening, *self._open], [], [], left)
            for sock in readable:
                if sock is self._listening:
                    self._accept()
                elif (code := self._read(sock)) is not None:
                    return code
            self._forget(time.monotonic())

    def _accept(self) -> None:
        try:
            sock, _ = self._listening.accept()
        except OSError:
            return
        sock.setblocking(False)
        while len(self._open) >= AT_ONCE:
            self._close(next(iter(self._open)))
        self._open[sock] = (time.monotonic() + LOOPBACK_S, b"")

    def _read(self, sock: socket.socket) -> str | None:
        due, before = self._open[sock]
        try:
            more = sock.recv(LOOPBACK_LIMIT)
        except BlockingIOError:
            return None
        except OSError:
            more = b""
        request = before + more
        if not more or len(request) > LOOPBACK_LIMIT:
            self._close(sock)
            return None
        self._open[sock] = (due, request)
        if b"\r\n\r\n" not in request:
            return None
        match = _CODE.match(request)
        if match is None or _IN_A_PAGE.search(request):
            self._answer(sock, 404)
            return None
        self._require_own(sock, match.group(2).decode("ascii"))
        del self._open[sock]
        self._browser = sock
        return match.group(1).decode("ascii")

    def _require_own(self, sock: socket.socket, issuer: str) -> None:
        """Refuse a code that another gateway issued (RFC 9207 §2.4). Raises TunnelError.

        A hostile gateway could begin a login at another one, and would get the code for it.
        """
        from urllib.parse import unquote

        issuer = clean(unquote(issuer), 200)
        if issuer == self._gateway:
            return
        line = (
            f"the browser allowed a login at {issuer}, and this is one at {self._gateway}: nothing was sent "
            f"there, and this machine is not logged in. If you meant {issuer}, run: stagedoor login {issuer}"
        )
        self._answer(sock, 403, line)
        raise TunnelError(errors.REFUSED, line)

    def redirect_browser(self) -> None:
        """Redirect the browser that brought a code to the gateway's page, which shows the result."""
        if self._browser is not None:
            self._answer(self._browser, 303)
            self._browser = None

    def _answer(self, sock: socket.socket, status: int, text: str = "") -> None:
        where = f"Location: {self.done}\r\n" if status == 303 else ""
        phrase = {303: "See Other", 403: "Forbidden", 404: "Not Found"}[status]
        body = text.encode()
        head = (
            f"HTTP/1.1 {status} {phrase}\r\n{where}Content-Type: text/plain; charset=utf-8\r\n"
            f"X-Content-Type-Options: nosniff\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        with suppress(OSError):
            sock.send(head.encode("ascii") + body)
        self._close(sock)

    def _forget(self, now: float) -> None:
        for sock in [sock for sock, (due, _) in self._open.items() if due < now]:
            self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        self._open.pop(sock, None)
        sock.close()

    def close(self) -> None:
        """Redirect a browser that still waits, and close all sockets."""
        self.redirect_browser()
        for sock in list(self._open):
            self._close(sock)
        self._listening.close()
