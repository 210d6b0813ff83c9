"""A client for the gateway's web: HTTP requests over one connection, and a check that a WebSocket passes.

`client.tunnel` makes the connection (a corporate proxy, TLS) and finds the secret. Standard
library only, Python 3.8 or later: it is part of the one-file client.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import time
from base64 import b64encode
from dataclasses import dataclass

from stagedoor.client import tunnel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD_LIMIT = 16 * 1024
BODY_LIMIT = 64 * 1024
ANSWER_S = 25.0
"""Longer than a shell takes to end a terminal."""
SUBPROTOCOL = "stagedoor.terminal.v2"
"""The same as in `wire.terminal.frames`, which needs a newer Python than this module."""
WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 §1.3."""


class LostError(Exception):
    """The connection was lost or is no longer usable; a new one may work. One line says why."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; `fields` has lower-case names."""

    status: int
    fields: dict[str, str]
    body: bytes


class HttpConnection:
    """One connection to the gateway's web."""

    def __init__(self, options: tunnel.Options, path: str = "") -> None:
        """Connect to the gateway. `path` is the prefix of the gateway's own paths. Raises TunnelError."""
        self._path = path
        self._wire = tunnel.reach(options)
        gateway = options.gateway
        # RFC 9110 §7.2: an IPv6 literal in brackets, and no port that the scheme has by itself.
        usual = ":443" if gateway.scheme == "https" else ":80"
        place = str(gateway)
        self._host = place[: -len(usual)] if place.endswith(usual) else place
        self._url = f"{gateway.scheme}://{self._host}{path}"
        self._unsent = b""
        self._received = b""

    def ask(self, what: str, asked: Mapping[str, object], user: str, secret: str | None) -> Answer:
        """POST a JSON document to `/api/WHAT` and return the answer. Raises LostError."""
        body = json.dumps(asked).encode()
        head = (
            f"POST {self._path}/api/{what} HTTP/1.1\r\nHost: {self._host}\r\n"
            f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\n"
        )
        if secret is not None:
            shown = b64encode(f"{user}:{secret}".encode()).decode()
            head += f"Authorization: Basic {shown}\r\n"
        self._send_now(head.encode() + b"\r\n" + body)
        return self._answer()

    def login_mend(self, refused: Mapping[str, object]) -> str:
        """Return a hint to log in, to append to a refusal that offers it; else an empty string."""
        if refused.get("login") is not True or "stagedoor login" in str(refused.get("message")):
            return ""
        return f"; or log in: stagedoor login {self._url}"

    def upgrade(self, what: str, subprotocol: str) -> None:
        """Upgrade to a WebSocket, to check that one passes; read no messages. Raises LostError."""
        key = b64encode(os.urandom(16)).decode()
        self._send_now(
            (
                f"GET {self._path}/{what} HTTP/1.1\r\nHost: {self._host}\r\n"
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
            ).encode()
        )
        status, fields = self._head()
        if status != 101:
            raise LostError(
                f"{self._wire.name}: it answers {status} where a WebSocket was asked for"
            )
        digest = hashlib.sha1((key + WEBSOCKET_GUID).encode()).digest()  # noqa: S324
        if fields.get("sec-websocket-accept") != b64encode(digest).decode():
            raise LostError(f"{self._wire.name}: what answers does not know the WebSocket protocol")
        if fields.get("sec-websocket-protocol") != subprotocol:
            raise LostError(
                f"{self._wire.name}: it does not speak {subprotocol}; one of us is too old"
            )

    @property
    def wire(self) -> tunnel.Plain:
        """The connection's TCP or TLS wire."""
        return self._wire

    def flush(self) -> None:
        """Send as much as is possible without blocking. Raises LostError."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self._wire.send(memoryview(self._unsent)) :]
            self._wire.flush()
        except BlockingIOError:
            return
        except OSError as error:
            raise LostError(error.strerror or str(error)) from None

    def close(self) -> None:
        """Close the connection. It may be called again."""
        self._wire.sock.close()

    # Blocking HTTP.

    def _send_now(self, data: bytes) -> None:
        self._unsent += data
        deadline = time.monotonic() + ANSWER_S
        while True:
            self.flush()
            if not self._unsent:
                return
            self._wait(select.POLLOUT, self._wire.write_fd, deadline)

    def _answer(self) -> Answer:
        status, fields = self._head()
        length = fields.get("content-length", "0")
        size = int(length) if length.isascii() and length.isdigit() else BODY_LIMIT + 1
        if size > BODY_LIMIT:
            raise LostError(f"{self._wire.name} answers at a length that none of its answers has")
        deadline = time.monotonic() + ANSWER_S
        while len(self._received) < size:
            self._more(deadline)
        body, self._received = self._received[:size], self._received[size:]
        return Answer(status, fields, body)

    def _head(self) -> tuple[int, dict[str, str]]:
        deadline = time.monotonic() + ANSWER_S
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            if len(self._received) > HEAD_LIMIT:
                raise LostError(f"what answers as {self._wire.name} is no web server")
            self._more(deadline)
        lines = self._received[:end].decode("latin-1").split("\r\n")
        self._received = self._received[end + 4 :]
        words = lines[0].split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
            raise LostError(f"what answers as {self._wire.name} is no web server")
        pairs = (line.partition(":") for line in lines[1:])
        return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}

    def _more(self, deadline: float) -> None:
        while True:
            try:
                data = self._wire.recv(tunnel.CHUNK)
            except BlockingIOError:
                self._wait(select.POLLIN, self._wire.read_fd, deadline)
                continue
            except OSError as error:
                raise LostError(error.strerror or str(error)) from None
            if not data:
                raise LostError(f"{self._wire.name} hung up before its answer was complete")
            self._received += data
            return

    def _wait(self, event: int, fd: int, deadline: float) -> None:
        if not tunnel.ready(fd, event, max(deadline - time.monotonic(), 0.0)):
            raise LostError(f"{self._wire.name} did not answer within {ANSWER_S:g} s")
