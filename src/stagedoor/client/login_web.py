"""How a machine asks the gateway to log it in: JSON over HTTP, and a port that the browser comes back to.

Standard library only, Python 3.8 or later. The way there (TLS, a corporate proxy) is that of `client.tunnel`.
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
"""For a request to our port, which a browser on this machine sends at once."""
LOOPBACK_LIMIT = 8192
LATER = (502, 503, 504)
"""A reverse proxy says so with a page of its own, while the gateway behind it starts again."""
AT_ONCE = 8
"""Connections to our port: others on this machine may open it as well, and must stop nothing."""
_TRUST = "trust its CA with: stagedoor login --ca-file FILE GATEWAY"
"""Every command that a login brings ends here: what to do about a certificate that is not trusted."""
_URL = re.compile(r"(https?)://([^/?#@\s]+)((?:/[A-Za-z0-9._~-]+)*)/?")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CODE = re.compile(
    rb"GET /\?code=([A-Za-z0-9_-]{16,128})&iss=([A-Za-z0-9._~%-]{1,1024}) HTTP/1\.[01]\r\n"
)
"""What `listeners.web.login.pages` sends the browser to; `iss` is of RFC 9207."""
_IN_A_PAGE = re.compile(rb"\r\nsec-fetch-dest:(?! *document\r\n)", re.IGNORECASE)
"""Browsers send it with what a page loads, and not with a page of its own (Fetch Metadata)."""
_USUAL = {"https": ":443", "http": ":80"}


class Gateway:
    """A gateway's web. `url` has no slash at its end; `origin` is what signatures are made for."""

    def __init__(self, url: str, ca_file: str | None = None) -> None:
        """Raises TunnelError for what is no address that secrets may be sent to."""
        match = _URL.fullmatch(url)
        if match is None:
            raise TunnelError(
                tunnel.USAGE, f"{url!r} is no gateway: give https://HOST[:PORT][/PATH]"
            )
        scheme, place, self.path = match.groups()
        place = place.lower()
        if place.endswith(_USUAL[scheme]):  # no browser shows it (RFC 6454 §4)
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
        """The status and the JSON object. Raises TunnelError."""
        return self._ask("GET", path, b"")

    def post(self, path: str, asked: dict[str, object]) -> tuple[int, dict[str, object]]:
        """The same of a JSON object that is sent."""
        return self._ask("POST", path, json.dumps(asked).encode())

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
    """Return the id in the answer to `/login/start`, which goes into an address. Raises TunnelError."""
    found = begun.get("id")
    if not isinstance(found, str) or _ID.fullmatch(found) is None:
        raise TunnelError(tunnel.REFUSED, "the gateway names no login; get its client again")
    return found


def loopback(host: str) -> bool:
    return host in ("localhost", "::1") or re.fullmatch(r"127(?:\.\d{1,3}){3}", host) is not None


def parse_object(text: bytes, url: str) -> dict[str, object]:
    """A JSON object, of a length that is bounded. Raises TunnelError."""
    try:
        found = json.loads(text) if len(text) <= BODY_LIMIT else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        line = f"what answers at {url} is no Stagedoor gateway of this kind; check the address"
        raise TunnelError(tunnel.NOT_PROXY, line)
    return found


def _send(wire: tunnel.Plain, data: bytes, deadline: float) -> None:
    view = memoryview(data)
    while view:
        part = view
        view = view[tunnel.settle(wire, lambda: wire.send(part), select.POLLOUT, deadline) :]  # noqa: B023
    tunnel.settle(wire, wire.flush, select.POLLOUT, deadline)


def _receive(wire: tunnel.Plain, wanted: int, deadline: float) -> bytes:
    got = b""
    while len(got) < wanted:
        left = wanted - len(got)
        more = tunnel.settle(wire, lambda: wire.recv(left), select.POLLIN, deadline)  # noqa: B023
        if not more:
            break
        got += more
    return got


class LoopbackListener:
    """The port on 127.0.0.1 that the browser brings a code to (RFC 8252 §7.3). Any other client gets a
    refusal, and holds up nothing."""

    def __init__(self, gateway: str) -> None:
        """`gateway` is the address whose codes are taken. Raises OSError."""
        import socket  # which costs a renewal 8 ms

        self._gateway = gateway
        self.done = f"{gateway}/"
        """The gateway's page where the browser goes on."""
        self._listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(AT_ONCE)
        self._listening.setblocking(False)
        self.port = int(self._listening.getsockname()[1])
        self._open: dict[socket.socket, tuple[float, bytes]] = {}
        self._brought: socket.socket | None = None

    def wait(self, for_s: float) -> str | None:
        """Return a code that a browser brings within `for_s` seconds, or None. The caller tries what it is
        worth, and then calls `lead_on`. Raises TunnelError for the code of another gateway."""
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
        got = before + more
        if not more or len(got) > LOOPBACK_LIMIT:
            self._close(sock)
            return None
        self._open[sock] = (due, got)
        if b"\r\n\r\n" not in got:
            return None
        match = _CODE.match(got)
        if match is None or _IN_A_PAGE.search(got):
            self._answer(sock, 404)
            return None
        self._require_own(sock, match.group(2).decode("ascii"))
        del self._open[sock]
        self._brought = sock
        return match.group(1).decode("ascii")

    def _require_own(self, sock: socket.socket, issuer: str) -> None:
        """Refuse a code that another gateway issued (RFC 9207 §2.4): the gateway to which it would be sent
        began a login of its own there. Raises TunnelError."""
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

    def lead_on(self) -> None:
        """Send the browser that brought a code to the gateway's page, which says now what became of it."""
        if self._brought is not None:
            self._answer(self._brought, 303)
            self._brought = None

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
        self.lead_on()
        for sock in list(self._open):
            self._close(sock)
        self._listening.close()
