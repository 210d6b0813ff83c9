"""An event loop whose time stands still while anything can be done, and else jumps to the next timer."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from functools import wraps
from typing import Any, ParamSpec

Given = ParamSpec("Given")

GRACE_S = 0.005
"""How long a loop in which something is connected waits by the real clock before it jumps."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """For tests that read the time from the loop alone; other threads' work is done in this one, at once."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Selector(self))
        self.set_default_executor(_AtOnce())

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        self._now += seconds


def in_virtual_time(story: Callable[Given, Coroutine[Any, Any, None]]) -> Callable[Given, None]:
    """Decorates a test that is a coroutine; its fixtures are made outside of the loop."""

    @wraps(story)
    def test(*given: Given.args, **named: Given.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(story(*given, **named))

    return test


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]  # the best of this system
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            return super().select(None)
        # The loop's own pipe and a listening socket are always there.
        busy = len(self.get_map()) > 2
        found = super().select(GRACE_S if busy and timeout else 0)
        if not found and timeout:
            self._loop.jump(timeout)
        return found


class _AtOnce(ThreadPoolExecutor):
    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        try:
            done.set_result(function(*arguments, **named))
        except BaseException as error:
            done.set_exception(error)
        return done
