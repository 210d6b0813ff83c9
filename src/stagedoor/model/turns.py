"""What is served next, and what has to go when too much waits? Pure.

Sources take turns, so that many passwords or connections from one do not hold up another. When there is no
room, the source with the most of them loses the one that came last.
"""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

Key = TypeVar("Key")


class Turns(Generic[Key]):
    """At most `room` keys wait, each for its source."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._waiting: OrderedDict[str, deque[Key]] = OrderedDict()
        """The source whose turn it is comes first; none is empty."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def come(self, key: Key, source: str) -> Key | None:
        """`key` waits from now on. Who has to go for it: None if nobody, `key` itself if no other source
        has more waiting than its own."""
        gone = None
        if self._count >= self._room:
            most = max(self._waiting, key=lambda one: len(self._waiting[one]), default=source)
            if len(self._waiting.get(most, ())) <= len(self._waiting.get(source, ())) + 1:
                return key
            gone = self._waiting[most].pop()
            self._count -= 1
        self._waiting.setdefault(source, deque()).append(key)
        self._count += 1
        return gone

    def next(self) -> Key | None:
        """Whose turn it is; None if nothing waits."""
        if not self._waiting:
            return None
        source, keys = self._waiting.popitem(last=False)
        key = keys.popleft()
        self._count -= 1
        if keys:
            self._waiting[source] = keys
        return key

    def go(self, key: Key, source: str) -> None:
        """`key` waits no longer. Harmless if it did not."""
        keys = self._waiting.get(source, deque())
        if key in keys:
            keys.remove(key)
            self._count -= 1
        if not keys:
            self._waiting.pop(source, None)
