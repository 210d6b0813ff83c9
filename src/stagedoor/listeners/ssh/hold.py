"""The choice of the unknown key that waits for its user to sign in.

A client offers its keys one after the other (RFC 4252 §7), and does not announce how many it has. The key
that waits must be the last one, when all others were refused. After a failure that is a partial success
(RFC 4252 §5.1), OpenSSH offers all its keys again, starting after the key that got it. So the first unknown
key gets a partial success. When it is offered a second time, every other key has been refused. That way, a
client with a known key never waits for an unknown one.

The key that waits gets a partial success too, once the client has proved that it holds it: then
keyboard-interactive is left (RFC 4256). With BatchMode, OpenSSH does not try that, so no program waits.

Pure, but for the count of waiting logins.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from functools import partial

from stagedoor.model.fair_queue import FairQueue, Full, PendingLimits

LIMITS = PendingLimits(of_source=5, of_site=40, of_all=200)
"""The limits of a worker, so that endless keys cannot fill it."""
CROWDED_OUT = (
    "more connections of your network than of any other wait for somebody to sign in, and all places are "
    "taken; connect again"
)
GiveWay = Callable[[], None]
"""Ends the connection of a waiting login."""


class Answer(Enum):
    """The answer to an unknown key."""

    REFUSE = auto()
    BEGIN_AGAIN = auto()
    """Refuse it so that the client offers all its keys again."""
    HOLD = auto()
    """It is the last key: let the client prove that it holds it, and wait."""


class UnknownKeys:
    """The unknown keys that one connection has offered."""

    def __init__(self) -> None:
        self._first: bytes | None = None

    def answer(self, key: bytes) -> Answer:
        """Return the answer to an unknown plain key, a blob.

        Certificates cannot be bound, so they never wait.
        """
        if self._first is None:
            self._first = key
            return Answer.BEGIN_AGAIN
        return Answer.HOLD if key == self._first else Answer.REFUSE


class PendingLogins:
    """The waiting logins of all connections of a listener."""

    def __init__(self, limits: PendingLimits = LIMITS) -> None:
        self._limits = limits
        self._waiting: FairQueue[GiveWay] = FairQueue()

    def __len__(self) -> int:
        return len(self._waiting)

    def why_full(self, source: str) -> str | None:
        """Return why no more logins from the network `source` may wait, or None if one may."""
        full = self._room(source)
        if not isinstance(full, Full):
            return None
        return (
            f"{full.most} connections{full.where} wait for somebody to sign in, and no more may; "
            "finish one, or try again"
        )

    @contextmanager
    def take_place(self, source: str, give_way: GiveWay) -> Iterator[None]:
        """Count a waiting login while the block lasts.

        If another login takes its place, `give_way` is called, and the block must end.
        """
        fullest = self._room(source)
        if isinstance(fullest, str):
            newest = self._waiting.of_source(fullest)[-1]
            self._waiting.remove(newest)
            newest()
        place = partial(give_way)  # a distinct key, since two logins may have the same `give_way`
        self._waiting.add(place, source)
        try:
            yield
        finally:
            self._waiting.remove(place)

    def _room(self, source: str) -> Full | str | None:
        return self._limits.room(self._waiting.counts(), source)
