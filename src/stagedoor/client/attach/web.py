"""A client's connection to the gateway's web: HTTP requests for a ticket, then a WebSocket.

The websockets library parses the WebSocket (RFC 6455). The client offers no extension, so the server must not
use one.
"""

from __future__ import annotations

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, NegotiationError, WebSocketException
from websockets.frames import Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from stagedoor.laptop.tunnel.errors import TunnelError
from stagedoor.laptop.tunnel.http import parse_head
from stagedoor.laptop.tunnel.options import Options
from stagedoor.laptop.tunnel.wire import CHUNK
from stagedoor.laptop.web import WebConnection
from stagedoor.model.units import MIB
from stagedoor.wire.terminal.codec import decode, encode
from stagedoor.wire.terminal.frames import (
    MAX_FRAME_BYTES,
    SUBPROTOCOL,
    ClientFrame,
    Frame,
    HolderFrame,
    TerminalError,
)

UNSENT_LIMIT = 4 * MIB
_FRAMES_IN_TURN = 64
"""The frames after which `receive` returns, so that output is shown."""


class WebSocketError(Exception):
    """The peer violates the WebSocket protocol, or closed the WebSocket. The text is one line."""


class WebSocket:
    """The client's side of a WebSocket with binary messages of at most `max_bytes`. Pure."""

    def __init__(self, host: str, port: int, path: str, subprotocol: str, max_bytes: int) -> None:
        self._subprotocol = subprotocol
        uri = WebSocketURI(port == 443, host, port, path, "")
        self._protocol = ClientProtocol(
            uri, subprotocols=[Subprotocol(subprotocol)], max_size=max_bytes
        )
        self._protocol.send_request(self._protocol.connect())
        self._message = bytearray()

    @property
    def is_open(self) -> bool:
        """True from the handshake until the connection ends."""
        return self._protocol.state is State.OPEN

    def take_unsent(self) -> bytes:
        """Return the bytes to send now: the handshake, queued messages, and answers to the peer."""
        return b"".join(self._protocol.data_to_send())

    def send(self, data: bytes) -> None:
        """Queue one message. Raises WebSocketError if the connection is closed."""
        try:
            self._protocol.send_binary(data)
        except WebSocketException:
            raise WebSocketError("the WebSocket is closed") from None

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that `data` completes. After a WebSocketError, do not use this WebSocket."""
        self._protocol.receive_data(data)
        messages = []
        for event in self._protocol.events_received():
            assert not isinstance(event, Request), "a client receives no request"
            if isinstance(event, Response):
                continue
            if event.opcode is Opcode.TEXT:
                raise WebSocketError("a text message; Stagedoor's are binary")
            if event.opcode is Opcode.CLOSE:
                raise WebSocketError("the gateway hung up")
            if event.opcode in (Opcode.BINARY, Opcode.CONT):
                self._message += event.data
                if event.fin:
                    messages.append(bytes(self._message))
                    self._message.clear()
        self._check_handshake()
        if self._protocol.parser_exc is not None:
            raise WebSocketError(f"not a WebSocket of Stagedoor: {self._protocol.parser_exc}")
        return messages

    def _check_handshake(self) -> None:
        # The library's messages quote the peer, whose text must not reach a terminal.
        match self._protocol.handshake_exc:
            case None:
                if self.is_open and self._protocol.subprotocol != self._subprotocol:
                    raise WebSocketError(
                        f"it does not speak {self._subprotocol}; one of the two is too old"
                    )
            case InvalidStatus(response=Response(status_code=status)):
                raise WebSocketError(f"it answered {status} to the request for a WebSocket")
            case NegotiationError():
                raise WebSocketError("it uses an extension or a subprotocol that was not offered")
            case _:
                raise WebSocketError("the server does not speak the WebSocket protocol")


class LostError(Exception):
    """The connection was lost or is unusable, but a new one may work. The text is one line."""


class TerminalConnection(WebConnection):
    """A connection to the gateway's web: HTTP requests, and then a WebSocket."""

    def __init__(self, options: Options, path: str = "") -> None:
        """Connect to the gateway. `path` is the prefix of the gateway's paths. Raises TunnelError."""
        super().__init__(options, path)
        gateway = options.gateway
        self._socket = WebSocket(
            gateway.host, gateway.port, f"{path}/terminal", SUBPROTOCOL, MAX_FRAME_BYTES
        )
        self._unsent = b""
        self.may_have_more = False
        """True if `receive` left bytes unread. poll(2) does not see those in the TLS layer."""

    def open(self) -> None:
        """Upgrade to a WebSocket. Raises LostError."""
        name = self.wire.name
        try:
            head = self.exchange(self._socket.take_unsent())
            status = parse_head(self.wire, head).status
            if status != 101:
                raise LostError(f"{name}: it answered {status} to the request for a WebSocket")
            self._frames(head)
        except TunnelError as error:
            raise LostError(error.line) from None
        except (WebSocketError, TerminalError) as error:
            raise LostError(f"{name}: {error}") from None
        if not self._socket.is_open:
            raise LostError(f"{name}: the server does not speak the WebSocket protocol")

    # Frames over the WebSocket. None of these block.

    @property
    def read_fd(self) -> int:
        """The descriptor to poll for reading, and for writing if `has_unsent`."""
        return self.wire.read_fd

    @property
    def has_unsent(self) -> bool:
        """True if `flush` must be called when the descriptor is writable."""
        return bool(self._unsent)

    def send(self, frame: ClientFrame) -> None:
        """Send a frame, in part now and the rest in `flush`. Raises LostError."""
        try:
            self._socket.send(encode(frame))
        except WebSocketError as error:
            raise LostError(str(error)) from None
        self._unsent += self._socket.take_unsent()
        self.flush()

    def flush(self) -> None:
        """Send as much as possible. Raises LostError."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.wire.send(memoryview(self._unsent)) :]
            self.wire.flush()
        except BlockingIOError:
            return
        except OSError as error:
            raise LostError(error.strerror or str(error)) from None

    def receive(self) -> list[HolderFrame]:
        """Return the frames that have arrived. Raises LostError."""
        frames: list[HolderFrame] = []
        self.may_have_more = False
        try:
            while True:
                try:
                    data = self.wire.recv(CHUNK)
                except BlockingIOError:
                    return frames
                if not data:
                    raise ConnectionError("the gateway hung up")
                frames += self._frames(data)
                if len(frames) > _FRAMES_IN_TURN:
                    self.may_have_more = True
                    return frames
        except OSError as error:
            if frames:
                return frames  # the next call raises it again
            raise LostError(error.strerror or str(error)) from None
        except (WebSocketError, TerminalError) as error:
            raise LostError(str(error)) from None

    def _frames(self, data: bytes) -> list[HolderFrame]:
        frames = [decode(message) for message in self._socket.feed(data)]
        if (answers := self._socket.take_unsent()) and len(self._unsent) > UNSENT_LIMIT:
            raise WebSocketError("the gateway sends pings, but does not read the answers")
        self._unsent += answers
        self.flush()
        return [_check_direction(frame) for frame in frames]


def _check_direction(frame: Frame) -> HolderFrame:
    if not isinstance(frame, HolderFrame):
        raise TerminalError(f"the gateway may not send {type(frame).__name__}")
    return frame
