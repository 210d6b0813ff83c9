"""Processes: starting them, their event loop, ending them by a signal, and waiting for a store."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from stagedoor.model.errors import StoreUnavailableError

Result = TypeVar("Result")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_process(main: Coroutine[Any, Any, Result]) -> Result:
    """Run `main` as `asyncio.run` does, in the main thread, and ignore `STOP_SIGNALS` once the loop ends.

    asyncio closes the pipe that signals are written to before it removes their handlers. A signal in between,
    such as an impatient second SIGTERM, would log an error; a later one would kill a process that is about to
    exit successfully. If `main` raises, the previous handlers are restored, so that the caller can report the
    error.
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


async def start_module(name: str, fds: Sequence[int] = ()) -> asyncio.subprocess.Process:
    """Start a module of this program with pipes as stdin and stdout; it inherits `fds`. Raises OSError."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        name,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        pass_fds=fds,
        # Ctrl-C is meant for the supervisor, which decides how its processes stop.
        process_group=0,
    )


def listen_for_stop() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set. Call this in the event loop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def run_until(end: Coroutine[Any, Any, object], work: Coroutine[Any, Any, None]) -> None:
    """Run `work` until it is done, and cancel it once `end` is done. Raises what `work` raises."""
    working, ending = asyncio.create_task(work), asyncio.create_task(end)
    try:
        await asyncio.wait((working, ending), return_when=asyncio.FIRST_COMPLETED)
    finally:
        ending.cancel()
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working


RETRY_PAUSE_S = 1.0
"""Seconds until the next attempt. An attempt to reach a dead server takes up to five seconds itself."""


async def call_when_reachable(
    do: Callable[[], Result],
    on_problem: Callable[[str | None], None],
    stop: asyncio.Event,
) -> Result | None:
    """Call `do` in a thread, repeatedly while the store is unreachable, and return its result.

    The process waits instead of exiting, since a service manager or a cluster would delay each restart more.
    Returns None if `stop` is set first. `on_problem` is called with one line for each failed attempt, and
    with None once an attempt succeeds. Other exceptions of `do` are raised.
    """
    while not stop.is_set():
        try:
            result = await asyncio.to_thread(do)
        except StoreUnavailableError as error:
            on_problem(f"{error}; waiting for it")
        else:
            on_problem(None)
            return result
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_PAUSE_S):
                await stop.wait()
    return None
