"""Deciding which processes that share a store are dead, from the heartbeats that one of them sees. Pure."""

from collections.abc import Mapping

BEAT_S = 5.0
"""The interval of a process's heartbeats."""

DEAD_AFTER_S = 60.0
"""The time without a heartbeat after which a process is dead. It is longer than a fail-over of the server or
a stalled disk takes, since the audit then has its sessions as `lost`. A dead process of the same machine is
detected at once by its lock file."""

BLIND_AFTER_S = 3 * BEAT_S
"""The time without a check after which a process forgets the heartbeats that it saw."""


class HeartbeatWatch:
    """Measures with its own clock how long each other process has been silent.

    So machines need not agree on the time. Only silence that was watched all the time counts, so no process
    is taken for dead because the server, the network or the watching process was unavailable: when a server
    comes back, all have been silent, and the time of each begins again.
    """

    def __init__(
        self, dead_after_s: float = DEAD_AFTER_S, blind_after_s: float = BLIND_AFTER_S
    ) -> None:
        self._dead_after_s = dead_after_s
        self._blind_after_s = blind_after_s
        self._seen: dict[str, tuple[int | None, float]] = {}
        self._checked_at: float | None = None

    def find_dead(self, beats: Mapping[str, int | None], now: float) -> frozenset[str]:
        """Return the dead processes. `beats` has the count of each process, None if it has not beaten yet.

        `now` is monotonic, in seconds.
        """
        blind = self._checked_at is None or now - self._checked_at > self._blind_after_s
        self._checked_at = now
        before = {} if blind else self._seen
        self._seen = {
            name: before[name] if name in before and before[name][0] == count else (count, now)
            for name, count in beats.items()
        }
        return frozenset(
            name for name, (_, since) in self._seen.items() if now - since >= self._dead_after_s
        )
