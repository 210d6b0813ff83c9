"""A connection to the API. h11 keeps its HTTP state."""

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass

import h11

from stagedoor.model.units import KIB

HEAD_LIMIT_BYTES = 64 * KIB

CHUNK_BYTES = 128 * KIB

KEEPALIVE_IDLE_S = 15
KEEPALIVE_INTERVAL_S = 5
KEEPALIVE_PROBES = 3
"""A dead peer or network is detected after 30 s of silence, as with client-go's HTTP/2 pings."""


class NoApiAnswerError(Exception):
    """No complete answer has arrived. `str` is a sentence; `begun` says whether a part of it has."""

    def __init__(self, why: str, *, begun: bool = False) -> None:
        super().__init__(why)
        self.begun = begun


class ReadTimeoutError(NoApiAnswerError):
    """Nothing arrived in time. The connection may still work."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer: its status, and two of its headers."""

    status: int
    content_type: str
    retry_after: str | None


class Wire:
    """An open connection, for one exchange at a time."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str
    ) -> None:
        self.name = name
        self.idle_since = 0.0
        self._has_received = False
        """Whether a byte has arrived since the last request."""
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT_BYTES)

    def is_usable(self) -> bool:
        """Return whether the connection is still open on both sides."""
        return not self._reader.at_eof() and not self._writer.is_closing()

    def start_next_cycle(self) -> bool:
        """Prepare for another request after a complete answer, and return whether one is possible."""
        left_over, _ = self._http.trailing_data
        if left_over or {self._http.our_state, self._http.their_state} != {h11.DONE}:
            return False
        self._http.start_next_cycle()
        return True

    async def send(self, head: h11.Request, body: bytes) -> Head:
        """Send a request, and return the head of the answer. Raises NoApiAnswerError."""
        self._has_received = False
        try:
            data = self._http.send(head) or b""
            if body:
                data += self._http.send(h11.Data(body)) or b""
            data += self._http.send(h11.EndOfMessage()) or b""
            self._writer.write(data)
            await self._writer.drain()
        except h11.LocalProtocolError as error:
            raise NoApiAnswerError(f"the request cannot be sent: {error}") from None
        except OSError as error:
            raise NoApiAnswerError(self._describe_failure(error)) from None
        while True:
            event = await self._next()
            if isinstance(event, h11.InformationalResponse):
                continue
            if not isinstance(event, h11.Response):
                raise NoApiAnswerError(f"{self.name} broke off its answer", begun=True)
            headers = {name: value.decode("ascii", "replace") for name, value in event.headers}
            content_type = headers.get(b"content-type", "").lower()
            return Head(event.status_code, content_type, headers.get(b"retry-after"))

    async def read(self) -> bytes:
        """Return the next part of the body, b"" at its end. Raises NoApiAnswerError."""
        while True:
            event = await self._next()
            if isinstance(event, h11.Data):
                if event.data:
                    return bytes(event.data)
                continue
            if isinstance(event, h11.EndOfMessage):
                return b""
            raise NoApiAnswerError(f"{self.name} broke off its answer", begun=True)

    def abort(self) -> None:
        """Close at once, and discard unsent data."""
        with suppress(OSError, RuntimeError):
            self._writer.transport.abort()

    async def _next(self) -> object:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                data = await self._reader.read(CHUNK_BYTES)
                self._has_received = self._has_received or bool(data)
                self._http.receive_data(data)
        except h11.RemoteProtocolError as error:
            if not self._has_received:
                why = f"{self.name} closed the connection before it answered"
            elif self._reader.at_eof():
                why = f"{self.name} broke off its answer"
            else:
                why = f"what answers at {self.name} does not speak HTTP: {error}"
            raise NoApiAnswerError(why, begun=self._has_received) from None
        except OSError as error:  # ssl.SSLError is one
            raise NoApiAnswerError(
                self._describe_failure(error), begun=self._has_received
            ) from None
        return event

    def _describe_failure(self, error: OSError) -> str:
        why = getattr(error, "reason", None) or error.strerror or type(error).__name__
        return f"the connection to {self.name} broke: {why}"


def tune(writer: asyncio.StreamWriter) -> None:
    """Set the socket options that detect a dead peer (tcp(7)). asyncio has set TCP_NODELAY."""
    sock = writer.get_extra_info("socket")
    if sock is None:
        return
    with suppress(OSError, AttributeError):  # some systems lack some of these options
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
        # Keepalive works only if no sent data is unacknowledged; this works if some is.
        sock.setsockopt(
            socket.IPPROTO_TCP,
            socket.TCP_USER_TIMEOUT,
            1000 * (KEEPALIVE_IDLE_S + KEEPALIVE_INTERVAL_S * KEEPALIVE_PROBES),
        )
