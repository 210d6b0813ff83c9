"""The gateway's web, as a laptop's program speaks to it: a ticket by HTTP, then the WebSocket.

The way there (a corporate proxy, TLS) and the search for the secret are those
of `client.tunnel`.
"""

from __future__ import annotations

import json
import select
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass

from stagedoor.client import tunnel
from stagedoor.wire.frames import decode, encode
from stagedoor.wire.terminal import (
    MAX_FRAME_BYTES,
    SUBPROTOCOL,
    Downstream,
    Frame,
    TerminalError,
    Upstream,
)
from stagedoor.wire.websocket import WebSocket, WebSocketError

HEAD_LIMIT = 16 * 1024
BODY_LIMIT = 64 * 1024
UNSENT_LIMIT = 4 * 1024 * 1024
ANSWER_S = 25.0
"""Longer than a shell takes to end a terminal."""


class LostError(Exception):
    """The connection is gone, or of no use any more; another one may do. One line says why."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; `fields` has lower-case names."""

    status: int
    fields: dict[str, str]
    body: bytes


class Connection:
    """One connection to the gateway's web: requests, and then a WebSocket."""

    def __init__(self, options: tunnel.Options, path: str = "") -> None:
        """`path` is what the gateway's own stand below. Raises TunnelError."""
        self._path = path
        self._wire = tunnel.reach(options)
        self._host = options.gateway.host
        if options.gateway.port not in (80, 443):
            self._host = str(options.gateway)
        self._unsent = b""
        self._received = b""
        gateway = options.gateway
        self._socket = WebSocket(
            gateway.host, gateway.port, f"{path}/terminal", SUBPROTOCOL, MAX_FRAME_BYTES
        )
        self._early: list[Upstream] = []

    def ask(self, what: str, asked: Mapping[str, object], user: str, secret: str | None) -> Answer:
        """Ask for something by POST and JSON. Raises LostError."""
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

    def open(self) -> None:
        """Make it a WebSocket. Raises LostError."""
        self._send_now(self._socket.unsent())
        deadline = time.monotonic() + ANSWER_S
        heard = 0
        while not self._socket.is_open:
            if heard > HEAD_LIMIT:
                raise LostError(f"what answers as {self._wire.name} is no web server")
            self._more(deadline)
            data, self._received = self._received, b""
            heard += len(data)
            try:
                self._early += self._frames(data)
            except (WebSocketError, TerminalError) as error:
                raise LostError(f"{self._wire.name}: {error}") from None

    # The WebSocket, without blocking.

    @property
    def read_fd(self) -> int:
        return self._wire.read_fd

    @property
    def has_unsent(self) -> bool:
        """Whether `flush` should be called once the descriptor can be written to."""
        return bool(self._unsent)

    def send(self, said: Downstream) -> None:
        """Send a frame, now or by `flush`. Raises LostError."""
        try:
            self._socket.send(encode(said))
        except WebSocketError as error:
            raise LostError(str(error)) from None
        self._unsent += self._socket.unsent()
        self.flush()

    def flush(self) -> None:
        """Send what can be sent now. Raises LostError."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self._wire.send(memoryview(self._unsent)) :]
            self._wire.flush()
        except BlockingIOError:
            return
        except OSError as error:
            raise LostError(error.strerror or str(error)) from None

    def receive(self) -> list[Upstream]:
        """The frames that have come. Raises LostError."""
        frames: list[Upstream] = []
        try:
            while True:
                try:
                    data = self._wire.recv(tunnel.CHUNK)
                except BlockingIOError:
                    return frames
                if not data:
                    raise LostError("the gateway hung up")
                frames += self._frames(data)
                if len(frames) > 64:
                    return frames
        except OSError as error:
            if frames:
                return frames  # the next call finds it again
            raise LostError(error.strerror or str(error)) from None
        except (WebSocketError, TerminalError) as error:
            raise LostError(str(error)) from None

    def early(self) -> list[Upstream]:
        """What came together with the answer that opened it."""
        frames, self._early = self._early, []
        return frames

    def close(self) -> None:
        """Hang up. May be called again."""
        self._wire.sock.close()

    def _frames(self, data: bytes) -> list[Upstream]:
        frames = [decode(message) for message in self._socket.feed(data)]
        if (answers := self._socket.unsent()) and len(self._unsent) > UNSENT_LIMIT:
            raise WebSocketError("the gateway asks without end, and reads no answer")
        self._unsent += answers
        self.flush()
        return [_of_the_gateway(frame) for frame in frames]

    # HTTP, waiting.

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


def _of_the_gateway(frame: Frame) -> Upstream:
    if not isinstance(frame, Upstream):
        raise TerminalError(f"{type(frame).__name__} is not for the gateway to say")
    return frame
