"""Whether the line to a client is slow, by how long it takes to acknowledge output. Pure."""

from collections import deque

from stagedoor.listeners.web.websocket import LEAST_BYTES

SLOW_S = 0.05
"""With a window of 128 KiB this is 2.6 MB/s at most: of that, compressing takes 7 % of a core at most."""
AGAIN_S = 10.0
"""So long a line counts as slow, since what is compressed is acknowledged sooner."""
MOST = 128
"""Of messages that are remembered: as many large ones as a window has room for. A shell may send more."""


class LineRate:
    """Of one client. `now` is seconds of a clock that only goes forward. A line whose rate is not known
    yet counts as slow: the first thing that is sent is a whole screen."""

    def __init__(self) -> None:
        self._sent: deque[tuple[int, float]] = deque(maxlen=MOST)
        self._slow_until: float | None = None
        self.is_slow = True

    def sent(self, to: int, size: int, now: float) -> None:
        """Output up to this offset has gone out, in a message of so many bytes."""
        if size >= LEAST_BYTES:
            self._sent.append((to, now))

    def acknowledged(self, to: int, now: float) -> None:
        """The client has dealt with output up to this offset."""
        took = None
        while self._sent and self._sent[0][0] <= to:
            took = now - self._sent.popleft()[1]
        if took is None:
            return
        if took > SLOW_S:
            self._slow_until = now + AGAIN_S
        self.is_slow = self._slow_until is not None and now < self._slow_until
