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

OF_SOURCE = 5
OF_ALL = 200
"""In a worker, so that whoever makes keys without end cannot fill it."""


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


class Holds:
    """Who waits now, of all connections of a listener."""

    def __init__(self, of_source: int = OF_SOURCE, of_all: int = OF_ALL) -> None:
        self._of_source = of_source
        self._of_all = of_all
        self._waiting: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._waiting.total()

    def full(self, source: str) -> str | None:
        """Why no more may wait; `source` is a network."""
        if self._waiting[source] >= self._of_source:
            return f"{self._of_source} connections from your address wait for somebody to sign in; finish one"
        if len(self) >= self._of_all:
            return f"{self._of_all} connections wait for somebody to sign in, and no more may; try again"
        return None

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
