"""A dialler: TCP to the first of several addresses that answers (RFC 8305, Happy Eyeballs)."""

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from contextlib import suppress

from stagedoor.model.source import Address
from stagedoor.net import aio, sockopts
from stagedoor.net.tcp import TcpStream

STAGGER_S = 0.25
"""The head start of an attempt before the next address is tried in parallel (RFC 8305 §5)."""
ATTEMPT_TIMEOUT_S = 2.0
"""One of several addresses is given up after this time: a pod that was replaced never answers."""
_ELSEWHERE = {4: "192.0.2.1", 6: "2001:db8::1"}
"""Addresses that no machine has (RFC 5737, RFC 3849)."""


class Dialer:
    """The implementation of `upstream.connect.DialAddresses`."""

    async def dial(self, addresses: tuple[Address, ...], port: int, timeout_s: float) -> TcpStream:
        """Return a stream to the first address that answers. See `connect_to_first`."""
        attempt_s = timeout_s if len(addresses) == 1 else min(timeout_s, ATTEMPT_TIMEOUT_S)
        return TcpStream(await connect_to_first(addresses, port, timeout_s, attempt_s))


async def connect_to_first(
    addresses: Sequence[Address], port: int, timeout_s: float, attempt_s: float
) -> socket.socket:
    """Return a connection to the first address that answers; the other attempts are closed.

    The socket does not block. An attempt is given up after `attempt_s`, and all of them after `timeout_s`.
    Raises TimeoutError if no address answers in time, or the OSError of the last refusal.
    """
    if not addresses:
        raise OSError(errno.EHOSTUNREACH, "there is no address to dial")
    if len(addresses) == 1:
        return await _attempt(addresses[0], port, attempt_s)
    async with asyncio.timeout(timeout_s):
        return await _race(addresses, port, attempt_s)


async def _race(addresses: Sequence[Address], port: int, attempt_s: float) -> socket.socket:
    """Start attempts one after another, `STAGGER_S` apart or as soon as all earlier ones have failed."""
    waiting = _interleave(addresses)
    running: set[asyncio.Task[socket.socket]] = set()
    last: OSError = OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
    refused = False
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.create_task(_attempt(waiting.pop(0), port, attempt_s)))
            done, running = await asyncio.wait(
                running,
                timeout=STAGGER_S if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            winner: socket.socket | None = None
            for task in done:
                error = task.exception()
                if error is None and winner is None:
                    winner = task.result()
                elif error is None:
                    task.result().close()
                elif isinstance(error, OSError):
                    # A refusal explains more than a timeout does.
                    last = last if isinstance(error, TimeoutError) and refused else error
                    refused = refused or not isinstance(error, TimeoutError)
                else:
                    raise error
            if winner is not None:
                return winner
        raise last
    finally:
        for task in running:
            task.cancel()
        for task in running:
            with suppress(asyncio.CancelledError, OSError):
                (await task).close()  # it may have connected just now


async def _attempt(address: Address, port: int, timeout_s: float) -> socket.socket:
    """Connect to one address. Raises TimeoutError after `timeout_s`, or connect(2)'s OSError."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0))
    try:
        if sock.getblocking():  # the system knows no such type, and needs another call
            sock.setblocking(False)
        sockopts.tune(sock)
        at = (str(address), port)
        number = sock.connect_ex(at)
        if number == errno.EINPROGRESS:
            # A local connect is complete when the call returns, and a second call reports it
            # (connect(2)) at a tenth of the cost of a turn of the event loop.
            number = sock.connect_ex(at)
        if number == errno.EALREADY:
            async with asyncio.timeout(timeout_s):
                await aio.wait_writable(sock.fileno())
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number not in (0, errno.EISCONN):
            raise OSError(number, os.strerror(number))  # Python picks the subclass
    except BaseException:
        sock.close()
        raise
    return sock


def _interleave(addresses: Sequence[Address]) -> list[Address]:
    """Return the addresses with the families alternating, starting with that of the first (RFC 8305 §4)."""
    first = [a for a in addresses if a.version == addresses[0].version]
    other = [a for a in addresses if a.version != addresses[0].version]
    order: list[Address] = []
    while first or other:
        order += first[:1] + other[:1]
        first, other = first[1:], other[1:]
    return order


def is_this_machine(address: Address) -> bool:
    """Return True if a connect to `address` reaches this machine itself.

    Loopback and the unspecified address, to which a connect reaches loopback, do. Any other address is
    local if a socket can be bound to it, ip(7). With `net.ipv4.ip_nonlocal_bind`, which fail-over pairs
    set, a socket can be bound to anything; then an address is local if the kernel would use it as the
    source of packets to itself. If this cannot be determined because no descriptors are left, the
    answer is True: callers ask in order to refuse.
    """
    if address.is_loopback or address.is_unspecified:
        return True
    try:
        if not _can_bind(address.version, str(address)):
            return False
        return not _can_bind(address.version, _ELSEWHERE[address.version]) or _speaks_from(address)
    except OSError:
        return True


def _can_bind(version: int, address: str) -> bool:
    with socket.socket(_family(version), socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            return False
    return True


def _speaks_from(address: Address) -> bool:
    """Return True if the kernel chooses `address` as the source. connect(2) on UDP sends nothing."""
    with socket.socket(_family(address.version), socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((str(address), 9))
        except OSError:  # there is no route to it
            return False
        return str(sock.getsockname()[0]) == str(address)


def _family(version: int) -> socket.AddressFamily:
    return socket.AF_INET6 if version == 6 else socket.AF_INET
