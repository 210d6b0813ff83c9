"""The worker processes of a gateway, which are started, drained and killed as the pure `fleet` decides."""

import asyncio
import time
from collections.abc import Callable
from functools import partial

import structlog

from stagedoor.model.errors import StagedoorError
from stagedoor.serve.metrics.tally import MetricTotals
from stagedoor.serve.prepare import Bound, VerifiedSettings, close_lost_sessions
from stagedoor.serve.supervisor import fleet_events
from stagedoor.serve.supervisor.control import MetricsMessage, StartMessage
from stagedoor.serve.supervisor.fleet import Fleet
from stagedoor.serve.supervisor.fleet_events import (
    Exited,
    FleetPlan,
    Kill,
    Launch,
    Publish,
    Retire,
    SendMessage,
    Spawn,
    SpawnFailed,
    Stop,
    Tick,
    WorkerMessage,
)
from stagedoor.serve.supervisor.signing import SigningService
from stagedoor.serve.supervisor.worker_process import WorkerProcess
from stagedoor.store.liveness.instances import make_instance_id
from stagedoor.tasks import Tasks

Forward = Callable[[str, MetricsMessage | None], None]
"""A function that takes a worker's name and metrics, or None once the worker has ended."""
CLOSE_LOST_AGAIN_S = 2.0
"""Seconds until lost sessions are closed again, if the store could not be written."""


class WorkerPool:
    """The processes of all generations of workers of one supervisor. Belongs to one event loop.

    `own_ports` returns the ports that this gateway listens on, for the workers that start.
    """

    def __init__(self, checked: VerifiedSettings, own_ports: Callable[[], tuple[int, ...]]) -> None:
        self.checked = checked
        """The settings in force, or of the first launch."""
        self.state = Fleet()
        self.totals = MetricTotals()
        """Empty after `retire`."""
        self.on_sessions: Callable[[], None] = lambda: None
        """Called when the number of sessions in draining workers has changed."""
        self.old_closed = asyncio.Event()
        """Set once the workers of older generations have stopped accepting."""
        self.stopped = asyncio.Event()
        """Set once no worker is left, and none will be started."""
        self._own_ports = own_ports
        self._forward: Forward | None = None
        """Set by `retire`."""
        self._launching = checked
        """The settings of the launch in progress, or of the last one."""
        self._sockets: Bound = {}
        self._processes: dict[int, WorkerProcess] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._launched: asyncio.Future[int] | None = None
        self._running = Tasks("following a worker failed")
        self._closing_lost = Tasks("closing lost sessions failed")
        self._signing = SigningService()
        self._signing.apply_settings(checked.settings)

    async def launch(self, checked: VerifiedSettings, sockets: Bound) -> int:
        """Put a new generation into force, and return how many older workers are draining.

        If this raises StagedoorError, the previous generation is still in force, with its sockets.
        """
        before, self._sockets = self._sockets, sockets
        self._launching = checked
        self.old_closed.clear()
        self._launched = asyncio.get_running_loop().create_future()
        workers = checked.settings.workers
        plan = FleetPlan(workers.count, workers.drain_timeout_s)
        self._event(Launch(plan, keeps_connections=checked.text == self.checked.text))
        try:
            return await self._launched
        except BaseException:
            self._sockets = before
            raise

    def retire(self, forward: Forward, *, keeps_connections: bool) -> None:
        """Stop accepting, but let sessions continue. `forward` takes all metrics from now on.

        With `keeps_connections`, SSH clients may still open channels on their connections.
        """
        self.old_closed.clear()
        self._forward = forward
        for worker, measured in self.totals.take():
            forward(worker, measured)
        self._event(Retire(keeps_connections))

    def stop(self) -> None:
        """Drain. The second call closes everything at once."""
        self._event(Stop())

    async def wait(self) -> None:
        """Wait until no worker is left and lost sessions are closed in the audit."""
        await self.stopped.wait()
        await self._closing_lost.wait()

    async def close_store(self) -> None:
        """Close the store of the signing service. May be called again."""
        await asyncio.to_thread(self._signing.close_store)

    def _event(self, event: fleet_events.Event) -> None:
        """Pass an event to the fleet, carry out its actions, and schedule the next tick."""
        for action in self.state.handle_event(event, time.monotonic()):
            match action:
                case Spawn(number):
                    process = WorkerProcess(
                        number, make_instance_id(), self._on_worker, self._signing.answer
                    )
                    self._processes[number] = process
                    self._running.start(process.run(partial(self._begin, action)))
                case SendMessage(number, message):
                    self._processes[number].send(message)
                case Kill(number):
                    process = self._processes[number]
                    structlog.get_logger().error("worker does not end; killed", worker=process.pid)
                    process.kill()
                case Publish(news):
                    self._on_news(news)
        if isinstance(event, Exited | SpawnFailed):
            del self._processes[event.worker]
        if self._timer is not None:
            self._timer.cancel()
        at = self.state.next_at
        loop = asyncio.get_running_loop()
        self._timer = None if at is None else loop.call_at(at, self._event, Tick())

    def _on_worker(self, event: SpawnFailed | WorkerMessage | Exited) -> None:
        """Handle an event of a worker's process."""
        if isinstance(event, WorkerMessage) and isinstance(event.message, MetricsMessage):
            self.take_metrics(str(event.worker), event.message)
            return
        if not isinstance(event, WorkerMessage):
            self.take_metrics(str(event.worker), None)
        self._event(event)

    def take_metrics(self, worker: str, measured: MetricsMessage | None) -> None:
        """Take what a worker of any generation has measured, or None once it has ended."""
        if self._forward is not None:
            self._forward(worker, measured)
        elif measured is None:
            self.totals.forget(worker)
        else:
            self.totals.add(worker, measured)

    def _begin(self, spawn: Spawn) -> StartMessage | None:
        """Return the message that starts a worker; None if the gateway is stopping or has handed over."""
        if self.state.is_stopping or self.state.is_retired:
            return None
        in_force = spawn.generation == self.state.generation
        checked = self.checked if in_force else self._launching
        sockets = tuple(
            (kind, fd)
            for (kind, _, slot), listening in self._sockets.items()
            if slot == spawn.slot
            for fd in listening.list_descriptors()
        )
        instance = self._processes[spawn.worker].instance
        return StartMessage(checked.text, checked.name, instance, sockets, self._own_ports())  # type: ignore[arg-type]  # the kinds are the literals that `bind_all` writes

    def _on_news(self, news: fleet_events.News) -> None:
        log = structlog.get_logger()
        match news:
            case fleet_events.InForce(draining):
                self.checked = self._launching
                self._signing.apply_settings(self.checked.settings)
                if self._launched is not None and not self._launched.done():
                    self._launched.set_result(draining)
            case fleet_events.Refused(reason):
                if self._launched is not None and not self._launched.done():
                    self._launched.set_exception(StagedoorError(reason))
            case fleet_events.OldClosed():
                self.old_closed.set()
            case fleet_events.WorkerDrains(number, sessions):
                log.info("sessions left", worker=self._processes[number].pid, sessions=sessions)
                self.on_sessions()
            case fleet_events.WorkerFailed(number, code, reason, restart_in_s):
                log.error(
                    "worker died",
                    worker=self._processes[number].pid,
                    code=code,
                    reason=reason,
                    restart_in_s=restart_in_s,
                )
            case fleet_events.CannotRestart(reason, again_in_s):
                log.error(reason, again_in_s=again_in_s)
            case fleet_events.WorkerExited(number):
                instance = self._processes[number].instance
                self._closing_lost.start(self._close_lost(instance))
                self.on_sessions()
            case fleet_events.Stopped():
                self.stopped.set()

    async def _close_lost(self, instance: str) -> None:
        """Close in the audit the sessions that a dead worker left open, once the store can be written."""
        is_logged = False
        log = structlog.get_logger()
        while True:
            try:
                lost = await asyncio.to_thread(close_lost_sessions, self.checked.settings, instance)
            except StagedoorError as error:
                if not is_logged:
                    is_logged = True
                    log.error("lost sessions cannot be closed in the audit yet", reason=str(error))
                if self.state.is_stopping:  # the next start closes them
                    return
                await asyncio.sleep(CLOSE_LOST_AGAIN_S)
            else:
                if lost:
                    log.warning("sessions were lost with their worker", lost=len(lost))
                return
