"""Signals and threads as descriptors for poll(2), by the self-pipe trick (signal(7))."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Signals:
    """The signals that a process catches. `fd` is readable when one is pending. Use it in the main thread."""

    def __init__(self) -> None:
        self.fd, self._wake = os.pipe()
        self._pending: set[int] = set()

    def start(self, *numbers: int) -> None:
        """Start catching signals, beginning with `numbers`."""
        os.set_blocking(self.fd, False)
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        self.catch(*numbers)

    def catch(self, *numbers: int) -> None:
        """Catch the signals `numbers` as well."""
        for number in numbers:
            signal.signal(number, lambda number, _: self._pending.add(number))

    def take(self) -> set[int]:
        """Return the signals that arrived since the last call."""
        with suppress(BlockingIOError):
            os.read(self.fd, 512)
        pending, self._pending = self._pending, set()
        return pending


class WorkThread(Generic[Result]):
    """A daemon thread that runs `work`. `done_fd` is readable when the work is done."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self.done_fd, self._write_fd = os.pipe()
        self._work = work
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def join(self) -> Result:
        """Wait for the work; return its result or raise its exception. Call it once."""
        self._thread.join()
        os.close(self.done_fd)
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # None is a result too

    def abandon(self, discard: Callable[[Result], None]) -> None:
        """Abandon the work: pass its result to `discard` when it is done. Replaces `join`."""
        threading.Thread(target=self._discard, args=(discard,), daemon=True).start()

    def _discard(self, discard: Callable[[Result], None]) -> None:
        with suppress(Exception):
            discard(self.join())

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error
        finally:
            os.close(self._write_fd)
