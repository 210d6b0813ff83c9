"""A worker's requests to one endpoint, and its answers: the messages of `messages`, over any connection."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.session import Counts, ResumedSession
from stagedoor.relay.ports import Stream
from stagedoor.resume.messages import LOST, MAX_NOTE_CHARS
from stagedoor.wire.oneline import to_one_line
from stagedoor.wire.tunnel.frames import MAX_END_BYTES, MAX_NUMBER, TICKET_BYTES

ANSWER_TIMEOUT_S = 5.0
_UNDO = {"open": "end {} the gateway no longer waits", "adopt": "leave {}"}
"""The messages that undo a request without an answer. Otherwise no worker might judge the session."""
_ENDED = "the endpoint of resumable tunnels has ended"


class Watcher(Protocol):
    """A worker's observer of a session's end. Called in the event loop."""

    def note_move(self) -> None:
        """Record that another connection or worker has the session now."""
        ...

    def note_end(self, code: int, why: str, counts: Counts | None) -> None:
        """Record that the session has ended.

        `counts` are its bytes. They are None if the endpoint has ended too, or if it runs in a shell, whose
        counts are not trusted.
        """
        ...


class Control(Protocol):
    """A worker's connection to an endpoint, for the sessions that it has there."""

    async def connect_data(self, ticket: bytes) -> Stream:
        """Return a connection to the session of a ticket. Raises OSError."""
        ...

    def end(self, number: int, why: str) -> None:
        """End a session, with the reason for its client."""
        ...

    def set_limit(self, number: int, away_limit_s: float) -> None:
        """Change how long a session waits for its client."""
        ...

    def forget(self, number: int) -> None:
        """Forget a session; its messages are ignored."""
        ...


@dataclass(frozen=True, slots=True)
class StreamTicket:
    """A ticket for one connection to a session, with the worker's number for it and its state so far.

    `stream` is that connection, if it was already made to check that it can be.
    """

    control: Control
    number: int
    earlier: ResumedSession
    secret: bytes = field(repr=False)
    stream: Stream | None = None


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """A session for an endpoint: its id, its owner, the note for a worker that adopts it, and a limit.

    `away_limit_s` is how long it waits for its client; `note` and `owner` are as in `messages`.
    """

    id: str
    owner: str
    note: str
    away_limit_s: float

    def make_words(self, key: str, idle_s: float | None) -> str:
        """Return the words of `open` after NUMBER. A note that is too long is left out."""
        note = self.note if len(self.note) <= MAX_NOTE_CHARS else "-"
        return f"{key} {self.id} {self.away_limit_s:g} {idle_s or 0:g} {note} {self.owner}"


@dataclass(frozen=True, slots=True)
class Orphan:
    """A session whose worker has ended and whose client is away. `note` and `owner` are as in `messages`."""

    earlier: ResumedSession
    note: str
    owner: str


@dataclass(eq=False, slots=True)
class _Request:
    watcher: Watcher
    answer: asyncio.Future[str] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Requests:
    """The requests of a worker on one connection to an endpoint. Belongs to one event loop.

    If `is_own`, the endpoint is the gateway's, and its counts of bytes can be trusted. In a shell, a
    developer can forge them.
    """

    def __init__(self, *, is_own: bool = False) -> None:
        self.is_own = is_own
        self.on_orphan: Callable[[Orphan], None] | None = None
        self._numbers = count(1)
        self._requests: dict[int, _Request] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def __contains__(self, number: int) -> bool:
        return number in self._requests

    async def ask(
        self, send: Callable[[str], None], word: str, what: str, watcher: Watcher
    ) -> tuple[int, str]:
        """Send a request, and return its number and the answer. After `gone` the number is forgotten.

        Raises OSError if the endpoint does not answer. Without an answer, the request is undone.
        """
        number = next(self._numbers)
        request = self._requests[number] = _Request(watcher)
        try:
            send(f"{word} {number} {what}")
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                answer = await request.answer
        except BaseException:
            self.forget(number)
            if word in _UNDO:
                with suppress(OSError):
                    send(_UNDO[word].format(number))
            raise
        if answer.startswith("gone"):
            self.forget(number)
        return number, answer

    def forget(self, number: int) -> None:
        """Forget a session; its messages are ignored."""
        self._requests.pop(number, None)

    def take(self, line: str) -> None:
        """Process a message from the endpoint. Raises ValueError if it is invalid."""
        word, _, rest = line.partition(" ")
        if word == "orphan" and self.is_own:
            session, sent, received, away_s, note, owner = rest.split(" ", 5)
            earlier = ResumedSession(
                session, _read_counts(sent, received), float(away_s), is_adopted=True
            )
            if self.on_orphan is not None:
                self.on_orphan(Orphan(earlier, note, owner))
            return
        digits, _, rest = rest.partition(" ")
        number = int(digits)
        request = self._requests.get(number)
        if request is None:
            return
        if word in ("ticket", "adopted", "gone"):
            if not request.answer.done():
                request.answer.set_result(f"{word} {rest}")
            return
        self.forget(number)
        if word == "moved":
            request.watcher.note_move()
        elif word == "over":
            code, sent, received, why = rest.split(" ", 3)
            counts = _read_counts(sent, received)
            why = to_one_line(why, MAX_END_BYTES)
            request.watcher.note_end(int(code), why, counts if self.is_own else None)
        else:
            raise ValueError(word)

    def read_ticket(self, control: Control, number: int, answer: str) -> StreamTicket | Denial:
        """Return the ticket in an answer. Raises ValueError if it is neither `ticket` nor `gone`."""
        kind, _, rest = answer.partition(" ")
        if kind == "gone":
            return Denial(Reason.SESSION_OVER, to_one_line(rest, MAX_END_BYTES))
        secret, session, sent, received, away_s = rest.split(" ")
        if kind != "ticket" or len(secret) != 2 * TICKET_BYTES:
            raise ValueError("no ticket")
        counts = _read_counts(sent, received)
        away = float(away_s)
        if not 0 <= away <= MAX_NUMBER:
            raise ValueError("no time")
        earlier = ResumedSession(session, counts if self.is_own else None, away)
        return StreamTicket(control, number, earlier, bytes.fromhex(secret))

    def fail_all(self) -> None:
        """Notify all watchers that the endpoint is lost."""
        requests, self._requests = self._requests, {}
        for request in requests.values():
            if request.answer.done():
                request.watcher.note_end(LOST, _ENDED, None)
            else:
                request.answer.set_exception(ConnectionResetError(_ENDED))


def _read_counts(sent: str, received: str) -> Counts:
    counts = Counts(int(sent), int(received))
    if not (0 <= counts.sent <= MAX_NUMBER and 0 <= counts.received <= MAX_NUMBER):
        raise ValueError("no count of bytes")
    return counts
