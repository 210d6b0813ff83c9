"""What is left of a tunnel whose upstream refused: the downstream, and time for it to read why."""

from collections import deque

from stagedoor.relay.tunnel import Tunnel
from stagedoor.wire.ssh_preface import PARTING_S


class RefusedTunnels(deque[tuple[float, Tunnel]]):
    """Tunnels whose upstream refused, each behind the instant until which it stays; the earliest first.

    Instants are monotonic seconds. A deque itself, since the relay asks at each turn whether it is empty.
    """

    def add(self, tunnel: Tunnel, now: float) -> None:
        self.append((now + PARTING_S, tunnel))

    def wait_s(self, now: float) -> float:
        """How long the first one still has."""
        return max(0.0, self[0][0] - now)

    def due(self, now: float) -> list[Tunnel]:
        """Those whose time is over, which are forgotten."""
        found = []
        while self and self[0][0] <= now:
            found.append(self.popleft()[1])
        return found


class ClosedStream:
    """In the place of an upstream that has gone: takes everything, and has nothing to say."""

    spliceable = False

    def fileno(self) -> int:
        return -1

    def recv(self, limit: int) -> bytes | None:
        return b""

    def send(self, data: bytes | memoryview) -> int:
        return len(data)

    def flush(self) -> bool:
        return True

    def shutdown_write(self) -> None:
        return

    def error(self) -> int:
        return 0

    def abort(self) -> None:
        return

    def close(self) -> None:
        return
