"""Tells those at a terminal who else is there."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from stagedoor.admin.terminals.presence import PresenceService
from stagedoor.model.denial import Denial
from stagedoor.model.presence import PresenceEntry

LOOK_S = 1.0
"""How often it is asked who is there, while anybody is at a terminal here: one query of few rows."""
PAUSE_S = 0.1
"""At least, between two looks: of a crowd that comes at once, each would have all looked for."""

_Present = Mapping[tuple[str, str], Sequence[PresenceEntry]]
"""Who is there, by target and terminal."""


class Watched(Protocol):
    """A terminal that somebody is at here."""

    @property
    def place(self) -> tuple[str, str, str] | None:
        """Session, target and terminal; None until admitted."""
        ...

    def present(self, present: Sequence[PresenceEntry]) -> None:
        """These are at this terminal now. Told again and again, with the same object if they are the same."""
        ...


def count_holders(visits: Iterable[Watched]) -> int:
    """Each terminal of a shell has a holder of its own, however many are at it."""
    return len({visit.place[1:] for visit in visits if visit.place is not None})


def by_place(found: Iterable[PresenceEntry], before: _Present) -> _Present:
    """Those at each terminal; where nothing has changed since `before`, the very same object."""
    places: dict[tuple[str, str], list[PresenceEntry]] = {}
    for each in found:
        places.setdefault((each.target, each.terminal), []).append(each)
    return {
        place: before[place] if before.get(place) == present else present
        for place, present in places.items()
    }


@dataclass(slots=True)
class WatchNotifier:
    """Tells everybody at a terminal who else is there, wherever those are. Belongs to one event loop."""

    presence: PresenceService
    visits: Callable[[], Iterable[Watched]]
    _looking: asyncio.Task[None] | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def look(self) -> None:
        """Somebody has come or gone here: look at once, and on, for as long as anybody is here."""
        self._news.set()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        present: _Present = {}
        while visits := list(self.visits()):
            self._news.clear()
            targets = {visit.place[1] for visit in visits if visit.place is not None}
            found = await self.presence.list_present(targets=targets)
            if not isinstance(found, Denial):
                present = by_place(found, present)
                for visit in visits:
                    if visit.place is not None:
                        visit.present(present.get(visit.place[1:], ()))
            await asyncio.sleep(PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S - PAUSE_S):
                    await self._news.wait()
