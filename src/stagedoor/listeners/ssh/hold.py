"""Which key of a client waits for its person to sign in: the last, once all others were refused.

A client asks for one key after the other (RFC 4252 §7) and does not tell how many it has. OpenSSH begins
again, with all its keys, after a failure that is a partial success (RFC 4252 §5.1), behind the key that had
it. So the first unknown key gets that; when it comes a second time, every other key has been refused, and
somebody with a key that is known has never been held for another.

A key that waits is a partial success too, once the client has proved that it holds it: what is left to do is
keyboard-interactive (RFC 4256). OpenSSH never goes on to that with BatchMode, so no program waits.

Pure, but for the count of those who wait.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from functools import partial

from stagedoor.model.fair_queue import FairQueue, Full, PendingLimits

LIMITS = PendingLimits(of_source=5, of_site=40, of_all=200)
"""In a worker, so that keys without end cannot fill it."""
CROWDED_OUT = (
    "more connections of your network than of any other wait for somebody to sign in, and all places are "
    "taken; connect again"
)
GiveWay = Callable[[], None]
"""Ends the connection of somebody who waits."""


class Answer(Enum):
    """To an unknown key."""

    REFUSE = auto()
    BEGIN_AGAIN = auto()
    """Refuse it so that the client offers all its keys again."""
    HOLD = auto()
    """It is the last: let the client prove that it holds the key, and wait."""


class UnknownKeys:
    """Those that one connection has offered."""

    def __init__(self) -> None:
        self._first: bytes | None = None

    def offered(self, key: bytes) -> Answer:
        """A plain key that logs nobody in, as a blob. Certificates are not for here: they are not bound."""
        if self._first is None:
            self._first = key
            return Answer.BEGIN_AGAIN
        return Answer.HOLD if key == self._first else Answer.REFUSE


class PendingLogins:
    """Who waits now, of all connections of a listener."""

    def __init__(self, limits: PendingLimits = LIMITS) -> None:
        self._limits = limits
        self._waiting: FairQueue[GiveWay] = FairQueue()

    def __len__(self) -> int:
        return len(self._waiting)

    def full(self, source: str) -> str | None:
        """Why no more may wait; `source` is a network."""
        full = self._room(source)
        if not isinstance(full, Full):
            return None
        return (
            f"{full.most} connections{full.where} wait for somebody to sign in, and no more may; "
            "finish one, or try again"
        )

    @contextmanager
    def one_more(self, source: str, give_way: GiveWay) -> Iterator[None]:
        """Counted while the block lasts, or until its place is another's: then `give_way` is called, and the
        block has to end."""
        fullest = self._room(source)
        if isinstance(fullest, str):
            newest = self._waiting.of_source(fullest)[-1]
            self._waiting.remove(newest)
            newest()
        place = partial(give_way)  # a key of its own: two may give way by the same call
        self._waiting.add(place, source)
        try:
            yield
        finally:
            self._waiting.remove(place)

    def _room(self, source: str) -> Full | str | None:
        return self._limits.room(self._waiting.counts(), source)
