"""Streams on the event loop, before the relay has them: each await tries at once and waits if it must.

A descriptor is registered with the loop only while somebody waits, so that none is left there when
the relay takes the stream over.
"""

import asyncio
from typing import Protocol

from stagedoor.net.tcp import TcpStream


class Waitable(Protocol):
    """What is needed of a stream here (a part of `relay.ports.Stream`)."""

    def fileno(self) -> int: ...

    def recv(self, limit: int) -> bytes | None: ...

    def send(self, data: bytes | memoryview) -> int: ...

    def flush(self) -> bool: ...


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
