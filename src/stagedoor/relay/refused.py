"""The rest of a tunnel whose upstream refused: the downstream, and time for it to read why."""

from collections import deque

from stagedoor.relay.tunnel import Tunnel
from stagedoor.wire.ssh.preface import PARTING_S


class RefusedTunnels(deque[tuple[float, Tunnel]]):
    """Tunnels whose upstream refused, each behind the instant until which it stays; the earliest first.

    Instants are monotonic seconds. A deque itself, since the relay asks at each turn whether it is empty.
    """

    def add(self, tunnel: Tunnel, now: float) -> None:
        """Give a tunnel time for its last words to arrive."""
        self.append((now + PARTING_S, tunnel))

    def wait_s(self, now: float) -> float:
        """Return how many seconds the first one still has."""
        return max(0.0, self[0][0] - now)

    def due(self, now: float) -> list[Tunnel]:
        """Return the tunnels whose time is over, and forget them."""
        due = []
        while self and self[0][0] <= now:
            due.append(self.popleft()[1])
        return due


class ClosedStream:
    """In the place of an upstream that has gone: takes everything, and has nothing to say."""

    spliceable = False

    def fileno(self) -> int:
        """Return -1: there is no descriptor."""
        return -1

    def recv(self, limit: int) -> bytes | None:
        """Return the end of the stream."""
        return b""

    def send(self, data: bytes | memoryview) -> int:
        """Take all, and drop it."""
        return len(data)

    def flush(self) -> bool:
        """Return True: nothing is held back."""
        return True

    def shutdown_write(self) -> None:
        """Do nothing."""

    def error(self) -> int:
        """Return 0: there is no error."""
        return 0

    def abort(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
