"""The client's side of a WebSocket (RFC 6455) as bytes, in whole messages, on top of the websockets library.

No extension is offered, so the server must not use one.
"""

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, NegotiationError, WebSocketException
from websockets.frames import Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI


class WebSocketError(Exception):
    """The peer does not speak the expected WebSocket protocol; the text is one line with the reason."""


class WebSocket:
    """A connection with binary messages of at most `max_bytes`."""

    def __init__(self, host: str, port: int, path: str, subprotocol: str, max_bytes: int) -> None:
        self._subprotocol = subprotocol
        uri = WebSocketURI(port == 443, host, port, path, "")
        self._protocol = ClientProtocol(
            uri, subprotocols=[Subprotocol(subprotocol)], max_size=max_bytes
        )
        self._protocol.send_request(self._protocol.connect())
        self._begun = bytearray()

    @property
    def is_open(self) -> bool:
        """Return True if the server has accepted the handshake and the connection has not ended."""
        return self._protocol.state is State.OPEN

    def unsent(self) -> bytes:
        """Return the bytes to send now: the handshake, messages from `send`, and answers to the peer."""
        return b"".join(self._protocol.data_to_send())

    def send(self, data: bytes) -> None:
        """Queue one message. Raises WebSocketError if the connection is closed."""
        try:
            self._protocol.send_binary(data)
        except WebSocketException:
            raise WebSocketError("the WebSocket is closed") from None

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that `data` completes. Raises WebSocketError; do not use this after that."""
        self._protocol.receive_data(data)
        messages = []
        for event in self._protocol.events_received():
            assert not isinstance(event, Request), "a client gets none"
            if isinstance(event, Response):
                continue
            if event.opcode is Opcode.TEXT:
                raise WebSocketError("a text message; Stagedoor's are binary")
            if event.opcode is Opcode.CLOSE:
                raise WebSocketError("the gateway hung up")
            if event.opcode in (Opcode.BINARY, Opcode.CONT):
                self._begun += event.data
                if event.fin:
                    messages.append(bytes(self._begun))
                    self._begun.clear()
        self._check_opening()
        if self._protocol.parser_exc is not None:
            raise WebSocketError(f"not a WebSocket of Stagedoor: {self._protocol.parser_exc}")
        return messages

    def _check_opening(self) -> None:
        # The library's messages quote the peer, whose text must not reach a terminal.
        match self._protocol.handshake_exc:
            case None:
                if self.is_open and self._protocol.subprotocol != self._subprotocol:
                    raise WebSocketError(
                        f"it does not speak {self._subprotocol}; one of us is too old"
                    )
            case InvalidStatus(response=Response(status_code=status)):
                raise WebSocketError(f"it answers {status} where a WebSocket was asked for")
            case NegotiationError():
                raise WebSocketError("it uses an extension or a subprotocol that was not offered")
            case _:
                raise WebSocketError("what answers does not know the WebSocket protocol")
