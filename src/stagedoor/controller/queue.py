"""A work queue, in which each key occurs once, however often it is added, with a due time. Pure."""

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

FIRST_RETRY_S = 0.2
LONGEST_RETRY_S = 60.0
"""A write that the cluster refuses (by a quota or an admission webhook) is repeated at most once a minute."""


class WorkQueue(Generic[Key]):
    """A queue of keys, each with the time at which it is due. Times are arguments, in monotonic seconds.

    A key that is being worked on is not handed out again. If it is added meanwhile, it becomes due once the
    work ends. The worker that takes a key calls `finish` or `retry`.
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
        """The keys being worked on that were forgiven since they were taken."""

    def __len__(self) -> int:
        """Return the number of keys that wait."""
        return len(self._due)

    def add(self, key: Key, at: float) -> None:
        """Make a key due at `at`, unless it is due sooner already.

        A key that waits for a retry keeps its time, since its own failure may have caused the change. Call
        `forgive` first if something else has changed.
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
        """Forget a key's failures after a real change, so that the next attempt is not delayed."""
        self._failures.pop(key, None)
        if key in self._working:
            self._forgiven.add(key)

    def take(self, now: float) -> Key | None:
        """Take the key that has been due longest, or return None if none is due."""
        while self._heap and self._heap[0][0] <= now:
            at, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == at:
                del self._due[key]
                self._working.add(key)
                self._forgiven.discard(key)
                return key
        return None

    def find_next_at(self) -> float | None:
        """Return when the next key is due; None if the queue is empty."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def finish(self, key: Key, recheck_at: float | None = None) -> None:
        """End the work on a key; it is due again at `recheck_at`, or when it is added."""
        self._failures.pop(key, None)
        self._free(key, recheck_at)

    def retry(self, key: Key, now: float) -> float:
        """End the work on a key that failed, and return when it is due again.

        Each failure in a row doubles the wait.
        """
        failures = 0 if key in self._forgiven else self._failures.get(key, 0)
        self._failures[key] = failures + 1
        at = now + min(self._first_retry_s * 2.0 ** min(failures, 60), self._longest_retry_s)
        # If the key was added meanwhile, it waits as well, since the same work would fail again.
        self._again.pop(key, None)
        self._free(key, at)
        return at

    def _free(self, key: Key, at: float | None) -> None:
        self._working.discard(key)
        added_at = self._again.pop(key, None)
        times = [time for time in (at, added_at) if time is not None]
        if times:
            self.add(key, min(times))
