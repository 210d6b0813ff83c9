"""Notices to a terminal's clients about who else is connected."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from stagedoor.admin.presence import PresenceService
from stagedoor.listeners.web.terminal.session import TerminalAddress, TerminalSession
from stagedoor.model.denial import Denial
from stagedoor.model.presence import PresenceEntry

QUERY_S = 1.0
"""How often the store is queried while a terminal is open here, in seconds. The query returns few rows."""
PAUSE_S = 0.1
"""The least time between two queries, in seconds, so that many clients that connect at once cause only a
few."""

_Present = Mapping[TerminalAddress, Sequence[PresenceEntry]]
"""The sessions at each terminal."""


def count_holders(sessions: Iterable[TerminalSession]) -> int:
    """Return the number of holders: each terminal has one, however many clients are connected to it."""
    return len({session.terminal for session in sessions if session.terminal is not None})


def group_by_terminal(entries: Iterable[PresenceEntry], before: _Present) -> _Present:
    """Return the entries of each terminal; if none has changed since `before`, the same object as there."""
    terminals: dict[TerminalAddress, list[PresenceEntry]] = {}
    for entry in entries:
        address = TerminalAddress(entry.target, entry.terminal)
        terminals.setdefault(address, []).append(entry)
    return {
        address: before[address] if before.get(address) == present else present
        for address, present in terminals.items()
    }


@dataclass(slots=True)
class PresencePoller:
    """The poller of the store, which reports who is at each terminal on any gateway.

    Belongs to one event loop. `sessions` returns this worker's sessions at terminals.
    """

    presence: PresenceService
    sessions: Callable[[], Iterable[TerminalSession]]
    _polling: asyncio.Task[None] | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def refresh(self) -> None:
        """Query now, since a session here began or ended, and then again while any is open here."""
        self._news.set()
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        present: _Present = {}
        while sessions := list(self.sessions()):
            self._news.clear()
            targets = {session.terminal.target for session in sessions if session.terminal}
            entries = await self.presence.list_present(targets=targets)
            if not isinstance(entries, Denial):
                present = group_by_terminal(entries, present)
                for session in sessions:
                    if session.terminal is not None:
                        session.notify_present(present.get(session.terminal, ()))
            await asyncio.sleep(PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(QUERY_S - PAUSE_S):
                    await self._news.wait()
