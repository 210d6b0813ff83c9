"""The event loop of a process that ends on a signal."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_process(main: Coroutine[Any, Any, Result]) -> Result:
    """Run `main` as `asyncio.run` does, in the main thread, and ignore `STOP_SIGNALS` once the loop ends.

    asyncio closes the pipe that signals are written to before it removes their handlers. A signal
    between the two, such as an impatient second SIGTERM, would log an error. A later one would kill a
    process that is about to exit successfully. If `main` raises, the previous handlers are restored, so
    that the caller can report the error.
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
    _ignore()  # again, since the loop undid it when it removed its handlers
    return result


def _ignore() -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
