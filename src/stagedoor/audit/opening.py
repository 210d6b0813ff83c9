"""Logins that wait for the audit, the limit on their wait, and the ids of their sessions."""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto

from stagedoor.audit.words import make_opened_event, make_resumed_event
from stagedoor.model.denial import Denial
from stagedoor.model.event import Event
from stagedoor.model.session import OpenedSession, ResumedSession


class OpeningState(Enum):
    """The states of an opening."""

    QUEUED = auto()
    WRITING = auto()
    DURABLE = auto()
    VOID = auto()
    """Refused. If it may still have been written, its close is queued."""


@dataclass(slots=True, eq=False)
class Opening:
    """A session to open, and the answer that its login waits for."""

    opened: OpenedSession
    answer: asyncio.Future[OpenedSession | Denial]
    state: OpeningState = OpeningState.QUEUED
    why_abandoned: str = ""
    """Why the login no longer waits for its answer; empty while it waits."""
    earlier: ResumedSession | None = None
    """The session that continues, None for a new one."""


def make_opening_events(openings: Iterable[Opening], instance: str, now: float) -> list[Event]:
    """Return the events of sessions that open, then those of sessions that continue."""
    opened, resumed = [], []
    for opening in openings:
        if opening.earlier is None:
            opened.append(make_opened_event(opening.opened, instance))
        else:
            resumed.append(make_resumed_event(opening.opened, opening.earlier, instance, now))
    return opened + resumed


class AwaitedOpenings:
    """The openings whose logins wait, `limit_s` seconds at most. Belongs to one event loop.

    One timer serves all of them, which costs less than a timer for each. `on_late` is
    called with an opening that was not answered in time, and with why.
    """

    def __init__(self, limit_s: float, on_late: Callable[[Opening, str], None]) -> None:
        self._limit_s = limit_s
        self._on_late = on_late
        self._awaited: deque[tuple[float, Opening]] = deque()
        """Each with its end, by the loop's time; the earliest first."""
        self._timer: asyncio.TimerHandle | None = None

    def add(self, opening: Opening) -> None:
        """Wait for the answer of a new opening."""
        while self._awaited and self._awaited[0][1].answer.done():
            self._awaited.popleft()
        loop = opening.answer.get_loop()
        self._awaited.append((loop.time() + self._limit_s, opening))
        if self._timer is None:
            self._set_timer(loop)

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_at(self._awaited[0][0], self._expire, loop)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        while self._awaited and self._awaited[0][0] <= loop.time():
            _, opening = self._awaited.popleft()
            if not opening.answer.done():
                self._on_late(opening, f"the disk did not answer within {self._limit_s:g} s")
        if self._awaited:
            self._set_timer(loop)


def answer_all(openings: Iterable[Opening], denial: Denial | None = None) -> list[Opening]:
    """Give each login its session, or `denial`. Return the openings whose event loop is closed.

    For the writer's thread: an event loop gets all its answers in one call.
    """
    by_loop: dict[asyncio.AbstractEventLoop, list[Opening]] = {}
    for opening in openings:
        by_loop.setdefault(opening.answer.get_loop(), []).append(opening)
    unanswered = []
    for loop, its_openings in by_loop.items():
        try:
            loop.call_soon_threadsafe(_deliver, its_openings, denial)
        except RuntimeError:  # the loop was closed
            unanswered += its_openings
    return unanswered


def _deliver(openings: list[Opening], denial: Denial | None) -> None:
    for opening in openings:
        if not opening.answer.done():
            opening.answer.set_result(denial or opening.opened)


def make_session_id(now: float) -> str:
    """Return a session id of 26 hexadecimal digits: 44 bits of milliseconds since the epoch, 60 random bits.

    Ids of different milliseconds sort by time (until the year 2527). An id is no credential; it
    is random so that others' sessions cannot be found by counting.
    """
    return f"{make_first_id(now)}{int.from_bytes(os.urandom(8)) >> 4:015x}"


def make_first_id(at: float) -> str:
    """Return the smallest id of a session of a millisecond: the ids of all later sessions sort after it."""
    return f"{int(at * 1000) & 0xFFF_FFFF_FFFF:011x}"
