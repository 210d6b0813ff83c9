"""Signals as one more thing to wait for beside descriptors (signal(7), the self-pipe of poll(2))."""

from __future__ import annotations

import os
import signal
from contextlib import suppress


class Signals:
    """`fd` can be read once one of those that are caught has come. For a process's main thread."""

    def __init__(self) -> None:
        self.fd, self._wake = os.pipe()
        self._come: set[int] = set()

    def start(self, *numbers: int) -> None:
        """Catch them, from now on."""
        os.set_blocking(self.fd, False)
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        self.catch(*numbers)

    def catch(self, *numbers: int) -> None:
        """Catch these too."""
        for number in numbers:
            signal.signal(number, lambda come, _: self._come.add(come))

    def take(self) -> set[int]:
        """Those that have come since the last call."""
        with suppress(BlockingIOError):
            os.read(self.fd, 512)
        come, self._come = self._come, set()
        return come
