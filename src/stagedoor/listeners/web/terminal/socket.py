"""A WebSocket that carries frames of the terminal protocol."""

from dataclasses import replace

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from stagedoor.listeners.web.errors import ClientClosedError
from stagedoor.listeners.web.pages.language import translate
from stagedoor.listeners.web.websocket import Compression
from stagedoor.wire.terminal.codec import decode, encode
from stagedoor.wire.terminal.frames import (
    ClientFrame,
    Hello,
    HolderFrame,
    Notice,
    TerminalError,
    describe_misplaced,
)

_NORMAL = 1000
_PROTOCOL_ERROR = 1002
"""RFC 6455 §7.4.1."""


class TerminalSocket:
    """The client's end of a terminal, from which frames are read and to which they are sent."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._compression: Compression = socket.scope["state"]["compression"]

    async def read(self) -> tuple[ClientFrame, bytes]:
        """Return the next frame and its bytes. Raises ClientClosedError and TerminalError."""
        try:
            message = await self._socket.receive()
        except (WebSocketDisconnect, RuntimeError):
            raise ClientClosedError from None
        if message["type"] != "websocket.receive":
            raise ClientClosedError
        data = message.get("bytes")
        if data is None:
            raise TerminalError("a text message; frames are binary")
        frame = decode(data)
        if not isinstance(frame, ClientFrame):
            raise TerminalError(describe_misplaced(frame))
        return frame, data

    async def read_hello(self) -> Hello:
        """Return the first frame. Raises as `read` does."""
        frame, _ = await self.read()
        if not isinstance(frame, Hello):
            raise TerminalError("the first frame is no HELLO")
        return frame

    async def send(self, frame: HolderFrame) -> None:
        """Send a frame, and wait while the network is slow. Do nothing once the client has gone.

        Raises ClientClosedError if the client goes meanwhile.
        """
        if isinstance(frame, Notice):
            frame = replace(frame, text=translate(frame.text))
        await self.send_bytes(encode(frame))

    async def send_bytes(self, data: bytes) -> None:
        """Send the bytes of a frame, as `send`."""
        if self._socket.client_state is not WebSocketState.CONNECTED:
            return
        try:
            await self._socket.send_bytes(data)
        except (WebSocketDisconnect, RuntimeError, OSError):
            raise ClientClosedError from None

    def compress(self, on: bool) -> None:
        """Switch the compression of large frames on or off, if the client accepts compression."""
        self._compression.on = on

    async def close(self, *, bad: bool = False) -> None:
        """Hang up. May be called again."""
        if self._socket.application_state is WebSocketState.CONNECTED:
            try:
                await self._socket.close(_PROTOCOL_ERROR if bad else _NORMAL)
            except (WebSocketDisconnect, RuntimeError, OSError):
                return
