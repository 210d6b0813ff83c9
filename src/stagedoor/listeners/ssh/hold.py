"""Which key of a client waits for its person to sign in: the last, once all others were refused.

A client asks for one key after the other (RFC 4252 §7) and does not tell how many it has. OpenSSH begins
again, with all its keys, after a failure that is a partial success (RFC 4252 §5.1), behind the key that had
it. So the first unknown key gets that; when it comes a second time, every other key has been refused, and
somebody with a key that is known has never been held for another.

Pure, but for the count of those who wait.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto

from stagedoor.model.pending_limits import PendingLimits

LIMITS = PendingLimits(of_source=5, of_site=40, of_all=200)
"""In a worker, so that keys without end cannot fill it."""


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
        self._waiting: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._waiting.total()

    def full(self, source: str) -> str | None:
        """Why no more may wait; `source` is a network."""
        full = self._limits.full(self._waiting, source)
        if full is None:
            return None
        return (
            f"{full.most} connections{full.where} wait for somebody to sign in, and no more may; "
            "finish one, or try again"
        )

    @contextmanager
    def one_more(self, source: str) -> Iterator[None]:
        """Counted while the block lasts."""
        self._waiting[source] += 1
        try:
            yield
        finally:
            self._waiting[source] -= 1
            if not self._waiting[source]:
                del self._waiting[source]
