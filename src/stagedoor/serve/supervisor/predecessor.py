"""The supervisor that hands over, as its successor sees it."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from stagedoor import __version__
from stagedoor.model.errors import StagedoorError
from stagedoor.net.listen import Listening, adopt
from stagedoor.net.pair import adopt_end
from stagedoor.serve.prepare import Bound
from stagedoor.serve.supervisor.control import MetricsMessage
from stagedoor.serve.supervisor.handover import (
    UNDERSTOOD,
    VARIABLE,
    VERSION,
    GatewayStop,
    HandoverChannel,
    HandoverOffer,
    Hello,
    OldMetrics,
    OldSessions,
    Progress,
    Refusal,
    SuccessorReady,
    Transfer,
)
from stagedoor.store.schema import find_compatible_version

OFFER_WITHIN_S = 10.0
OLDER = "-"
"""Begins the name of a worker of the generation before, once for each generation."""


def detach() -> None:
    """Leave the process that the predecessor has started, if this program takes over from one.

    Its parent is then the first process of the system: systemd notices at once if the gateway dies, also
    while the predecessor still has sessions. Call it while there is one thread.
    """
    if VARIABLE in os.environ and os.fork():
        os._exit(0)


class Predecessor:
    """The gateway from which this program takes over. Belongs to one event loop."""

    def __init__(self, channel: HandoverChannel, offer: HandoverOffer) -> None:
        self._channel = channel
        self._offer = offer
        self._workers: set[str] = set()
        self.sessions = 0
        """The number of sessions in its workers, and in those of the generations before it."""
        self.pid = offer.pid
        self.has_handed_over = False
        self._transfer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()

    @classmethod
    async def connect(cls) -> Self | None:
        """Return the gateway that started this program to take over; None if none did.

        Raises StagedoorError if it is of a version that this program does not understand.
        """
        number = os.environ.pop(VARIABLE, None)
        if number is None:
            return None
        try:
            sock = adopt_end(number)
        except (OSError, ValueError):
            raise StagedoorError(f"{VARIABLE} is set, and names no socket; unset it") from None
        channel = await HandoverChannel.open(sock)
        channel.send(Hello(VERSION, __version__, os.getpid()))
        offer = None
        with suppress(TimeoutError):
            async with asyncio.timeout(OFFER_WITHIN_S):
                offer = await channel.receive()
        if isinstance(offer, HandoverOffer) and offer.version in UNDERSTOOD:
            return cls(channel, offer)
        program = offer.program if isinstance(offer, HandoverOffer) else "the running program"
        error = StagedoorError(
            f"{__version__} cannot take over from {program}; restart the gateway instead"
        )
        channel.send(Refusal(str(error)))
        await channel.close_stream()
        raise error

    def check_store(self) -> None:
        """Check that the predecessor can use the store as this program changes it. Raises StagedoorError."""
        if (needed := find_compatible_version(self._offer.schema)) > self._offer.schema:
            raise StagedoorError(
                f"the store of {__version__} needs schema {needed}, and {self._offer.program} uses "
                f"schema {self._offer.schema} as long as its sessions last; restart the gateway instead"
            )

    def adopt_sockets(self) -> Bound:
        """Adopt its listening sockets."""
        bound: Bound = {}
        for kind, address, slot, fds in self._offer.sockets:
            bound[kind, address, slot] = Listening([adopt(fd) for fd in fds])
        return bound

    def report(self, step: str) -> None:
        """Report which step this program begins."""
        self._channel.send(Progress(step))

    def refuse(self, reason: str) -> None:
        """Report why this program does not take over."""
        self._channel.send(Refusal(reason))

    async def take_over(self, settings: str) -> bool:
        """Report that the workers accept, by the settings with this digest, and wait for the hand-over.

        Return False if the predecessor has ended instead, or does not wait any longer. `follow` must run.
        """
        self._channel.send(SuccessorReady(settings))
        return await self._transfer

    async def follow(
        self,
        on_metrics: Callable[[str, MetricsMessage | None], None],
        on_sessions: Callable[[], None],
        on_lost: Callable[[], object],
    ) -> None:
        """Handle its messages until its last session is over.

        `on_metrics` gets the name of a worker with what it measured, or None once it has ended. `on_lost` is
        called if the predecessor ends before it has handed over.
        """
        while (message := await self._channel.receive()) is not None:
            match message:
                case Transfer():
                    self.has_handed_over = True
                    self._transfer.set_result(True)
                case OldSessions(sessions):
                    self.sessions = sessions
                    on_sessions()
                case OldMetrics(worker, measured):
                    name = OLDER + worker
                    (self._workers.discard if measured is None else self._workers.add)(name)
                    on_metrics(name, measured)
        if not self.has_handed_over:
            self._transfer.set_result(False)
            on_lost()
            return
        self.sessions = 0
        on_sessions()
        for name in self._workers:
            on_metrics(name, None)
        self._ended.set()  # the stream stays open: its end would be that of this process

    def stop(self, *, failed: bool) -> None:
        """Have its workers drain, if it has handed over. The second call closes their sessions at once."""
        if self.has_handed_over:
            self._channel.send(GatewayStop(failed))

    async def wait(self) -> None:
        """Wait until its last session is over, if it has handed over."""
        if self.has_handed_over:
            await self._ended.wait()
