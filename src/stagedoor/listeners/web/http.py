"""HTTP/1.1 as uvicorn speaks it, but nobody may take for ever to say what he wants."""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from stagedoor.listeners.web.anteroom import Anteroom
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.source import Source

_TOO_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n"
    b"Cache-Control: no-store\r\n\r\n"
)
WriteDown = Callable[[Denial, Source], None]


class PatientHttp(H11Protocol):
    """One connection. It waits in the anteroom whenever a header is to come.

    Bytes that drip in do not extend the time (slow loris). One that has said nothing at all is closed
    without a word: browsers open connections that they may come to use.
    """

    def __init__(self, anteroom: Anteroom, write_down: WriteDown, **given: Any) -> None:
        super().__init__(**given)
        self._anteroom = anteroom
        self._write_down = write_down
        self._place: int | None = None
        self._said_something = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._place = self._anteroom.enter(self._turn_away)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._said_something = True
        if self._place is None and (self.cycle is None or self.cycle.response_complete):
            self._place = self._anteroom.enter(self._turn_away)  # one more request
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before or self.transport.get_protocol() is not self:
            self._leave()  # a header is whole; a WebSocket has a protocol of its own

    def _leave(self) -> None:
        if self._place is not None:
            self._anteroom.leave(self._place)
            self._place = None

    def _turn_away(self, crowded: bool) -> None:
        self._place = None
        if self._said_something and self.client is not None:
            source = Source.of(*self.client)
            if crowded:
                why = Denial(
                    Reason.OVERLOADED,
                    f"more than {self._anteroom.most} connections had not sent a whole header "
                    "(listen.max_pending), and this was the oldest",
                )
            else:
                why = Denial(
                    Reason.HEADER_TIMEOUT,
                    f"the request's header was not complete after {self._anteroom.patience_s:g} s",
                )
                self.transport.write(_TOO_LATE)
            self._write_down(why, source)
        self.transport.close()
