"""New connections of the web are served in turns: one in each turn of the event loop, sources alternating."""

import asyncio

from stagedoor.listeners.web.fair_start import FairStart


async def test_one_of_a_quiet_source_goes_on_before_the_many_that_came_first() -> None:
    starts, order = FairStart(), list[str]()

    async def connection(source: str) -> None:
        await starts.turn(source)
        order.append(source)

    await asyncio.gather(*(connection("flood") for _ in range(1000)), connection("person"))
    assert len(order) == 1001
    assert order.index("person") <= 1


async def test_one_goes_on_in_each_turn_of_the_event_loop() -> None:
    starts, running, most = FairStart(), 0, 0

    async def connection() -> None:
        nonlocal running, most
        await starts.turn("flood")
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await asyncio.gather(*(connection() for _ in range(100)))
    assert most <= 2


async def test_one_that_has_gone_takes_no_turn() -> None:
    starts = FairStart()
    waiting = [asyncio.create_task(starts.turn("flood")) for _ in range(10)]
    await asyncio.sleep(0)
    for one in waiting:
        one.cancel()
    await asyncio.wait_for(starts.turn("person"), 10)
    assert all(one.cancelled() for one in waiting[2:])


async def test_it_starts_again_after_a_pause() -> None:
    starts = FairStart()
    for _ in range(3):
        await asyncio.wait_for(starts.turn("person"), 10)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
