"""A wire that is long: a relaying TCP proxy that hands on each write 20 ms after it came.

It delays and does not limit: chunks are on their way at the same time. Only the opening is spread
out: the first lines that the near end writes are handed on one by one, 20 ms apart, so that no two
of its writes arrive in one read. `nc` ends its request's header with a second write, and a gateway
that takes the first for the whole passes in every test on a short wire.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

DELAY_S = 0.02
OPENING_LINES = 8
"""How many are kept apart: a request's header, the empty line, and ssh's identification."""
CHUNK_BYTES = 256 * 1024
ON_THE_WAY = 256
"""Chunks in one direction; beyond it the sender has to wait, as on any wire."""


@dataclass
class Wire:
    """`port` leads to the far end; `chunks` counts what was handed on, both ways."""

    port: int
    chunks: int = 0


@contextlib.contextmanager
def delaying(far_port: int) -> Iterator[Wire]:
    """Yield a wire to `127.0.0.1:far_port`, cut when it is left."""
    loop = asyncio.new_event_loop()
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    listener.setblocking(False)
    wire = Wire(listener.getsockname()[1])
    task = loop.create_task(_accept(listener, far_port, wire))

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield wire
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()
        listener.close()


async def _accept(listener: socket.socket, far_port: int, wire: Wire) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        while True:
            near, _ = await loop.sock_accept(listener)
            near.setblocking(False)
            group.create_task(_relay(near, far_port, wire))


async def _relay(near: socket.socket, far_port: int, wire: Wire) -> None:
    loop = asyncio.get_running_loop()
    with near, socket.socket() as far:
        far.setblocking(False)
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await loop.sock_connect(far, ("127.0.0.1", far_port))
            async with asyncio.TaskGroup() as group:
                group.create_task(_carry(near, far, wire, OPENING_LINES))
                group.create_task(_carry(far, near, wire, 0))
        except* OSError:
            pass  # one end was reset: so is the other, by the close


async def _carry(source: socket.socket, sink: socket.socket, wire: Wire, lines: int) -> None:
    """Carry one direction to its end, which travels as the bytes do; so many `lines` go one by one."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(ON_THE_WAY)

    async def deliver() -> None:
        while True:
            due, chunk = await queue.get()
            await asyncio.sleep(due - loop.time())
            if not chunk:
                sink.shutdown(socket.SHUT_WR)
                return
            await loop.sock_sendall(sink, chunk)
            wire.chunks += 1

    async with asyncio.TaskGroup() as group:
        group.create_task(deliver())
        last = 0.0
        while True:
            chunk = await loop.sock_recv(source, CHUNK_BYTES)
            due = loop.time() + DELAY_S
            while lines and chunk:
                line, feed, chunk = chunk.partition(b"\n")
                lines -= 1
                due = max(due, last + DELAY_S)
                last = due
                await queue.put((due, line + feed))
                if not chunk:
                    break
            else:
                await queue.put((due, chunk))
                if not chunk:
                    return
