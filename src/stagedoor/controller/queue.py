"""Which keys are to be looked at, and when: each once, however often it was named. Pure."""

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

FIRST_RETRY_S = 0.2
LONGEST_RETRY_S = 60.0
"""A cluster that refuses (a quota, an admission webhook) is asked once a minute at most."""


class WorkQueue(Generic[Key]):
    """Keys with the time at which they are due; time is an argument, in monotonic seconds.

    A key that is being worked on is not handed out again; if it is named meanwhile, it is due once
    more afterwards. The taker of a key says `done` or `failed`.
    """

    def __init__(
        self, first_retry_s: float = FIRST_RETRY_S, longest_retry_s: float = LONGEST_RETRY_S
    ) -> None:
        self._first_retry_s = first_retry_s
        self._longest_retry_s = longest_retry_s
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._count = 0
        self._working: set[Key] = set()
        self._again: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._forgiven: set[Key] = set()
        """Of those that are worked on: something has changed since they were taken."""

    def __len__(self) -> int:
        """How many keys wait."""
        return len(self._due)

    def add(self, key: Key, at: float) -> None:
        """The key is due at `at`, or sooner if it was so already.

        One that waits to be tried again is not hurried: what names it may be the trace of its own
        failure. `forgive` it first where something has really changed.
        """
        if key in self._working:
            self._again[key] = min(at, self._again.get(key, at))
        elif key in self._failures and key in self._due:
            return
        elif key not in self._due or at < self._due[key]:
            self._due[key] = at
            self._count += 1
            heapq.heappush(self._heap, (at, self._count, key))

    def forgive(self, key: Key) -> None:
        """Forget earlier failures: something has changed, so the next try is not put off."""
        self._failures.pop(key, None)
        if key in self._working:
            self._forgiven.add(key)

    def take(self, now: float) -> Key | None:
        """The key that has been due longest, None if none is."""
        while self._heap and self._heap[0][0] <= now:
            at, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == at:
                del self._due[key]
                self._working.add(key)
                self._forgiven.discard(key)
                return key
        return None

    def next_at(self) -> float | None:
        """When the next key will be due; None if nothing waits."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def done(self, key: Key, again_at: float | None = None) -> None:
        """It was looked at; `again_at` is when it should be without being named."""
        self._failures.pop(key, None)
        self._free(key, again_at)

    def failed(self, key: Key, now: float) -> float:
        """It could not be seen to; when it is tried again. Each further failure doubles the wait."""
        failures = 0 if key in self._forgiven else self._failures.get(key, 0)
        self._failures[key] = failures + 1
        at = now + min(self._first_retry_s * 2.0 ** min(failures, 60), self._longest_retry_s)
        # What was named meanwhile waits as well: it is the same that fails.
        self._again.pop(key, None)
        self._free(key, at)
        return at

    def failures(self, key: Key) -> int:
        """Failures in a row."""
        return self._failures.get(key, 0)

    def _free(self, key: Key, at: float | None) -> None:
        self._working.discard(key)
        named = self._again.pop(key, None)
        times = [time for time in (at, named) if time is not None]
        if times:
            self.add(key, min(times))
