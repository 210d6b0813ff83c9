"""The limit on a worker's connections that wait for a person."""

import math
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class WaitLimit:
    """The number of waiting connections per user or sign-in: at most `most_of_one` of each and `most` in all.

    Belongs to one event loop.
    """

    def __init__(self, most_of_one: int, most: float = math.inf) -> None:
        self._most_of_one = most_of_one
        self._most = most
        self._counts: Counter[Hashable] = Counter()

    @contextmanager
    def count(self, key: Hashable) -> Iterator[bool]:
        """Count a connection for the length of the block. Yield False if too many are waiting."""
        if self._counts[key] >= self._most_of_one or self._counts.total() >= self._most:
            yield False
            return
        self._counts[key] += 1
        try:
            yield True
        finally:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]
