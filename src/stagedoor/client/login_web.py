"""The HTTP side of a login: JSON requests to the gateway, and a loopback port for the browser's redirect.

Standard library only, Python 3.8 or later. `client.tunnel` makes the connections (TLS, a corporate proxy).
"""

from __future__ import annotations

import json
import os
import re
import select
import time
from contextlib import suppress

from stagedoor.client import tunnel
from stagedoor.client.tunnel import TunnelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

BODY_LIMIT = 64 * 1024
ANSWER_S = 20.0
LOOPBACK_S = 5.0
"""The time limit of a request to the loopback port, which a local browser sends at once."""
LOOPBACK_LIMIT = 8192
LATER = (502, 503, 504)
"""Statuses that a reverse proxy answers, with its own page, while the gateway behind it restarts."""
AT_ONCE = 8
"""Connections to the loopback port: other users of this machine may connect too, and must block nothing."""
_TRUST = "trust its CA with: stagedoor login --ca-file FILE GATEWAY"
"""The advice about an untrusted certificate for all commands that use a login."""
_URL = re.compile(r"(https?)://([^/?#@\s]+)((?:/[A-Za-z0-9._~-]+)*)/?")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CODE = re.compile(
    rb"GET /\?code=([A-Za-z0-9_-]{16,128})&iss=([A-Za-z0-9._~%-]{1,1024}) HTTP/1\.[01]\r\n"
)
"""The address to which `listeners.web.login.pages` redirects the browser; `iss` is of RFC 9207."""
_IN_A_PAGE = re.compile(rb"\r\nsec-fetch-dest:(?! *document\r\n)", re.IGNORECASE)
"""Matches requests for a part of some page, such as an image, and not for a page itself (Fetch Metadata)."""
_USUAL = {"https": ":443", "http": ":80"}


class Gateway:
    """A gateway's web. `url` has no slash at its end; `origin` is part of the texts that are signed."""

    def __init__(self, url: str, ca_file: str | None = None) -> None:
        """Check the address `url`. Raises TunnelError unless secrets may be sent to it."""
        match = _URL.fullmatch(url)
        if match is None:
            raise TunnelError(
                tunnel.USAGE, f"{url!r} is no gateway: give https://HOST[:PORT][/PATH]"
            )
        scheme, place, self.path = match.groups()
        place = place.lower()
        if place.endswith(_USUAL[scheme]):  # an origin has no default port (RFC 6454 §4)
            place = place[: -len(_USUAL[scheme])]
        self.origin = f"{scheme}://{place}"
        self.url = self.origin + self.path
        given = {"--gateway": self.origin}
        if ca_file:
            given["--ca-file"] = ca_file
        env = dict(os.environ)
        self.options = tunnel.Options(given, ["gateway"], env, "the gateway", _TRUST)
        self.host = self.options.gateway.host
        if scheme == "http" and not loopback(self.host):
            raise TunnelError(
                tunnel.USAGE,
                f"{self.origin} is plain http, where others can read secrets: use https://",
            )
        self.place = place

    def get(self, path: str) -> tuple[int, dict[str, object]]:
        """GET `path`; return the status and the JSON object of the answer. Raises TunnelError."""
        return self._ask("GET", path, b"")

    def post(self, path: str, request: dict[str, object]) -> tuple[int, dict[str, object]]:
        """POST a JSON object; return the status and the JSON object of the answer. Raises TunnelError."""
        return self._ask("POST", path, json.dumps(request).encode())

    def _ask(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, object]]:
        wire = tunnel.reach(self.options)
        head = (
            f"{method} {self.path}{path} HTTP/1.1\r\nHost: {self.place}\r\nConnection: close\r\n"
            f"User-Agent: stagedoor-login\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: application/json\r\n\r\n"
        )
        deadline = time.monotonic() + ANSWER_S
        try:
            _send(wire, head.encode("ascii") + body, deadline)
            answer = tunnel.parse_head(wire, tunnel.read_head(wire, tunnel.HEAD_LIMIT, deadline))
            size = answer.fields.get("content-length", "")
            wanted = int(size) if size.isdigit() and len(size) < 9 else BODY_LIMIT + 1
            text = _receive(wire, min(wanted, BODY_LIMIT + 1), deadline)
        except OSError as error:
            line = f"{wire.name} hung up without an answer ({error.strerror or error})"
            raise TunnelError(tunnel.NO_ANSWER, line) from None
        finally:
            wire.sock.close()
        try:
            return answer.status, parse_object(text, self.url)
        except TunnelError:
            if answer.status in LATER:
                return answer.status, {}
            raise


def login_id(begun: dict[str, object]) -> str:
    """Return the id in the answer to `/login/start`, checked for use in a URL. Raises TunnelError."""
    id_ = begun.get("id")
    if not isinstance(id_, str) or _ID.fullmatch(id_) is None:
        raise TunnelError(tunnel.REFUSED, "the gateway names no login; get its client again")
    return id_


def loopback(host: str) -> bool:
    """Return True for `localhost` and loopback addresses."""
    return host in ("localhost", "::1") or re.fullmatch(r"127(?:\.\d{1,3}){3}", host) is not None


def parse_object(text: bytes, url: str) -> dict[str, object]:
    """Parse a JSON object of at most `BODY_LIMIT` bytes, received from `url`. Raises TunnelError."""
    try:
        document = json.loads(text) if len(text) <= BODY_LIMIT else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        line = f"what answers at {url} is no Stagedoor gateway of this kind; check the address"
        raise TunnelError(tunnel.NOT_PROXY, line)
    return document


def _send(wire: tunnel.Plain, data: bytes, deadline: float) -> None:
    view = memoryview(data)
    while view:
        part = view
        view = view[tunnel.settle(wire, lambda: wire.send(part), select.POLLOUT, deadline) :]  # noqa: B023
    tunnel.settle(wire, wire.flush, select.POLLOUT, deadline)


def _receive(wire: tunnel.Plain, wanted: int, deadline: float) -> bytes:
    data = b""
    while len(data) < wanted:
        left = wanted - len(data)
        more = tunnel.settle(wire, lambda: wire.recv(left), select.POLLIN, deadline)  # noqa: B023
        if not more:
            break
        data += more
    return data


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

        issuer = tunnel.clean(unquote(issuer), 200)
        if issuer == self._gateway:
            return
        line = (
            f"the browser allowed a login at {issuer}, and this is one at {self._gateway}: nothing was sent "
            f"there, and this machine is not logged in. If you meant {issuer}, run: stagedoor login {issuer}"
        )
        self._answer(sock, 403, line)
        raise TunnelError(tunnel.REFUSED, line)

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
