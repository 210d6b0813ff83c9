"""A client's connection to the gateway's web: a ticket by HTTP, then the WebSocket."""

from __future__ import annotations

import time

from stagedoor.client import tunnel
from stagedoor.client.http import ANSWER_S, HEAD_LIMIT, HttpConnection, LostError
from stagedoor.wire.http.websocket import WebSocket, WebSocketError
from stagedoor.wire.terminal.codec import decode, encode
from stagedoor.wire.terminal.frames import (
    MAX_FRAME_BYTES,
    SUBPROTOCOL,
    Downstream,
    Frame,
    TerminalError,
    Upstream,
)

UNSENT_LIMIT = 4 * 1024 * 1024


class Connection(HttpConnection):
    """One connection to the gateway's web: HTTP requests, and then a WebSocket."""

    def __init__(self, options: tunnel.Options, path: str = "") -> None:
        """Connect to the gateway. `path` is the prefix of the gateway's own paths. Raises TunnelError."""
        super().__init__(options, path)
        gateway = options.gateway
        self._socket = WebSocket(
            gateway.host, gateway.port, f"{path}/terminal", SUBPROTOCOL, MAX_FRAME_BYTES
        )
        self._early: list[Upstream] = []

    def open(self) -> None:
        """Upgrade to a WebSocket. Raises LostError."""
        self._send_now(self._socket.unsent())
        deadline = time.monotonic() + ANSWER_S
        received = 0
        while not self._socket.is_open:
            if received > HEAD_LIMIT:
                raise LostError(f"what answers as {self._wire.name} is no web server")
            self._more(deadline)
            data, self._received = self._received, b""
            received += len(data)
            try:
                self._early += self._frames(data)
            except (WebSocketError, TerminalError) as error:
                raise LostError(f"{self._wire.name}: {error}") from None

    # The WebSocket, without blocking.

    @property
    def read_fd(self) -> int:
        """The descriptor to poll for reading and, with `has_unsent`, for writing."""
        return self._wire.read_fd

    @property
    def has_unsent(self) -> bool:
        """True if `flush` must be called once the descriptor is writable."""
        return bool(self._unsent)

    def send(self, frame: Downstream) -> None:
        """Send a frame, now or in a later `flush`. Raises LostError."""
        try:
            self._socket.send(encode(frame))
        except WebSocketError as error:
            raise LostError(str(error)) from None
        self._unsent += self._socket.unsent()
        self.flush()

    def receive(self) -> list[Upstream]:
        """Return the frames that have come. Raises LostError."""
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
                return frames  # the next call gets the error again
            raise LostError(error.strerror or str(error)) from None
        except (WebSocketError, TerminalError) as error:
            raise LostError(str(error)) from None

    def early(self) -> list[Upstream]:
        """Return the frames that came together with the answer to the upgrade."""
        frames, self._early = self._early, []
        return frames

    def _frames(self, data: bytes) -> list[Upstream]:
        frames = [decode(message) for message in self._socket.feed(data)]
        if (answers := self._socket.unsent()) and len(self._unsent) > UNSENT_LIMIT:
            raise WebSocketError("the gateway asks without end, and reads no answer")
        self._unsent += answers
        self.flush()
        return [_check_direction(frame) for frame in frames]


def _check_direction(frame: Frame) -> Upstream:
    if not isinstance(frame, Upstream):
        raise TerminalError(f"{type(frame).__name__} is not for the gateway to say")
    return frame
