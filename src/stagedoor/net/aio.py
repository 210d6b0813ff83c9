"""Awaitable reads and writes of streams on the event loop, for use before the relay takes them over.

Each await tries the operation first and waits only if it must. A descriptor is registered with the loop
only during a wait, so that none is left there when the relay takes the stream over.
"""

import asyncio
from typing import Protocol

from stagedoor.net.tcp import TcpStream


class Waitable(Protocol):
    """The part of `relay.ports.Stream` that this module needs."""

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        ...

    def recv(self, limit: int) -> bytes | None:
        """Return up to `limit` bytes; b"" at the end of the stream; None if nothing is there yet."""
        ...

    def send(self, data: bytes | memoryview) -> int:
        """Send, and return the number of bytes that were taken."""
        ...

    def flush(self) -> bool:
        """Send what `send` took. Return True if nothing of it is left."""
        ...


async def read(stream: Waitable, limit: int) -> bytes:
    """Return up to `limit` bytes, at least one; b"" at the end of the stream. Raises OSError."""
    while (data := stream.recv(limit)) is None:
        await wait_readable(stream.fileno())
    return data


async def write_all(stream: Waitable, data: bytes) -> None:
    """Return when the kernel has taken all of `data`. Raises OSError."""
    taken = stream.send(data)
    while taken < len(data):
        await wait_writable(stream.fileno())
        taken += stream.send(memoryview(data)[taken:])
    while not stream.flush():
        await wait_writable(stream.fileno())


async def hand_over(stream: TcpStream, protocol: asyncio.Protocol, received: bytes) -> None:
    """Give an accepted stream to an asyncio protocol, with the bytes `received` that were read from it.

    The protocol owns the stream from now on, even if this fails. Raises OSError.
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


async def wait_readable(fd: int) -> None:
    """Wait until a read would not block; the end of the stream and an error count too."""
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()
    loop.add_reader(fd, _wake, waiter)
    try:
        await waiter
    finally:
        loop.remove_reader(fd)


async def wait_writable(fd: int) -> None:
    """Wait until a write would not block, or a connect has finished."""
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
