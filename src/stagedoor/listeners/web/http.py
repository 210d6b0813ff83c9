"""uvicorn's HTTP/1.1 with strict parsing, and a deadline for each request's header.

If a proxy in front of the gateway parses a head differently, an attacker can make it take one request for two
(request smuggling). So any head that two programs could parse differently is refused. Sources: RFC 9112 §2.2
(bare LF and CR), §5.2 (folded lines), §6.1 and §6.3 (a length and a transfer coding), §3.2 (Host).
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from stagedoor.listeners.web.pending import PendingConnection
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.source import Source
from stagedoor.model.units import KIB
from stagedoor.wire.http.answer import encode_refusal

MAX_HEADER_BYTES = 16 * KIB
"""The request line and the fields. A browser behind a proxy that adds cookies sends about 8 KiB."""
_TOO_LARGE = 431
"""The status that h11 suggests (RFC 6585 §5)."""
RecordDenial = Callable[[Denial, Source], None]
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
_FOLDED = re.compile(rb"\n[ \t]")
_REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~]+ HTTP/1\.[01]\Z")
_LENGTH = b"content-length"
_CODING = b"transfer-encoding"
_ONCE = (_LENGTH, _CODING, b"host")


class StrictConnection(h11.Connection):
    """An h11 connection that refuses trailers, and heads that a proxy may parse differently.

    `fault` is the reason, once a request is refused.
    """

    fault = Denial(Reason.BAD_REQUEST, "this is no HTTP/1.1 request")

    def next_event(self) -> Any:
        """Return the next event. Raises h11.RemoteProtocolError."""
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
    """One connection. Each request's header must be complete within `timeout_s` seconds.

    The time counts from the moment when the request could begin, and a trickle of bytes does not extend it
    (slow loris). A connection that has sent nothing is closed without an answer, since browsers open spare
    connections.
    """

    def __init__(
        self,
        pending: PendingConnection,
        timeout_s: float,
        due: float,
        record_denial: RecordDenial,
        idle_s: int,
        **options: Any,
    ) -> None:
        """Start the wait for the first header, which ends at `due` by the loop's clock.

        The connection may be idle for `idle_s` seconds between two requests.
        """
        super().__init__(app_state={"connection": pending}, **options)
        self.timeout_keep_alive = idle_s
        self.conn: StrictConnection = StrictConnection(h11.SERVER, MAX_HEADER_BYTES)
        self._pending = pending
        self._timeout_s = timeout_s
        self._record_denial = record_denial
        self._deadline: asyncio.TimerHandle | None = self.loop.call_at(due, self._on_deadline)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the deadline."""
        self._stop_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and start or stop the deadline."""
        if self.cycle is None or self.cycle.response_complete:
            self._start_deadline()  # the first bytes of the next request
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before or self.transport.get_protocol() is not self:
            self._stop_deadline()  # a header is complete; a WebSocket has a protocol of its own
        elif self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            # The rest of a body that was answered early is complete: the connection is idle again.
            self._stop_deadline()
            self._keep_alive()

    def on_response_complete(self) -> None:
        """Bound the rest of a request's body that is still coming."""
        if self.conn.their_state is h11.SEND_BODY:
            # The answer was sent before the body was complete, which must not hold the connection forever.
            self._start_deadline()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse an invalid request, audit the refusal, and hang up."""
        self._record_denial(self.conn.fault, self._pending.source)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(encode_refusal(self.conn.fault))
        self.transport.close()

    def _start_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._timeout_s, self._on_deadline)

    def _keep_alive(self) -> None:
        """Close the connection once it has been idle for the time between two requests."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        self._deadline = None
        if self._pending.has_spoken and (self.cycle is None or self.cycle.response_complete):
            limit_s = self._timeout_s
            why = f"the request's header was not complete after {limit_s:g} s"
            if self.conn.their_state is h11.SEND_BODY:
                why = f"the rest of the request's body was not complete after {limit_s:g} s"
            denial = Denial(Reason.HEADER_TIMEOUT, why)
            self._record_denial(denial, self._pending.source)
            if self.conn.our_state is h11.IDLE:
                self.transport.write(encode_refusal(denial))
        self.transport.close()


def find_fault(received: bytes) -> str | None:
    """Return the fault in the head at the start of `received`, or None if there is none so far.

    An incomplete head is judged by the part that has arrived, and bytes after the head are ignored. The HTTP
    parser checks everything else.
    """
    head, end, _ = received.partition(b"\r\n\r\n")
    if _BARE.search(head) or (end and head.endswith(b"\r")):
        return "a line of the header ends in LF or CR alone, and not in CR LF"
    if _FOLDED.search(head):
        return "a line of the header is folded: it begins with a space or a tab"
    return _find_fault_in_fields(head) if end else None


def _find_fault_in_fields(head: bytes) -> str | None:
    line, *fields = head.split(b"\r\n")
    if not _REQUEST_LINE.match(line):
        return "the first line is no METHOD PATH HTTP/1.1"
    names = [field.partition(b":")[0].lower() for field in fields]
    for name in _ONCE:
        if names.count(name) > 1:
            return f"there is more than one {name.decode()}"
    if _CODING in names and _LENGTH in names:
        return "there is a content-length and a transfer-encoding"
    if _CODING in names and line.endswith(b"0"):
        return "there is a transfer-encoding in HTTP/1.0"
    return None
