"""One WebSocket as frames of the terminal protocol, in and out."""

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from stagedoor.listeners.web.errors import ClientClosedError
from stagedoor.listeners.web.websocket import Compression
from stagedoor.wire.frames import decode, encode
from stagedoor.wire.terminal import Downstream, Hello, TerminalError, Upstream, foreign

_NORMAL = 1000
_BAD = 1002
"""Protocol error (RFC 6455 §7.4.1)."""


class TerminalSocket:
    """Reads what the developer's side says, and says what the terminal's side does."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._compression: Compression = socket.scope["state"]["compression"]

    async def read(self) -> tuple[Downstream, bytes]:
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
        if not isinstance(frame, Downstream):
            raise TerminalError(foreign(frame))
        return frame, data

    async def hello(self) -> Hello:
        """Return the first frame. Raises as `read` does."""
        frame, _ = await self.read()
        if not isinstance(frame, Hello):
            raise TerminalError("the first frame is no HELLO")
        return frame

    async def say(self, frame: Upstream) -> None:
        """Send a frame; waits while the network is slow. Nothing happens if nobody is there."""
        await self.pass_on(encode(frame))

    async def pass_on(self, data: bytes) -> None:
        """The same for a frame's bytes."""
        if self._socket.client_state is not WebSocketState.CONNECTED:
            return
        try:
            await self._socket.send_bytes(data)
        except (WebSocketDisconnect, RuntimeError, OSError):
            raise ClientClosedError from None

    def compress(self, on: bool) -> None:
        """Whether large frames are compressed from now on, where the client takes that."""
        self._compression.on = on

    async def close(self, *, bad: bool = False) -> None:
        """Hang up. May be called again."""
        if self._socket.application_state is WebSocketState.CONNECTED:
            try:
                await self._socket.close(_BAD if bad else _NORMAL)
            except (WebSocketDisconnect, RuntimeError, OSError):
                return
