"""The order in which new connections start: one per iteration of the event loop, sources in turn."""

import asyncio

from stagedoor.model.fair_queue import FairQueue


class StartQueue:
    """A queue of connections that have sent their first bytes. Belongs to one event loop.

    Starting a connection takes about a millisecond, so behind a thousand others it would wait for a second.
    Sources take turns for that reason. `PendingConnections` bounds how many wait.
    """

    def __init__(self) -> None:
        self._turns = FairQueue[asyncio.Future[None]]()
        self._next: asyncio.Handle | None = None

    async def turn(self, source: str, bound: asyncio.Timeout) -> None:
        """Wait until a connection from `source` may start.

        The deadline `bound` moves by the time spent here, since the client is not to blame for it.
        """
        loop = asyncio.get_running_loop()
        due, began = bound.when(), loop.time()
        bound.reschedule(None)
        waiter: asyncio.Future[None] = loop.create_future()
        self._turns.add(waiter, source)
        if self._next is None:
            self._next = loop.call_soon(self._start_next, loop)
        try:
            await waiter
        except asyncio.CancelledError:
            self._turns.remove(waiter)
            raise
        if due is not None:
            bound.reschedule(due + loop.time() - began)

    def _start_next(self, loop: asyncio.AbstractEventLoop) -> None:
        waiter = self._turns.take()
        if waiter is None:
            self._next = None
            return
        if not waiter.done():
            waiter.set_result(None)
        self._next = loop.call_soon(self._start_next, loop)
