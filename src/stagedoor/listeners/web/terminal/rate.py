"""A judgement of whether a client's connection is slow, by its acknowledgements of output. Pure."""

from collections import deque

from stagedoor.listeners.web.websocket import LEAST_BYTES

SLOW_S = 0.05
"""The slow connection's time to acknowledge, seconds.

With a window of 128 KiB that is at most 2.6 MB/s, and compressing it takes at most 7 % of a core.
"""
AGAIN_S = 10.0
"""How long a connection counts as slow after a slow acknowledgement, since compression speeds it up."""
MOST = 128
"""The number of remembered messages: as many large ones as a window has room for."""


class LineRate:
    """The rate of one client's connection. `now` is seconds of a monotonic clock.

    A connection counts as slow until its rate is known, since the first message is a whole screen.
    """

    def __init__(self) -> None:
        self._sent: deque[tuple[int, float]] = deque(maxlen=MOST)
        self._slow_until: float | None = None
        self.is_slow = True

    def sent(self, to: int, size: int, now: float) -> None:
        """Note that output up to the offset `to` was sent, in a message of `size` bytes."""
        if size >= LEAST_BYTES:
            self._sent.append((to, now))

    def acknowledged(self, to: int, now: float) -> None:
        """Note that the client has processed output up to the offset `to`."""
        took = None
        while self._sent and self._sent[0][0] <= to:
            took = now - self._sent.popleft()[1]
        if took is None:
            return
        if took > SLOW_S:
            self._slow_until = now + AGAIN_S
        self.is_slow = self._slow_until is not None and now < self._slow_until
