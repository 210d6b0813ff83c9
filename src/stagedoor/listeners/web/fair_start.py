"""In which order new connections are served: one in each turn of the event loop, and sources take turns."""

import asyncio

from stagedoor.model.fair_queue import FairQueue


class StartQueue:
    """Of one event loop. A connection costs a millisecond from its first bytes on, so that one of a thousand
    that came before it would wait for a second. `PendingConnections` bounds how many wait.
    """

    def __init__(self) -> None:
        self._turns = FairQueue[asyncio.Future[None]]()
        self._next: asyncio.Handle | None = None

    async def turn(self, source: str, bound: asyncio.Timeout) -> None:
        """Wait until a connection of `source` may go on. What it waits for here, others' turns, is not its
        own slowness: `bound` ends so much later.
        """
        loop = asyncio.get_running_loop()
        due, began = bound.when(), loop.time()
        bound.reschedule(None)
        waiter: asyncio.Future[None] = loop.create_future()
        self._turns.add(waiter, source)
        if self._next is None:
            self._next = loop.call_soon(self._let_one_go_on, loop)
        try:
            await waiter
        except asyncio.CancelledError:
            self._turns.remove(waiter)
            raise
        if due is not None:
            bound.reschedule(due + loop.time() - began)

    def _let_one_go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        waiter = self._turns.take()
        if waiter is None:
            self._next = None
            return
        if not waiter.done():
            waiter.set_result(None)
        self._next = loop.call_soon(self._let_one_go_on, loop)
