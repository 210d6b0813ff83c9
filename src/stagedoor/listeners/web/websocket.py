"""uvicorn's WebSocket with compression of large messages that can be switched on and off (RFC 7692)."""

from collections.abc import Sequence
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Frame, Opcode
from websockets.typing import ExtensionParameter

MIN_BYTES = 1024
"""The shortest message that is compressed. Shorter ones take at most 8 ms on a line of 1 Mbit/s."""
_LEVEL = 1
"""The fastest of zlib's levels 1 to 9. A MB of text takes 3 to 25 ms."""
_CLIENT_BITS = 10
"""The client's window. Its messages are short, and an unfinished message keeps 10 KiB instead of 40."""


class Compression:
    """A switch for the compression of large messages, if the client accepts compression.

    The application finds it in its scope's `state`, and sets `on`.
    """

    def __init__(self) -> None:
        self.on = True


class DeflateExtension(PerMessageDeflate):
    """The extension; a message that is short, or comes while the switch is off, stays plain (RFC 7692 §6)."""

    def __init__(self, compression: Compression, *parameters: Any) -> None:
        super().__init__(*parameters)
        self._compression = compression

    def encode(self, frame: Frame) -> Frame:
        """Return the frame to send, compressed or not. uvicorn never fragments a message."""
        assert frame.fin, "uvicorn fragments no message"
        assert frame.opcode is not Opcode.CONT, "uvicorn fragments no message"
        if not self._compression.on or len(frame.data) < MIN_BYTES:
            return frame
        return super().encode(frame)


class _DeflateFactory(ServerPerMessageDeflateFactory):
    """The server's side of the negotiation.

    Each message is compressed separately, since remembered context would take 40 KiB per session.
    """

    def __init__(self, compression: Compression) -> None:
        super().__init__(
            server_no_context_takeover=True,
            client_no_context_takeover=True,
            client_max_window_bits=_CLIENT_BITS,
            require_client_max_window_bits=True,
            compress_settings={"level": _LEVEL},
        )
        self._compression = compression

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], PerMessageDeflate]:
        """Return the answer's parameters and the extension. Raises `websockets.NegotiationError`."""
        answer, agreed = super().process_request_params(params, accepted_extensions)
        return answer, DeflateExtension(
            self._compression,
            agreed.remote_no_context_takeover,
            agreed.local_no_context_takeover,
            agreed.remote_max_window_bits,
            agreed.local_max_window_bits,
            agreed.compress_settings,
        )


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket connection, compressed if the client offers compression."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        compression = Compression()
        self.app_state = {**self.app_state, "compression": compression}
        self.conn.available_extensions = [_DeflateFactory(compression)]

    def handle_cont(self, event: Frame) -> None:
        """Ignore empty fragments. A message may have any number of them, and uvicorn would keep each."""
        if event.data or event.fin:
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """Empty text messages, which the application refuses: uvicorn would log invalid UTF-8 as a bug."""
        if self.curr_msg_data_type == "text":
            self.frames = [b""]
        super().send_receive_event_to_app()
