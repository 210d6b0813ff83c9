"""Which tunnels are idle: found by looking at all of them now and then, without a timer for each."""

from collections.abc import Iterable

from stagedoor.relay.tunnel import Tunnel

_LONGEST_S = 30.0


class IdleTimeouts:
    """A tunnel is idle when no byte was delivered either way for `timeout_s`; None: never.

    It is found within a quarter of that, or 30 s. Instants are monotonic seconds.
    """

    def __init__(self, timeout_s: float | None, now: float) -> None:
        self.timeout_s = timeout_s
        self._next = now

    def apply(self, timeout_s: float | None, now: float) -> None:
        """Take a new timeout, and look at once."""
        self.timeout_s = timeout_s
        self._next = now

    def wait_s(self, now: float) -> float:
        """Return the seconds until the next look, if there is a timeout."""
        return max(0.0, self._next - now)

    def due(self, now: float) -> bool:
        """Return whether it is time to look."""
        return now >= self._next

    def mark(self, tunnel: Tunnel, now: float) -> None:
        """Take up a tunnel, or one that moved."""
        tunnel.marked = tunnel.sent.moved + tunnel.received.moved
        tunnel.idle_since = now

    def idle(self, tunnels: Iterable[Tunnel], now: float) -> list[Tunnel]:
        """Return the idle ones among `tunnels`, and remember how far the others have come."""
        timeout_s = self.timeout_s
        if timeout_s is None:
            return []
        self._next = now + min(timeout_s / 4, _LONGEST_S)
        idle = []
        for tunnel in tunnels:
            if tunnel.sent.moved + tunnel.received.moved != tunnel.marked:
                self.mark(tunnel, now)
            elif now - tunnel.idle_since >= timeout_s:
                idle.append(tunnel)
        return idle
