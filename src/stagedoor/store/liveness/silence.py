"""Who of the processes that share a store is dead, judged by what one of them sees. Pure."""

from collections.abc import Mapping

BEAT_S = 5.0
"""How often a process shows that it lives."""

DEAD_AFTER_S = 60.0
"""A process that has shown nothing for so long is dead. Longer than a fail-over of the server or a stalled
disk takes, since the audit then says `lost` of sessions; those of the same machine are known to be
dead at once, by their lock file."""

BLIND_AFTER_S = 3 * BEAT_S
"""Who has not looked for so long forgets what it saw."""


class HeartbeatWatch:
    """Judges by its own clock how long each of the others has been silent.

    So machines need not agree on the time. And since only what was watched all the time counts,
    nobody is dead because the server, or the network, or the watcher itself was away: when a
    server comes back all have been silent, and each is given its time again.
    """

    def __init__(
        self, dead_after_s: float = DEAD_AFTER_S, blind_after_s: float = BLIND_AFTER_S
    ) -> None:
        self._dead_after_s = dead_after_s
        self._blind_after_s = blind_after_s
        self._seen: dict[str, tuple[int | None, float]] = {}
        self._looked_at: float | None = None

    def look(self, beats: Mapping[str, int | None], now: float) -> frozenset[str]:
        """Those who are dead, of all that there are and how often each has beaten.

        None stands for one that has not begun to. `now` is monotonic, in seconds.
        """
        blind = self._looked_at is None or now - self._looked_at > self._blind_after_s
        self._looked_at = now
        before = {} if blind else self._seen
        self._seen = {
            name: before[name] if name in before and before[name][0] == count else (count, now)
            for name, count in beats.items()
        }
        return frozenset(
            name for name, (_, since) in self._seen.items() if now - since >= self._dead_after_s
        )
