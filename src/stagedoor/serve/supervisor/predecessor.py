"""The supervisor that hands over, from its successor's side."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from stagedoor import __version__
from stagedoor.model.errors import StagedoorError
from stagedoor.net.listen import ListeningGroup, adopt
from stagedoor.serve.prepare import Bound
from stagedoor.serve.supervisor.handover import (
    UNDERSTOOD,
    VARIABLE,
    VERSION,
    HandoverChannel,
    HandoverOffer,
    Hello,
    Progress,
    Refusal,
    SuccessorReady,
    Transfer,
)
from stagedoor.serve.supervisor.old_gateways import OldGateways
from stagedoor.store.schema import find_compatible_version

OFFER_WITHIN_S = 10.0


def detach() -> None:
    """If this program takes over from another, leave the process that the predecessor has started.

    Its parent is then the system's first process, so systemd notices at once if the gateway dies, even while
    the predecessor still has sessions. Call this while there is only one thread.
    """
    if VARIABLE in os.environ and os.fork():
        os._exit(0)


class Predecessor:
    """The gateway that this program takes over from. Belongs to one event loop."""

    def __init__(self, channel: HandoverChannel, offer: HandoverOffer) -> None:
        self._channel = channel
        self._offer = offer
        self.pid = offer.pid
        self._transfer: asyncio.Future[Transfer | None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def connect(cls) -> Self | None:
        """Return the gateway that started this program to take over; None if none did.

        Raises StagedoorError if this program does not understand its version.
        """
        number = os.environ.pop(VARIABLE, None)
        if number is None:
            return None
        try:
            sock = adopt(int(number))
        except (OSError, ValueError):
            raise StagedoorError(f"{VARIABLE} is set, and names no socket; unset it") from None
        channel = await HandoverChannel.open(sock)
        channel.send(Hello(VERSION, __version__, os.getpid()))
        offer = None
        with suppress(TimeoutError):
            async with asyncio.timeout(OFFER_WITHIN_S):
                offer = await channel.receive()
        if isinstance(offer, HandoverOffer):
            versions = {offer.version, *(version for *_, version in offer.older)}
            if versions <= UNDERSTOOD:
                return cls(channel, offer)
        program = offer.program if isinstance(offer, HandoverOffer) else "the running program"
        error = StagedoorError(
            f"{__version__} cannot take over from {program}; restart the gateway instead"
        )
        channel.send(Refusal(str(error)))
        await channel.close_stream()
        raise error

    def check_store(self) -> None:
        """Check that the predecessor can use the store that this program changes. Raises StagedoorError."""
        if (needed := find_compatible_version(self._offer.schema)) > self._offer.schema:
            raise StagedoorError(
                f"the store of {__version__} needs schema {needed}, and {self._offer.program} uses "
                f"schema {self._offer.schema} as long as its sessions last; restart the gateway instead"
            )

    def adopt_sockets(self) -> Bound:
        """Take over its listening sockets."""
        bound: Bound = {}
        for kind, address, slot, fds in self._offer.sockets:
            bound[kind, address, slot] = ListeningGroup([adopt(fd) for fd in fds])
        return bound

    def report(self, step: str) -> None:
        """Report which step this program begins."""
        self._channel.send(Progress(step))

    def refuse(self, reason: str) -> None:
        """Report why this program does not take over."""
        self._channel.send(Refusal(reason))

    async def watch(self, on_lost: Callable[[], object]) -> None:
        """Wait for the hand-over. `on_lost` is called if the predecessor ends first."""
        message = await self._channel.receive()
        transfer = message if isinstance(message, Transfer) else None
        self._transfer.set_result(transfer)
        if transfer is None:
            on_lost()

    async def take_over(self, settings: str, older: OldGateways) -> bool:
        """Report that the workers accept, with the settings of this digest, and wait for the hand-over.

        Then the predecessor and those before it are among the `older` gateways. Return False if it has ended
        instead. `watch` must be running.
        """
        self._channel.send(SuccessorReady(settings))
        transfer = await self._transfer
        if transfer is None:
            return False
        for (fd, pid, version), (sessions, unread) in zip(
            self._offer.older, transfer.older, strict=True
        ):
            channel = await HandoverChannel.open(adopt(fd), unread)
            older.add(channel, pid, version, sessions)
        older.add(self._channel, self.pid, self._offer.version)
        older.announce(settings)
        return True
