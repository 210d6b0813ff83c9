"""Who else is at a terminal, and what is shared: what the WebShell asks for, and the marks it sets."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity
from stagedoor.model.presence import Present
from stagedoor.model.share import Share
from stagedoor.model.target import Target

LOOK_S = 1.0
"""How often it is asked who is there, while anybody is at a terminal here: one query of few rows."""


class Presence(Protocol):
    """A store that fails is a Denial."""

    async def arrive(
        self, session: str, target: Target, terminal: str, *, looks: bool, share: str | None
    ) -> Denial | None:
        """Write down who is where, so that every worker can tell those whom it concerns.

        Of reason OVERLOADED: too many are there (`places`), and it is not written down.
        """
        ...

    async def leave(self, session: str) -> None: ...

    async def present(
        self, *, looks: bool | None = None, targets: Collection[str] | None = None
    ) -> Sequence[Present] | Denial:
        """Everybody, or only those who look or type, or who are at terminals of these targets."""
        ...

    async def share(
        self, identity: Identity, target: Target, terminal: str, lasts_s: float, *, typing: bool
    ) -> tuple[Share, str] | Denial:
        """A new share, and its secret, which is nowhere kept."""
        ...

    async def end_share(self, identity: Identity, share_id: str) -> Denial | None:
        """End one of his."""
        ...

    def shares(self, identity: Identity) -> Sequence[Share]:
        """His that last, by the policy as it is now."""
        ...

    def find_share(self, secret: str) -> Share | None:
        """The share with this secret, by the policy as it is now."""
        ...

    def may_watch(self, identity: Identity) -> bool:
        """Whether any rule of watching names him."""
        ...


class Watched(Protocol):
    """A terminal that somebody is at here."""

    @property
    def place(self) -> tuple[str, str, str] | None:
        """Session, target and terminal; None until he is in."""
        ...

    def present(self, present: Sequence[Present]) -> None:
        """These are at this terminal now. Told again and again."""
        ...


@dataclass(slots=True)
class WatchNotifier:
    """Tells everybody at a terminal who else is there, wherever those are. Belongs to one event loop."""

    presence: Presence
    visits: Callable[[], Iterable[Watched]]
    _looking: asyncio.Task[None] | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def look(self) -> None:
        """Somebody has come or gone here: look at once, and on, for as long as anybody is here."""
        self._news.set()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while visits := list(self.visits()):
            self._news.clear()
            targets = {visit.place[1] for visit in visits if visit.place is not None}
            found = await self.presence.present(targets=targets)
            if not isinstance(found, Denial):
                for visit in visits:
                    if visit.place is not None:
                        _, *place = visit.place
                        visit.present(
                            [each for each in found if [each.target, each.terminal] == place]
                        )
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._news.wait()
