"""HTTP requests to the gateway's web over one connection, and a check that WebSockets work.

`laptop.tunnel` connects, through a corporate proxy and with TLS if necessary.
"""

from __future__ import annotations

import json
import os
import re
import time

from stagedoor.laptop.tunnel import http
from stagedoor.laptop.tunnel.address import is_loopback, parse_gateway
from stagedoor.laptop.tunnel.errors import NO_ANSWER, NOT_PROXY, USAGE, TunnelError
from stagedoor.laptop.tunnel.reach import reach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from stagedoor.laptop.tunnel.http import HttpAnswer
    from stagedoor.laptop.tunnel.options import Options

BODY_LIMIT = 64 * 1024
ANSWER_S = 25.0
"""Longer than the end of a terminal takes."""
SUBPROTOCOL = "stagedoor.terminal.v2"
"""The same as in `wire.terminal.frames`, which requires a newer Python."""
WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 §1.3."""
_URL = re.compile(r"(https?)://([^/?#@\s]+)((?:/[A-Za-z0-9._~-]+)*)/?")
_DEFAULT_PORTS = {"https": ":443", "http": ":80"}


def drop_usual_port(scheme: str, place: str) -> str:
    """Return `HOST[:PORT]` without the default port of the scheme (RFC 9110 §7.2, RFC 6454 §4)."""
    suffix = _DEFAULT_PORTS[scheme]
    return place[: -len(suffix)] if place.endswith(suffix) else place


class GatewayAddress:
    """The address of a gateway's web, normalised. `url` has no trailing slash.

    The login's signatures include `origin`.
    """

    def __init__(self, url: str) -> None:
        """Check the address `url`. Raises TunnelError if it is malformed or not safe for secrets."""
        match = _URL.fullmatch(url)
        if match is None:
            raise TunnelError(
                USAGE, f"{url!r} is not a gateway's address: give https://HOST[:PORT][/PATH]"
            )
        scheme, place, self.path = match.groups()
        self.place = drop_usual_port(scheme, place.lower())
        self.origin = f"{scheme}://{self.place}"
        self.url = self.origin + self.path
        gateway = parse_gateway(self.origin, "the gateway")
        if scheme == "http" and not is_loopback(gateway.host):
            raise TunnelError(
                USAGE,
                f"{self.origin} is plain http, where others can read secrets: use https://",
            )


class WebConnection:
    """A connection to the gateway's web."""

    body_limit = BODY_LIMIT
    answer_s = ANSWER_S

    def __init__(self, options: Options, path: str = "") -> None:
        """Connect to the gateway. `path` is the prefix of the gateway's paths. Raises TunnelError."""
        self.wire = reach(options)
        """The connection's TCP or TLS wire."""
        gateway = options.gateway
        self._path = path
        self._host = drop_usual_port(gateway.scheme, str(gateway))
        self._url = f"{gateway.scheme}://{self._host}{path}"

    def ask(
        self, what: str, document: Mapping[str, object], user: str, secret: str | None
    ) -> HttpAnswer:
        """POST a JSON document to `/api/WHAT`, and return the answer. Raises TunnelError."""
        fields = {} if secret is None else {"Authorization": http.encode_basic(f"{user}:{secret}")}
        return self.request("POST", f"/api/{what}", json.dumps(document).encode(), fields)

    def request(
        self, method: str, path: str, body: bytes = b"", fields: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        """Send a request, and return the answer. Raises TunnelError.

        The answer's body is left empty if it has no length, or more than `body_limit` bytes.
        """
        defaults = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        return self.read_body(self._answer(method, path, {**defaults, **(fields or {})}, body))

    def read_body(self, answer: HttpAnswer) -> HttpAnswer:
        """Read the body of an answer (see `request`), and return the answer. Raises TunnelError."""
        size = answer.length
        if size is not None and size <= self.body_limit:
            try:
                answer.body = b"".join(
                    http.receive(self.wire, size, time.monotonic() + self.answer_s)
                )
            except OSError as error:
                raise self._make_lost_error(error) from None
            if len(answer.body) < size:
                line = f"{self.wire.name} hung up before its answer was complete"
                raise TunnelError(NO_ANSWER, line)
        return answer

    def upgrade(self, what: str, subprotocol: str) -> None:
        """Upgrade to a WebSocket, as a check. Messages are not read. Raises TunnelError."""
        import hashlib
        from base64 import b64encode

        key = b64encode(os.urandom(16)).decode()
        fields = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Protocol": subprotocol,
        }
        answer = self._answer("GET", f"/{what}", fields)
        digest = hashlib.sha1((key + WEBSOCKET_GUID).encode()).digest()  # noqa: S324 - RFC 6455 §4.2.2
        reason = ""
        if answer.status != 101:
            reason = f"it answered {answer.status} to the request for a WebSocket"
        elif answer.fields.get("sec-websocket-accept") != b64encode(digest).decode():
            reason = "the server does not speak the WebSocket protocol"
        elif answer.fields.get("sec-websocket-protocol") != subprotocol:
            reason = f"it does not speak {subprotocol}; one of the two is too old"
        if reason:
            raise TunnelError(NOT_PROXY, f"{self.wire.name}: {reason}")

    def find_login_hint(self, refusal: Mapping[str, object]) -> str:
        """Return a hint to log in, to append to the refusal, or "" if it does not offer logins."""
        if refusal.get("login") is not True or "stagedoor login" in str(refusal.get("message")):
            return ""
        return f"; or log in: stagedoor login {self._url}"

    def close(self) -> None:
        """Close the connection. Further calls do nothing."""
        self.wire.sock.close()

    def _answer(
        self, method: str, path: str, fields: Mapping[str, str], body: bytes = b""
    ) -> HttpAnswer:
        lines = [f"{method} {self._path}{path} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        head = self.exchange("\r\n".join([*lines, "", ""]).encode() + body)
        return http.parse_head(self.wire, head)

    def exchange(self, request: bytes) -> bytes:
        """Send a whole request, and return the raw header of the answer. Raises TunnelError."""
        deadline = time.monotonic() + self.answer_s
        try:
            http.send(self.wire, request, deadline)
            return http.read_head(self.wire, http.HEAD_LIMIT, deadline)
        except OSError as error:
            raise self._make_lost_error(error) from None

    def _make_lost_error(self, error: OSError) -> TunnelError:
        line = f"{self.wire.name} hung up without an answer ({error.strerror or error})"
        return TunnelError(NO_ANSWER, line)
