"""The events that wait for the writer of the audit, and when they are due. Pure: time is an argument.

A client without a credential can be denied thousands of times a second. Such denials are only counted, and so
are all others once a source has used its share of the minute. The sums are written once a minute.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

from stagedoor.audit.opening import Opening, OpeningState, make_opening_events
from stagedoor.audit.words import make_closed_event, make_returned_event
from stagedoor.model.denial import Reason
from stagedoor.model.event import Event, EventKind
from stagedoor.model.session import AccessMethod, EndReason, SessionResult
from stagedoor.model.source import Address, find_source_network
from stagedoor.model.units import MINUTE_S

MAX_BATCH = 1000
"""The most logins in one transaction, so that the first of them need not wait for very many."""

MAX_DENIALS = 2000
"""The most denials that wait to be written; more are counted instead."""
COUNTED = frozenset(
    {
        Reason.BAD_REQUEST,
        Reason.HEADER_TOO_LARGE,
        Reason.HEADER_TIMEOUT,
        Reason.SOURCE_NOT_ALLOWED,
        Reason.CREDENTIAL_MISSING,
        Reason.THROTTLED,
        Reason.OVERLOADED,
        Reason.DRAINING,
    }
)
"""The reasons of refusals that cost the client nothing or answer a flood. They are never written one by
one."""

SOURCE_SHARE = 20
"""The denials of one source that are written one by one in a minute: as many as a person causes, not a
program."""

TOTAL_SHARE = 600
"""The denials of all sources that each worker writes one by one in a minute."""

MAX_SOURCES = 1024
"""The sources that are counted separately; further ones are summed up as `others`."""

OTHERS = "others"


@dataclass(slots=True)
class _Sum:
    count: int
    first_at: float
    last_at: float


class DenialCounts:
    """One minute's denials. Not for several threads at once."""

    def __init__(self) -> None:
        self._began_at: float | None = None
        self._written: Counter[str] = Counter()
        self._sums: dict[tuple[str, Reason, AccessMethod], _Sum] = {}
        self._sources: set[str] = set()

    def take_share(self, reason: Reason, address: Address, now: float) -> bool:
        """Return whether this denial gets an event of its own; if not, `count` it."""
        if reason in COUNTED or self._written.total() >= TOTAL_SHARE:
            return False
        source = find_source_network(address)
        if self._written[source] >= SOURCE_SHARE:
            return False
        self._begin(now)
        self._written[source] += 1
        return True

    def count(
        self, reason: Reason, access_method: AccessMethod, address: Address, now: float
    ) -> None:
        """Add one to the sums."""
        self._begin(now)
        source = find_source_network(address)
        if source not in self._sources:
            if len(self._sources) >= MAX_SOURCES:
                source = OTHERS
            else:
                self._sources.add(source)
        key = (source, reason, access_method)
        total = self._sums.setdefault(key, _Sum(0, now, now))
        total.count += 1
        total.last_at = now

    def find_due_at(self) -> float | None:
        """Return when to call `take`, or None if there is nothing to write or drop."""
        return None if self._began_at is None else self._began_at + MINUTE_S

    def take(self, now: float, instance: str) -> list[Event]:
        """Return the sums as events, and begin a new minute."""
        events = [
            Event(
                at=now,
                kind=EventKind.SESSION_DENIED,
                instance=instance,
                source=source,
                access_method=access_method,
                reason=reason,
                fields=MappingProxyType(
                    {"count": total.count, "first_at": total.first_at, "last_at": total.last_at}
                ),
            )
            for (source, reason, access_method), total in self._sums.items()
        ]
        self._began_at = None
        self._written.clear()
        self._sums.clear()
        self._sources.clear()
        return events

    def _begin(self, now: float) -> None:
        if self._began_at is None or now < self._began_at:  # the clock was set back
            self._began_at = now


@dataclass(frozen=True, slots=True)
class Batch:
    """Events for one transaction."""

    openings: list[Opening]
    session_events: list[Event]
    denials: list[Event]

    def list_events(self, instance: str, now: float) -> list[Event]:
        """Return all events, in the order in which they are written."""
        return (
            make_opening_events(self.openings, instance, now) + self.session_events + self.denials
        )


class PendingEvents:
    """Openings, events of sessions, denials and sums of denials that wait.

    The caller holds a lock around each call. `now` is seconds since the epoch; `due_at` is monotonic: when
    the group-commit delay of events of sessions and denials ends, infinite while there are none.
    """

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._openings: deque[Opening] = deque()
        self._session_events: deque[Event] = deque()
        self._denials: deque[Event] = deque()
        self._tally = DenialCounts()
        self.due_at = math.inf

    def __len__(self) -> int:
        """Return the number of waiting events; sums of denials that are not due count as one."""
        waiting = len(self._openings) + len(self._session_events) + len(self._denials)
        return waiting + (self._tally.find_due_at() is not None)

    def add_opening(self, opening: Opening) -> None:
        """Add a login that waits for its answer."""
        self._openings.append(opening)

    def add_session_event(self, event: Event) -> None:
        """Add an event of an open session. These events are never dropped, and stay in order."""
        self._session_events.append(event)

    def add_unreached(self, opening: Opening, now: float) -> None:
        """Add the close of a session that was written, or may have been, but was never entered.

        An earlier session continues without the login, and is returned to the process that had it.
        """
        opening.state = OpeningState.VOID
        why = opening.why_abandoned
        if opening.earlier is None:
            ended = SessionResult(EndReason.UNREACHED, detail=why)
            event = make_closed_event(opening.opened, ended, self._instance, now)
        else:
            event = make_returned_event(opening.opened, why, self._instance, now)
        self._session_events.append(event)

    def take_denial_share(self, reason: Reason, address: Address, now: float) -> bool:
        """Return whether this denial gets an event of its own (`add_denial`); if not, `count_denial`."""
        return len(self._denials) < MAX_DENIALS and self._tally.take_share(reason, address, now)

    def add_denial(self, event: Event) -> None:
        """Add a denial."""
        self._denials.append(event)

    def count_denial(
        self, reason: Reason, access_method: AccessMethod, address: Address, now: float
    ) -> bool:
        """Add one to the sums. Return whether it is the first, so that `wait_s` has changed."""
        is_first = self._tally.find_due_at() is None
        self._tally.count(reason, access_method, address, now)
        return is_first

    def wait_s(
        self, now: float, monotonic: float, *, flushing: bool, retry_at: float | None
    ) -> float | None:
        """Return the seconds until something is due, or None without events.

        `retry_at` is when to try again, monotonic, while the journal cannot be written.
        """
        if retry_at is not None:
            return retry_at - monotonic
        if self._openings or (flushing and len(self)):
            return 0.0
        tally_at = self._tally.find_due_at()
        wait_s = min(self.due_at - monotonic, math.inf if tally_at is None else tally_at - now)
        return None if wait_s == math.inf else wait_s

    def take(self, now: float, *, flushing: bool) -> Batch:
        """Return the events of the next transaction, with the sums if they are due or `flushing`."""
        openings: list[Opening] = []
        while self._openings and len(openings) < MAX_BATCH:
            opening = self._openings.popleft()
            if opening.state is OpeningState.QUEUED:  # the others no longer wait
                opening.state = OpeningState.WRITING
                openings.append(opening)
        tally_at = self._tally.find_due_at()
        if tally_at is not None and (flushing or now >= tally_at):
            self._denials.extend(self._tally.take(now, self._instance))
        batch = Batch(openings, list(self._session_events), list(self._denials))
        self._session_events.clear()
        self._denials.clear()
        self.due_at = math.inf
        return batch

    def put_back(self, batch: Batch) -> None:
        """Keep the events of sessions and denials of a batch that could not be written, for the next one."""
        self._session_events.extendleft(reversed(batch.session_events))
        self._denials.extendleft(reversed(batch.denials))

    def drop_openings(self) -> Iterable[Opening]:
        """Remove all openings, and return them."""
        openings = list(self._openings)
        for opening in openings:
            opening.state = OpeningState.VOID
        self._openings.clear()
        return openings
