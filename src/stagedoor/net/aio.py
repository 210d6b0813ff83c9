"""Streams on the event loop, before the relay has them: each await tries at once and waits if it must.

A descriptor is registered with the loop only while somebody waits, so that none is left there when
the relay takes the stream over.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from stagedoor.net.tcp import TcpStream


class Waitable(Protocol):
    """What is needed of a stream here (a part of `relay.ports.Stream`)."""

    def fileno(self) -> int: ...

    def recv(self, limit: int) -> bytes | None: ...

    def send(self, data: bytes | memoryview) -> int: ...

    def flush(self) -> bool: ...


class Tasks:
    """Tasks that nothing awaits. Belongs to one event loop.

    They are kept, so that none is garbage-collected before its end, and a fault in one is reported to the
    loop's exception handler with `message`.
    """

    def __init__(self, message: str) -> None:
        self._message = message
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(
        self,
        work: Coroutine[Any, Any, None],
        at_end: Callable[[asyncio.Task[None]], None] | None = None,
    ) -> asyncio.Task[None]:
        """Run `work`. `at_end` is called when it is over, even if it was cancelled before it began."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        if at_end is not None:
            task.add_done_callback(at_end)
        return task

    def cancel(self) -> None:
        """Cancel all of them."""
        for task in tuple(self._running):
            task.cancel()

    async def wait(self) -> None:
        """Wait until all of them are over, however they end."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            report_fault(self._message, error)


def report_fault(message: str, error: BaseException) -> None:
    """Report a bug to the running loop's exception handler, which logs it."""
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})


async def read(stream: Waitable, limit: int) -> bytes:
    """Up to `limit` bytes, at least one; b"" at the end of the stream. Raises OSError."""
    while (data := stream.recv(limit)) is None:
        await readable(stream.fileno())
    return data


async def write_all(stream: Waitable, data: bytes) -> None:
    """Return when the kernel has taken all of `data`. Raises OSError."""
    taken = stream.send(data)
    while taken < len(data):
        await writable(stream.fileno())
        taken += stream.send(memoryview(data)[taken:])
    while not stream.flush():
        await writable(stream.fileno())


async def hand_over(stream: TcpStream, protocol: asyncio.Protocol, received: bytes) -> None:
    """Let an asyncio protocol have an accepted stream, and `received`, which was read from it.

    The stream is the protocol's from the first moment on. Raises OSError.
    """
    loop = asyncio.get_running_loop()
    sock = stream.detach()
    try:
        await loop.connect_accepted_socket(lambda: protocol, sock)
    except BaseException:
        sock.close()
        raise
    if received:
        protocol.data_received(received)


async def readable(fd: int) -> None:
    """Wait until there is something to read, the end and an error included."""
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()
    loop.add_reader(fd, _wake, waiter)
    try:
        await waiter
    finally:
        loop.remove_reader(fd)


async def writable(fd: int) -> None:
    """Wait until something can be written, or a connect has come to its end."""
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()
    loop.add_writer(fd, _wake, waiter)
    try:
        await waiter
    finally:
        loop.remove_writer(fd)


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
