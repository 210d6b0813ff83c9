"""HTTP/1.1 as uvicorn speaks it, but strict, and nobody may take for ever to say what they want."""

import asyncio
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from stagedoor.listeners.web.pending import PendingConnection
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.source import Source
from stagedoor.model.units import KIB
from stagedoor.wire.answer import encode_refusal
from stagedoor.wire.httphead import find_fault

MAX_HEADER_BYTES = 16 * KIB
"""The request line and the fields. A browser behind a proxy that adds cookies of its own sends 8."""
_TOO_LARGE = 431
"""The status that h11 advises (RFC 6585 §5)."""
WriteDown = Callable[[Denial, Source], None]


class StrictConnection(h11.Connection):
    """Refuses a head that a proxy may have read in another way, and fields after a body.

    `fault` is why, once something was refused.
    """

    fault = Denial(Reason.BAD_REQUEST, "this is no HTTP/1.1 request")

    def next_event(self) -> Any:
        """As h11 has it. Raises h11.RemoteProtocolError."""
        if self.their_state is h11.IDLE:
            received, _ = self.trailing_data
            self._refuse(find_fault(received))
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == _TOO_LARGE:
                why = f"the request's header is longer than {MAX_HEADER_BYTES} bytes"
                self.fault = Denial(Reason.HEADER_TOO_LARGE, why)
            raise
        if isinstance(event, h11.EndOfMessage) and len(event.headers):
            self._refuse("there are fields after the body (trailers)")
        return event

    def _refuse(self, fault: str | None) -> None:
        if fault is not None:
            self.fault = Denial(Reason.BAD_REQUEST, f"{fault}; this may be read in two ways")
            raise h11.RemoteProtocolError(fault)


class HttpServerProtocol(H11Protocol):
    """One connection, whose header must be whole `timeout_s` seconds after it could begin.

    Bytes that drip in do not extend the time (slow loris). One that has said nothing at all is closed
    without a word: browsers open connections that they may come to use.
    """

    def __init__(
        self,
        pending: PendingConnection,
        timeout_s: float,
        due: float,
        write_down: WriteDown,
        **given: Any,
    ) -> None:
        """`due` is when the first header must be whole, by the loop's clock."""
        super().__init__(app_state={"connection": pending}, **given)
        self.conn: StrictConnection = StrictConnection(h11.SERVER, MAX_HEADER_BYTES)
        self._pending = pending
        self._timeout_s = timeout_s
        self._write_down = write_down
        self._header_due: asyncio.TimerHandle | None = self.loop.call_at(due, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._await_header()  # of one more request
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before or self.transport.get_protocol() is not self:
            self._stop_waiting()  # a header is whole; a WebSocket has a protocol of its own

    def on_response_complete(self) -> None:
        if self.conn.their_state is h11.SEND_BODY:
            # Answered before all of it was sent. What is sent still must not keep the line for ever.
            self._await_header()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong with the request, write it down, and hang up."""
        self._write_down(self.conn.fault, self._pending.source)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(encode_refusal(self.conn.fault))
        self.transport.close()

    def _await_header(self) -> None:
        if self._header_due is None:
            self._header_due = self.loop.call_later(self._timeout_s, self._too_late)

    def _stop_waiting(self) -> None:
        if self._header_due is not None:
            self._header_due.cancel()
            self._header_due = None

    def _too_late(self) -> None:
        self._header_due = None
        if self._pending.has_spoken and (self.cycle is None or self.cycle.response_complete):
            denial = Denial(
                Reason.HEADER_TIMEOUT,
                f"the request's header was not complete after {self._timeout_s:g} s",
            )
            self._write_down(denial, self._pending.source)
            if self.conn.our_state is h11.IDLE:
                self.transport.write(encode_refusal(denial))
        self.transport.close()
