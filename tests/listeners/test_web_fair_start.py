"""New connections of the web are served in turns: one in each turn of the event loop, sources alternating."""

import asyncio

from stagedoor.listeners.web.listener import StartQueue
from tests.virtual_time import VirtualLoop, in_virtual_time

TIMEOUT_S = 10.0


async def turn(starts: StartQueue, source: str) -> None:
    async with asyncio.timeout(TIMEOUT_S) as bound:
        await starts.wait_for_turn(source, bound)


async def test_one_of_a_quiet_source_goes_on_before_the_many_that_came_first() -> None:
    starts, order = StartQueue(), list[str]()

    async def connection(source: str) -> None:
        await turn(starts, source)
        order.append(source)

    await asyncio.gather(*(connection("flood") for _ in range(1000)), connection("person"))
    assert len(order) == 1001
    assert order.index("person") <= 1


async def test_one_goes_on_in_each_turn_of_the_event_loop() -> None:
    starts, running, most = StartQueue(), 0, 0

    async def connection() -> None:
        nonlocal running, most
        await turn(starts, "flood")
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await asyncio.gather(*(connection() for _ in range(100)))
    assert most <= 2


async def test_one_that_has_gone_takes_no_turn() -> None:
    starts = StartQueue()
    waiting = [asyncio.create_task(turn(starts, "flood")) for _ in range(10)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.wait_for(turn(starts, "person"), TIMEOUT_S)
    assert all(task.cancelled() for task in waiting[2:])


async def test_it_starts_again_after_a_pause() -> None:
    starts = StartQueue()
    for _ in range(3):
        await asyncio.wait_for(turn(starts, "person"), TIMEOUT_S)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@in_virtual_time
async def test_who_waits_for_others_has_as_much_time_left_as_before() -> None:
    starts, loop = StartQueue(), asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)

    async def slow(source: str) -> None:
        await turn(starts, source)
        loop.jump(2 * TIMEOUT_S)

    async def person() -> None:
        async with asyncio.timeout(TIMEOUT_S) as bound:
            await starts.wait_for_turn("person", bound)
            assert loop.time() > TIMEOUT_S
            assert bound.when() == loop.time() + TIMEOUT_S

    await asyncio.gather(*(slow(source) for source in "abcd"), person())
