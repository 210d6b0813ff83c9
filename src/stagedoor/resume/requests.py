"""What a worker asks of one endpoint, and what that says: the messages of `messages`, over any connection."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from stagedoor.model.denial import Denial, Reason
from stagedoor.relay.ports import Stream
from stagedoor.resume.messages import LOST
from stagedoor.wire.oneline import one_line
from stagedoor.wire.tunnel.frames import MAX_END_BYTES, TICKET_BYTES

ANSWER_TIMEOUT_S = 5.0
_ENDED = "the endpoint of resumable tunnels has ended"


class Watcher(Protocol):
    """A worker's session, which hears how its connection to the endpoint ends. Called in the event loop."""

    def moved(self) -> None:
        """Record that the client has come back over another connection."""
        ...

    def over(self, code: int, why: str) -> None:
        """Record that the tunnel has ended."""
        ...


class Control(Protocol):
    """A worker's connection to an endpoint, for the sessions that it has entered there."""

    def end(self, number: int, why: str) -> None:
        """End a session, with the reason for its client."""
        ...

    def forget(self, number: int) -> None:
        """Hear no more of a connection."""
        ...


@dataclass(frozen=True, slots=True)
class EndpointTunnel:
    """A tunnel that an endpoint keeps: its control, its connection's number there, and a stream to it."""

    control: Control
    number: int
    stream: Stream


@dataclass(eq=False, slots=True)
class _Request:
    watcher: Watcher
    answer: asyncio.Future[str] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Requests:
    """The requests of a worker on one connection to an endpoint. Belongs to one event loop."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._requests: dict[int, _Request] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def __contains__(self, number: int) -> bool:
        return number in self._requests

    async def ask(
        self, send: Callable[[str], None], word: str, what: str, watcher: Watcher
    ) -> tuple[int, bytes] | Denial:
        """Ask to open a session (`open`), or to return to one (`back`).

        Return the number of the session's connection, and its ticket. The denial says that there is no such
        session. Raises OSError if the endpoint does not answer.
        """
        number = next(self._numbers)
        request = self._requests[number] = _Request(watcher)
        try:
            send(f"{word} {number} {what}")
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                kind, _, rest = (await request.answer).partition(" ")
            if kind == "ticket":
                ticket = bytes.fromhex(rest)
                if len(ticket) == TICKET_BYTES:
                    return number, ticket
            self.forget(number)
            return Denial(Reason.SESSION_OVER, one_line(rest, MAX_END_BYTES))
        except BaseException:
            self.forget(number)
            raise

    def forget(self, number: int) -> None:
        """Hear no more of a connection."""
        self._requests.pop(number, None)

    def heard(self, line: str) -> None:
        """Take a message of the endpoint. Raises ValueError for none."""
        word, _, rest = line.partition(" ")
        digits, _, rest = rest.partition(" ")
        number = int(digits)
        request = self._requests.get(number)
        if request is None:
            return
        if word in ("ticket", "gone"):
            if not request.answer.done():
                request.answer.set_result(f"{word} {rest}")
        elif word == "moved":
            self.forget(number)
            request.watcher.moved()
        elif word == "over":
            code, _, why = rest.partition(" ")
            self.forget(number)
            request.watcher.over(int(code), one_line(why, MAX_END_BYTES))
        else:
            raise ValueError(word)

    def report_loss(self) -> None:
        """Notify all watchers that the connection is lost."""
        requests, self._requests = self._requests, {}
        for request in requests.values():
            if request.answer.done():
                request.watcher.over(LOST, _ENDED)
            else:
                request.answer.set_exception(ConnectionResetError(_ENDED))
