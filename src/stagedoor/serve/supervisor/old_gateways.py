"""The supervisors that have handed over but still have sessions, as the newest one sees them."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from stagedoor import __version__
from stagedoor.net.notify import has_service_manager
from stagedoor.serve.supervisor.control import MetricsMessage
from stagedoor.serve.supervisor.handover import (
    VERSION,
    GatewayStop,
    HandoverChannel,
    Hello,
    OldMetrics,
    OldSessions,
)
from stagedoor.tasks import Tasks

OnMetrics = Callable[[str, MetricsMessage | None], None]
"""A function that takes a worker's name and metrics, or None once the worker has ended."""


@dataclass(slots=True, eq=False)
class _OldGateway:
    channel: HandoverChannel
    pid: int
    version: int
    sessions: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    workers: set[str] = field(default_factory=set)
    """The workers that have sent metrics."""


class OldGateways:
    """The gateways that have handed over, the oldest first. Belongs to one event loop.

    `on_metrics` is called with their workers' metrics.
    """

    def __init__(self, on_metrics: OnMetrics) -> None:
        self._on_metrics = on_metrics
        self._gateways: list[_OldGateway] = []
        self._following = Tasks("following an older gateway failed")

    @property
    def sessions(self) -> int:
        """The number of sessions in their workers."""
        return sum(gateway.sessions for gateway in self._gateways)

    def list_streams(self) -> tuple[tuple[int, int, int], ...]:
        """Return the streams to offer: a descriptor, a process id and a version each.

        Call this before `pass_on`, and add nothing in between.
        """
        self._gateways = [older for older in self._gateways if not older.channel.is_closed]
        return tuple((older.channel.fileno(), older.pid, older.version) for older in self._gateways)

    def add(self, channel: HandoverChannel, pid: int, version: int, sessions: int = 0) -> None:
        """Follow another gateway, until its last session is over or it is passed on."""
        gateway = _OldGateway(channel, pid, version, sessions)
        self._gateways.append(gateway)
        self._following.start(self._follow(gateway))

    async def pass_on(self) -> tuple[tuple[int, bytes], ...]:
        """Stop following all of them, and return what the next supervisor needs for each stream."""
        gateways, self._gateways = self._gateways, []
        return tuple([(older.sessions, await older.channel.pass_on()) for older in gateways])

    def announce(self, settings: str) -> None:
        """Announce this gateway to them, with the digest of its settings."""
        for gateway in self._gateways:
            gateway.channel.send(Hello(VERSION, __version__, os.getpid(), settings))

    def stop(self) -> None:
        """Let their workers drain. The second call closes their sessions at once."""
        for gateway in self._gateways:
            gateway.channel.send(GatewayStop())

    async def wait(self) -> None:
        """Wait until their last session is over."""
        for gateway in tuple(self._gateways):
            await gateway.ended.wait()

    async def _follow(self, gateway: _OldGateway) -> None:
        while (message := await gateway.channel.receive()) is not None:
            match message:
                case OldSessions(sessions):
                    gateway.sessions = sessions
                case OldMetrics(worker, measured):
                    self._take(gateway, worker, measured)
        if gateway not in self._gateways:
            return
        gateway.sessions = 0
        for worker in tuple(gateway.workers):
            self._take(gateway, worker, None)
        gateway.ended.set()
        # Without a service manager, the very first one runs until the gateway ends, of which it learns here.
        if has_service_manager() or gateway is not self._gateways[0]:
            await gateway.channel.close_stream()

    def _take(self, gateway: _OldGateway, worker: str, measured: MetricsMessage | None) -> None:
        """Pass on a worker's metrics by the name `PID:WORKER`.

        A gateway that hands over also sends its last knowledge of older gateways' workers, by these names. As
        their own gateway sends it from then on, it counts as sent by that one.
        """
        pid, _, name = worker.rpartition(":")
        if pid:
            sender = next((older for older in self._gateways if str(older.pid) == pid), None)
            if sender is None or sender.ended.is_set():
                return
            gateway = sender
        (gateway.workers.discard if measured is None else gateway.workers.add)(name)
        self._on_metrics(f"{gateway.pid}:{name}", measured)
