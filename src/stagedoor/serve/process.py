"""The event loop of a process that signals stop."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_process(main: Coroutine[Any, Any, Result]) -> Result:
    """As `asyncio.run`, in the main thread; `STOP_SIGNALS` are ignored from the loop's end on.

    asyncio closes the pipe that signals are written to before it removes their handlers. A signal
    between the two, such as an impatient second SIGTERM, would put a fault into the log. The process is
    about to end, and one that comes later would turn its success into a death by that signal. Only where
    `main` raises are they as before, for the caller to report.
    """
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        with asyncio.Runner() as runner:
            try:
                result = runner.run(main)
            finally:
                _ignore()
    except BaseException:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        raise
    _ignore()  # again: with its handlers the loop took that back
    return result


def _ignore() -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
