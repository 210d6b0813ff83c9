"""Work that waits, in a thread, so that its caller can take other events meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

Result = TypeVar("Result")


class WorkThread(Generic[Result]):
    """Runs `work` in a thread, which does not keep the process. `done_fd` can be read once it is over."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self.done_fd, self._doing_fd = os.pipe()
        self._work = work
        self._found: Result | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def result(self) -> Result:
        """What it returned, or raises what it raised; waits for that. Call it once."""
        self._thread.join()
        os.close(self.done_fd)
        if self._error is not None:
            raise self._error
        return self._found  # type: ignore[return-value]  # it may be None

    def give_up(self, discard: Callable[[Result], None]) -> None:
        """Nobody wants it any more: `discard` gets what it returns, whenever that is. Not after `result`."""
        threading.Thread(target=self._discard, args=(discard,), daemon=True).start()

    def _discard(self, discard: Callable[[Result], None]) -> None:
        with suppress(Exception):
            discard(self.result())

    def _run(self) -> None:
        try:
            self._found = self._work()
        except BaseException as error:
            self._error = error
        finally:
            os.close(self._doing_fd)
