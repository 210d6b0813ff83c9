"""Resolution of names to addresses, without blocking the event loop."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from ipaddress import ip_address

from stagedoor.model.source import Address, is_address, unmap

THREADS = 16
"""getaddrinfo(3) blocks a thread for as long as the name server takes."""
TIMEOUT_S = 5.0

Choose = Callable[[Sequence[Address]], Sequence[Address]]
"""A function that returns those addresses of a name that may be connected to."""


class Resolver:
    """The implementation of `upstream.connect.Resolve`. An instance belongs to one event loop."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="resolve")

    async def resolve(self, host: str) -> tuple[Address, ...]:
        """Return each address of `host` once, in the system's order; an address literal stands for itself.

        IPv4-mapped addresses are unmapped. Raises OSError (TimeoutError after `TIMEOUT_S`).
        """
        if (address := _literal(host)) is not None:
            return (address,)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                addresses = await loop.run_in_executor(self._pool, _look_up, host)
        except ValueError:  # invalid IDNA, or a NUL
            raise OSError(f"{host!r} is not a host name") from None
        return _distinct(addresses)

    def stop_threads(self) -> None:
        """Release the threads; look-ups that have not started are dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def find_addresses(host: str, choose: Choose) -> Sequence[Address]:
    """Return the addresses of `host` that `choose` allows, at least one. Blocks.

    The caller connects to these, so that a second answer of the name server has no effect. Raises OSError.
    """
    try:
        literal = _literal(host)
        addresses = _distinct(_look_up(host)) if literal is None else (literal,)
    except ValueError:  # invalid IDNA, or a NUL
        raise OSError(f"{host!r} is not a host name") from None
    if not (chosen := choose(addresses)):
        refused = ", ".join(map(str, addresses))
        raise OSError(f"its address {refused} is not public, and in none of the named networks")
    return chosen


def _distinct(addresses: Sequence[str]) -> tuple[Address, ...]:
    return tuple(dict.fromkeys(unmap(ip_address(address)) for address in addresses))


@lru_cache(maxsize=4096)  # the same shells are looked up repeatedly
def _literal(host: str) -> Address | None:
    """Return the address that `host` is written as, or None for a name."""
    return unmap(ip_address(host)) if is_address(host) else None


def _look_up(host: str) -> list[str]:
    infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(info[4][0]).partition("%")[0] for info in infos]
