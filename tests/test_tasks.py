"""The tasks of one owner."""

import asyncio

from stagedoor.tasks import Tasks


async def test_a_wait_that_is_cancelled_cancels_no_task() -> None:
    tasks, go_on = Tasks("a task failed"), asyncio.Event()

    async def work() -> None:
        await go_on.wait()

    task = tasks.start(work())
    waiting = asyncio.create_task(tasks.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    go_on.set()
    await tasks.wait()
    assert task.done()
    assert not task.cancelled()
