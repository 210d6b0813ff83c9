"""The client's half of a WebSocket (RFC 6455) as bytes: its opening, its frames, and what is read.

Standard library only, for the laptop. No extension is offered, so none may come.
"""

import base64
import hashlib
from dataclasses import dataclass, field
from enum import IntEnum

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
MAX_CONTROL_BYTES = 125


class WebSocketError(Exception):
    """What came is no WebSocket of ours; one line that says what."""


class Opcode(IntEnum):
    """RFC 6455 §11.8."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message, or a control frame."""

    opcode: Opcode
    data: bytes = field(repr=False)


def opening(host: str, path: str, nonce: bytes, subprotocol: str) -> bytes:
    """The request that opens it (RFC 6455 §4.1). `nonce` is 16 random bytes."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {base64.b64encode(nonce).decode()}\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    ).encode("ascii")


def opened(status: int, fields: dict[str, str], nonce: bytes, subprotocol: str) -> None:
    """Whether the answer opens it; `fields` has lower-case names. Raises WebSocketError."""
    if status != 101:
        raise WebSocketError(f"it answers {status} where a WebSocket was asked for")
    digest = hashlib.sha1(base64.b64encode(nonce) + _MAGIC, usedforsecurity=False).digest()
    if fields.get("sec-websocket-accept", "").strip() != base64.b64encode(digest).decode():
        raise WebSocketError("what answers does not know the WebSocket protocol")
    if fields.get("sec-websocket-protocol", "").strip() != subprotocol:
        raise WebSocketError(f"it does not speak {subprotocol}; one of us is too old")
    if fields.get("sec-websocket-extensions"):
        raise WebSocketError("it uses an extension that was not offered")


def frame(opcode: Opcode, data: bytes, mask: bytes) -> bytes:
    """One whole frame from the client. `mask` is 4 random bytes (RFC 6455 §5.3)."""
    head = bytearray([0x80 | opcode])
    size = len(data)
    if size < 126:
        head.append(0x80 | size)
    elif size < 1 << 16:
        head.append(0x80 | 126)
        head += size.to_bytes(2, "big")
    else:
        head.append(0x80 | 127)
        head += size.to_bytes(8, "big")
    # As one large number: a loop over bytes would be a hundred times slower.
    pad = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")
    return bytes(head) + mask + masked.to_bytes(size, "big")


class Reader:
    """Messages out of what the server sends, none longer than `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._received = bytearray()
        self._begun = bytearray()
        """Of a message that comes in pieces: joined, since there may be very many, of no bytes at all."""
        self._opcode: Opcode | None = None

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes. Raises WebSocketError."""
        self._received += data
        messages = []
        while (found := self._frame()) is not None:
            final, opcode, payload = found
            message = self._joined(final, opcode, payload)
            if message is not None:
                messages.append(message)
        return messages

    def _frame(self) -> tuple[bool, Opcode, bytes] | None:
        received = self._received
        if len(received) < 2:
            return None
        first, second = received[0], received[1]
        if first & 0x70:
            raise WebSocketError("a frame of an extension that was not agreed on")
        if second & 0x80:
            raise WebSocketError("a masked frame from a server (RFC 6455 §5.1)")
        try:
            opcode = Opcode(first & 0x0F)
        except ValueError:
            raise WebSocketError(f"a frame of an unknown kind, {first & 0x0F}") from None
        size, start = second & 0x7F, 2
        if size == 126:
            size, start = int.from_bytes(received[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(received[2:10], "big"), 10
        if len(received) < start:
            return None
        control = opcode >= Opcode.CLOSE
        if control and (not first & 0x80 or size > MAX_CONTROL_BYTES):
            raise WebSocketError("a control frame in pieces, or too long (RFC 6455 §5.5)")
        if size + len(self._begun) > self._max_bytes:
            raise WebSocketError(f"a message of more than {self._max_bytes} bytes")
        if len(received) < start + size:
            return None
        payload = bytes(received[start : start + size])
        del received[: start + size]
        return bool(first & 0x80), opcode, payload

    def _joined(self, final: bool, opcode: Opcode, payload: bytes) -> Message | None:
        if opcode >= Opcode.CLOSE:
            return Message(opcode, payload)
        if (opcode is Opcode.CONTINUATION) is (self._opcode is None):
            raise WebSocketError("pieces of messages out of order (RFC 6455 §5.4)")
        self._begun += payload
        self._opcode = self._opcode or opcode
        if not final:
            return None
        message = Message(self._opcode, bytes(self._begun))
        self._begun, self._opcode = bytearray(), None
        return message
