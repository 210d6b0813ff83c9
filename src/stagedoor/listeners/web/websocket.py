"""The WebSocket of browsers: uvicorn's, where large messages can be compressed (RFC 7692)."""

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

LEAST_BYTES = 1024
"""A shorter message gains nothing that anybody sees: on a line of 1 Mbit/s it takes 8 ms."""
_LEVEL = 1
"""Of zlib: of 1 to 9, the one that takes least time. A MB of text takes 3 to 25 ms."""
_CLIENT_BITS = 10
"""What a client sends is short. A message that is begun and never ended keeps 10 KiB, not 40."""


class Compression:
    """Whether large messages are compressed from now on, where the client takes that. `on` is for the
    application to set; it finds this in its scope's `state`."""

    def __init__(self) -> None:
        self.on = True


class DeflateExtension(PerMessageDeflate):
    """Sends a message as it is where compression is off, or gains nothing (RFC 7692 §6)."""

    def __init__(self, compression: Compression, *given: Any) -> None:
        super().__init__(*given)
        self._compression = compression

    def encode(self, frame: Frame) -> Frame:
        """As it is to be sent. Only whole messages come here."""
        assert frame.fin, "uvicorn divides none"
        assert frame.opcode is not Opcode.CONT, "uvicorn divides none"
        if not self._compression.on or len(frame.data) < LEAST_BYTES:
            return frame
        return super().encode(frame)


class _Offered(ServerPerMessageDeflateFactory):
    """Each message by itself: what a compressor and its opposite would remember is 40 KiB a session."""

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
        answered, agreed = super().process_request_params(params, accepted_extensions)
        return answered, DeflateExtension(
            self._compression,
            agreed.remote_no_context_takeover,
            agreed.local_no_context_takeover,
            agreed.remote_max_window_bits,
            agreed.local_max_window_bits,
            agreed.compress_settings,
        )


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection. A client that offers no compression gets none."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        compression = Compression()
        self.app_state = {**self.app_state, "compression": compression}
        self.conn.available_extensions = [_Offered(compression)]

    def handle_cont(self, event: Frame) -> None:
        """A part without data is none: of those a message may have as many as its sender likes, and uvicorn
        keeps each."""
        if event.data or event.fin:
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """Text is refused, whatever it says. uvicorn would log what is no UTF-8 as a bug."""
        if self.curr_msg_data_type == "text":
            self.frames = [b""]
        super().send_receive_event_to_app()
