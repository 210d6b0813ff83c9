"""Signals as a descriptor to poll beside others (signal(7), the self-pipe of poll(2))."""

from __future__ import annotations

import os
import signal
from contextlib import suppress


class Signals:
    """The signals that a process catches. `fd` is readable once one has come. Use it in the main thread."""

    def __init__(self) -> None:
        self.fd, self._wake = os.pipe()
        self._pending: set[int] = set()

    def start(self, *numbers: int) -> None:
        """Begin to catch signals, these first."""
        os.set_blocking(self.fd, False)
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        self.catch(*numbers)

    def catch(self, *numbers: int) -> None:
        """Catch these signals too."""
        for number in numbers:
            signal.signal(number, lambda caught, _: self._pending.add(caught))

    def take(self) -> set[int]:
        """Return the signals that have come since the last call."""
        with suppress(BlockingIOError):
            os.read(self.fd, 512)
        pending, self._pending = self._pending, set()
        return pending
