"""Keeps a flood of denials from filling the disk: which are written one by one, which counted.

A client without a credential can be denied thousands of times a second. Such denials are only
counted, and so are all others once a source has had its share of the minute; the sums are written
once a minute. Pure: time is an argument.
"""

from collections import Counter
from dataclasses import dataclass
from types import MappingProxyType

from stagedoor.model.denial import Reason
from stagedoor.model.event import Event, EventKind
from stagedoor.model.session import AccessMethod
from stagedoor.model.source import Address, find_source_network
from stagedoor.model.units import MINUTE_S

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
"""Costs the sender nothing, or is the answer to a flood: never written one by one."""

SOURCE_SHARE = 20
"""Denials of one source written one by one in a minute: a person's tries, not a program's."""

TOTAL_SHARE = 600
"""Denials of all sources written one by one in a minute, by each worker."""

SOURCES = 1024
"""Sources counted apart; those beyond are summed up as `others`."""

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

    def admit(self, reason: Reason, address: Address, now: float) -> bool:
        """Return whether this denial gets an event of its own; if not, `count` it."""
        if reason in COUNTED or self._written.total() >= TOTAL_SHARE:
            return False
        source = find_source_network(address)
        if self._written[source] >= SOURCE_SHARE:
            return False
        self._begin(now)
        self._written[source] += 1
        return True

    def count(self, reason: Reason, way: AccessMethod, address: Address, now: float) -> None:
        """Add one to the sums."""
        self._begin(now)
        source = find_source_network(address)
        if source not in self._sources:
            if len(self._sources) >= SOURCES:
                source = OTHERS
            else:
                self._sources.add(source)
        key = (source, reason, way)
        if (one := self._sums.get(key)) is None:
            self._sums[key] = _Sum(1, now, now)
        else:
            one.count += 1
            one.last_at = now

    def due_at(self) -> float | None:
        """Return when to call `take`; None while there is nothing to take or forget."""
        return None if self._began_at is None else self._began_at + MINUTE_S

    def take(self, now: float, instance: str) -> list[Event]:
        """Return the sums as events, and begin a new minute."""
        events = [
            Event(
                at=now,
                kind=EventKind.SESSION_DENIED,
                instance=instance,
                source=source,
                way=way,
                reason=reason,
                fields=MappingProxyType(
                    {"count": one.count, "first_at": one.first_at, "last_at": one.last_at}
                ),
            )
            for (source, reason, way), one in self._sums.items()
        ]
        self._began_at = None
        self._written.clear()
        self._sums.clear()
        self._sources.clear()
        return events

    def _begin(self, now: float) -> None:
        if self._began_at is None or now < self._began_at:  # the clock was set back
            self._began_at = now
