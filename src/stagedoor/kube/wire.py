"""One connection to the API, with h11's account of what may come next on it."""

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
"""A peer or a network that is gone is noticed after 30 s of silence, as client-go's HTTP/2 pings do."""


class NoAnswerError(Exception):
    """No whole answer came. `str` is a sentence; `begun` says whether a part of it came."""

    def __init__(self, why: str, *, begun: bool = False) -> None:
        super().__init__(why)
        self.begun = begun


class ReadTimeoutError(NoAnswerError):
    """Nothing came for as long as was waited for; the connection may be well."""


@dataclass(frozen=True, slots=True)
class Head:
    """The first part of an answer."""

    status: int
    content_type: str
    retry_after: str | None


class Wire:
    """An open connection: one exchange at a time."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str
    ) -> None:
        self.name = name
        self.idle_since = 0.0
        self._heard = False
        """Whether a byte has come since the last request."""
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT_BYTES)

    def usable(self) -> bool:
        """Whether nothing has come since the last answer, its end included."""
        return not self._reader.at_eof() and not self._writer.is_closing()

    def start_next_cycle(self) -> bool:
        """After a whole answer: whether another request may follow on this connection."""
        left_over, _ = self._http.trailing_data
        if left_over or {self._http.our_state, self._http.their_state} != {h11.DONE}:
            return False
        self._http.start_next_cycle()
        return True

    async def send(self, head: h11.Request, body: bytes) -> Head:
        """Send a request; return the head of the answer. Raises NoAnswerError."""
        self._heard = False
        try:
            data = self._http.send(head) or b""
            if body:
                data += self._http.send(h11.Data(body)) or b""
            data += self._http.send(h11.EndOfMessage()) or b""
            self._writer.write(data)
            await self._writer.drain()
        except h11.LocalProtocolError as error:
            raise NoAnswerError(f"the request cannot be sent: {error}") from None
        except OSError as error:
            raise NoAnswerError(self._broke(error)) from None
        while True:
            event = await self._next()
            if isinstance(event, h11.InformationalResponse):
                continue
            if not isinstance(event, h11.Response):
                raise NoAnswerError(f"{self.name} broke off its answer", begun=True)
            headers = dict(event.headers)
            return Head(
                event.status_code,
                headers.get(b"content-type", b"").decode("ascii", "replace").lower(),
                _text(headers.get(b"retry-after")),
            )

    async def read(self) -> bytes:
        """The next part of the body, b"" at its end. Raises NoAnswerError."""
        while True:
            event = await self._next()
            if isinstance(event, h11.Data):
                if event.data:
                    return bytes(event.data)
                continue
            if isinstance(event, h11.EndOfMessage):
                return b""
            raise NoAnswerError(f"{self.name} broke off its answer", begun=True)

    def abort(self) -> None:
        """Close at once: nothing that is still to be sent matters."""
        with suppress(OSError, RuntimeError):
            self._writer.transport.abort()

    async def _next(self) -> object:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                data = await self._reader.read(CHUNK_BYTES)
                self._heard = self._heard or bool(data)
                self._http.receive_data(data)
        except h11.RemoteProtocolError as error:
            if not self._heard:
                why = f"{self.name} closed the connection before it answered"
            elif self._reader.at_eof():
                why = f"{self.name} broke off its answer"
            else:
                why = f"what answers at {self.name} does not speak HTTP: {error}"
            raise NoAnswerError(why, begun=self._heard) from None
        except OSError as error:  # ssl.SSLError is one
            raise NoAnswerError(self._broke(error), begun=self._heard) from None
        return event

    def _broke(self, error: OSError) -> str:
        why = getattr(error, "reason", None) or error.strerror or type(error).__name__
        return f"the connection to {self.name} broke: {why}"


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("ascii", "replace")


def tune(writer: asyncio.StreamWriter) -> None:
    """Notice a dead peer (tcp(7)). asyncio has set TCP_NODELAY."""
    sock = writer.get_extra_info("socket")
    if sock is None:
        return
    with suppress(OSError, AttributeError):  # not every system has them all
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
        # Keepalive counts only while nothing is on the way; this counts while something is.
        sock.setsockopt(
            socket.IPPROTO_TCP,
            socket.TCP_USER_TIMEOUT,
            1000 * (KEEPALIVE_IDLE_S + KEEPALIVE_INTERVAL_S * KEEPALIVE_PROBES),
        )
