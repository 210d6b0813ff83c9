"""One start for each target at a time, however many ask."""

import asyncio
from collections.abc import Callable

import pytest

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.shell import Progress, ProgressStep, Shell
from stagedoor.model.target import Target
from stagedoor.shells.starts import Starts

APP = Target("app01")
READY = Shell(APP, "127.0.0.1", 22, started_by_us=True)


class Begun:
    """Starts that end when the test says so."""

    def __init__(self) -> None:
        self.reporters: list[Progress] = []
        self.ends: list[asyncio.Future[Shell | Denial]] = []

    async def __call__(self, report: Progress) -> Shell | Denial:
        self.reporters.append(report)
        self.ends.append(asyncio.get_running_loop().create_future())
        return await self.ends[-1]


async def join(
    starts: Starts, begin: Begun, progress: Progress = lambda _: None, target: Target = APP
) -> "asyncio.Task[Shell | Denial]":
    """One who waits for a start, and does so by now."""
    task = asyncio.create_task(starts.join(target, begin, progress))
    await _settle()
    return task


async def _settle() -> None:
    """Let every task run as far as it can without an event from outside."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_many_who_wait_share_one_start_and_its_outcome() -> None:
    starts, begin = Starts(), Begun()
    waiting = [await join(starts, begin) for _ in range(3)]
    assert len(begin.ends) == 1
    begin.ends[0].set_result(READY)
    assert await asyncio.gather(*waiting) == [READY] * 3


async def test_each_target_has_a_start_of_its_own() -> None:
    starts, begin = Starts(), Begun()
    waiting = [await join(starts, begin, target=Target(name)) for name in ("app01", "app02")]
    assert len(begin.ends) == 2
    begin.ends[1].set_result(READY)
    assert await waiting[1] is READY
    assert not waiting[0].done()
    await starts.cancel_all()


async def test_who_comes_later_hears_of_the_later_steps() -> None:
    starts, begin = Starts(), Begun()
    first: list[ProgressStep] = []
    second: list[ProgressStep] = []
    steps = [ProgressStep("scheduling"), ProgressStep("pulling image")]
    waiting = [await join(starts, begin, first.append)]
    begin.reporters[0](steps[0])
    waiting.append(await join(starts, begin, second.append))
    begin.reporters[0](steps[1])
    begin.ends[0].set_result(READY)
    await asyncio.gather(*waiting)
    assert (first, second) == (steps, steps[1:])


async def test_who_gives_up_leaves_the_start_to_the_others_and_to_who_comes_next() -> None:
    starts, begin = Starts(), Begun()
    heard: list[ProgressStep] = []
    gone = await join(starts, begin, heard.append)
    gone.cancel()
    await _settle()
    assert gone.cancelled()
    begin.reporters[0](ProgressStep("scheduling"))
    assert heard == []
    waiting = await join(starts, begin)
    assert len(begin.ends) == 1
    begin.ends[0].set_result(READY)
    assert await waiting is READY


def fail(end: "asyncio.Future[Shell | Denial]") -> None:
    end.set_exception(OSError("no"))


def refuse(end: "asyncio.Future[Shell | Denial]") -> None:
    end.set_result(Denial(Reason.SHELL_UNAVAILABLE, "no"))


@pytest.mark.parametrize("ended", [fail, refuse])
async def test_after_a_start_that_failed_the_next_one_to_come_starts_anew(
    ended: Callable[["asyncio.Future[Shell | Denial]"], None],
) -> None:
    starts, begin = Starts(), Begun()
    failed = await join(starts, begin)
    ended(begin.ends[0])
    await asyncio.wait([failed])
    _ = failed.exception()
    waiting = await join(starts, begin)
    begin.ends[1].set_result(READY)
    assert await waiting is READY


async def test_closing_gives_up_every_start() -> None:
    starts, begin = Starts(), Begun()
    waiting = [await join(starts, begin, target=Target(name)) for name in ("app01", "app02")]
    await starts.cancel_all()
    await asyncio.wait(waiting)
    assert all(task.cancelled() for task in waiting)
