"""The supervisor process: it owns the sockets and starts, restarts, reloads and drains the workers.

It binds every socket, so that the accept queue of a worker that dies is left to the next one, and a
reload starts a new generation of workers on the same sockets while the old one drains. `fleet`
decides what has to be done; this module is the I/O around it.
"""

import asyncio
import os
import resource
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from stagedoor.model.errors import StagedoorError
from stagedoor.model.metric import Series
from stagedoor.model.source import host_port
from stagedoor.net.notify import notify_service_manager
from stagedoor.serve import log
from stagedoor.serve.health import Condition, HealthEndpoint
from stagedoor.serve.metrics.tally import MetricTotals
from stagedoor.serve.prepare import (
    Bound,
    VerifiedSettings,
    bind_all,
    certificate_gauges,
    check,
    close_lost_sessions,
    prepare,
    warn_of_certificate,
)
from stagedoor.serve.problem_log import ProblemLog
from stagedoor.serve.process import call_when_reachable
from stagedoor.serve.supervisor import fleet_events
from stagedoor.serve.supervisor.audit_output import AuditOutput
from stagedoor.serve.supervisor.control import MetricsMessage, StartMessage
from stagedoor.serve.supervisor.controller_process import ControllerProcess
from stagedoor.serve.supervisor.fleet import Fleet
from stagedoor.serve.supervisor.fleet_events import (
    Exited,
    FleetPlan,
    Kill,
    Launch,
    Publish,
    SendMessage,
    Spawn,
    SpawnFailed,
    Stop,
    Tick,
    WorkerMessage,
)
from stagedoor.serve.supervisor.gateway_file import GatewayFile
from stagedoor.serve.supervisor.signing import SigningService
from stagedoor.serve.supervisor.worker_process import WorkerProcess
from stagedoor.store.liveness.instances import make_instance_id

CLOSE_LOST_AGAIN_S = 2.0
"""Seconds until lost sessions are closed again, if the store could not be written."""


class Supervisor:
    """The supervisor of one gateway, started with the settings in `checked`.

    For a reload, `load` reads and checks the settings again. It raises StagedoorError, with a message
    of one line, if they are bad.
    """

    def __init__(self, checked: VerifiedSettings, load: Callable[[], VerifiedSettings]) -> None:
        self._load = load
        self._log = structlog.get_logger()
        self._checked = checked
        self._launching = checked
        """The settings of the launch in progress, or of the last one."""
        self._sockets: Bound = {}
        self._fleet = Fleet()
        self._workers: dict[int, WorkerProcess] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._launched: asyncio.Future[int] | None = None
        self._handed_over = asyncio.Event()
        self._stopped = asyncio.Event()
        self._reload_lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[object]] = set()
        self._closing_lost: set[asyncio.Task[object]] = set()
        self._waits_for_store = False
        self._problems = ProblemLog(self._log)
        self._totals = MetricTotals()
        self._health = HealthEndpoint(self._condition, self._measured)
        self._controller = ControllerProcess()
        self._gateway_file = GatewayFile()
        self._signing = SigningService()
        self._signing.follow(checked.settings)
        self._audit = AuditOutput(self._problems)

    def addresses(self) -> dict[str, list[tuple[str, int]]]:
        """Return the addresses and ports that are listened on, with the real port where 0 was set.

        The kinds are `tunnel`, `tunnel-tls`, `ssh`, `web`, `web-tls` and `health`.
        """
        addresses: dict[str, list[tuple[str, int]]] = {}
        for (kind, _, slot), listening in self._sockets.items():
            if slot == 0:
                addresses.setdefault(kind, []).extend(listening.names())
        if health := self._health.addresses():
            addresses["health"] = health
        return addresses

    def _own_ports(self) -> tuple[int, ...]:
        return tuple(sorted({port for names in self.addresses().values() for _, port in names}))

    def _condition(self) -> Condition:
        """Return the condition that probes see."""
        return Condition(
            draining=self._fleet.is_stopping,
            workers=0 if self._fleet.is_stopping else self._fleet.accepting,
            wanted=self._checked.settings.workers.count,
            deaths=self._fleet.died,
            left=self._fleet.sessions_left,
            waits_for_store=self._waits_for_store,
            sinks=self._audit.states(),
        )

    def _measured(self) -> dict[Series, float]:
        """Return the metrics of the workers, and the time until certificates expire."""
        return self._totals.values() | certificate_gauges(self._checked.settings, time.time())

    async def start(self, prepare: Callable[[], None] = lambda: None) -> bool:
        """Call `prepare`, bind, start the first generation, and wait until every worker accepts.

        While the store cannot be reached, `prepare` is called again. Returns False if a signal came first.
        Raises StagedoorError if an address cannot be bound or a worker cannot start.
        """
        await self._health.listen(self._checked.settings.health)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        await call_when_reachable(prepare, self._on_store_problem, self._stopped)
        if self._fleet.is_stopping:
            await self.wait()
            return False
        self._warn(self._checked)
        self._sockets = bind_all(self._checked.settings, {})
        try:
            await self._launch(self._checked)
        except StagedoorError:
            if self._fleet.is_stopping:  # a signal came during the start
                return True
            self.stop()
            await self.wait()
            raise
        await self._controller.follow(self._checked)
        await asyncio.to_thread(self._audit.follow, self._checked.settings)
        for kind, names in self.addresses().items():
            shown = [host_port(*name) for name in names]
            self._log.info("listening", kind=kind, addresses=shown)
        self._log_password_groups()
        notify_service_manager("READY=1")
        return True

    def _log_password_groups(self) -> None:
        groups = self._checked.settings.accounts.password_groups
        if groups is not None:
            self._log.info("only these groups have passwords", groups=list(groups))

    def _on_store_problem(self, problem: str | None) -> None:
        self._waits_for_store = problem is not None
        if problem is not None:  # sd_notify(3): the start waits, and does not hang
            notify_service_manager("EXTEND_TIMEOUT_USEC=30000000")
        self._problems("store", problem)

    async def wait(self) -> None:
        """Wait until every worker has ended after `stop`, and lost sessions are closed in the audit."""
        await self._stopped.wait()
        await asyncio.gather(*self._closing_lost)
        await self._health.stop()
        await self._controller.stop()
        await asyncio.to_thread(self._audit.stop)
        self._gateway_file.remove()
        await asyncio.to_thread(self._signing.close_store)

    def _warn(self, checked: VerifiedSettings) -> None:
        """Log what works now and will become a problem."""
        warnings = [warn_of_certificate(checked.settings, time.time())]
        try:
            warnings += self._gateway_file.announce(checked)
        except StagedoorError as error:
            warnings.append(str(error))
        for warning in filter(None, warnings):
            self._log.warning(warning)

    def stop(self) -> None:
        """Drain. The second call closes everything at once."""
        if self._fleet.is_stopping:
            self._log.warning("closing at once", sessions=self._fleet.sessions_left)
        else:
            notify_service_manager("STOPPING=1")
            # Our copies too, or the kernel would still take connections that no worker accepts.
            for listening in self._sockets.values():
                listening.close_sockets()
            timeout_s = self._checked.settings.workers.drain_timeout_s
            self._log.info("draining", timeout_s=timeout_s)
        self._event(Stop())

    def _on_hangup(self) -> None:
        self._spawn(self.reload(), self._tasks)

    async def reload(self) -> bool:
        """Put new settings, keys and certificates in force, or change nothing and log why."""
        async with self._reload_lock:
            if self._fleet.is_stopping or self._waits_for_store:
                return False
            notify_service_manager("RELOADING=1")
            held, fresh = self._sockets, Bound()
            try:
                checked = self._load()
                fresh = bind_all(checked.settings, held)
                await self._health.listen(checked.settings.health)
                self._sockets = fresh
                draining = await self._launch(checked)
            except BaseException as error:
                self._sockets = held
                with suppress(StagedoorError):
                    await self._health.listen(self._checked.settings.health)
                for key in fresh.keys() - held.keys():
                    fresh[key].close_sockets()
                if not isinstance(error, StagedoorError):
                    raise
                if self._fleet.is_stopping:
                    # `stop` has closed the launch's sockets; no worker accepts from these any more.
                    for listening in held.values():
                        listening.close()
                    return False
                self._log.error("reload refused: nothing has changed", reason=str(error))
                notify_service_manager("READY=1")
                return False
            log.configure(checked.settings.log)
            self._log = structlog.get_logger()
            self._warn(checked)
            await self._controller.follow(checked)
            await asyncio.to_thread(self._audit.follow, checked.settings)
            # Until the handover an old worker may still answer by the old settings.
            await self._handed_over.wait()
            for key in held.keys() - fresh.keys():
                held[key].close_sockets()
            self._log.info("reloaded", workers=checked.settings.workers.count, draining=draining)
            self._log_password_groups()
            notify_service_manager("READY=1")
            return True

    async def _launch(self, checked: VerifiedSettings) -> int:
        """Put a new generation in force, and return how many older workers drain.

        Raises StagedoorError.
        """
        self._launching = checked
        self._handed_over.clear()
        self._launched = asyncio.get_running_loop().create_future()
        workers = checked.settings.workers
        self._event(Launch(FleetPlan(workers.count, workers.drain_timeout_s)))
        return await self._launched

    def _event(self, event: fleet_events.Event) -> None:
        """Pass an event to the fleet, carry out its actions, and schedule the next tick."""
        for action in self._fleet.event(event, time.monotonic()):
            match action:
                case Spawn(number):
                    process = WorkerProcess(
                        number, make_instance_id(), self._on_worker, self._signing.answer
                    )
                    self._workers[number] = process
                    self._spawn(process.run(partial(self._begin, action)), self._tasks)
                case SendMessage(number, message):
                    self._workers[number].send(message)
                case Kill(number):
                    process = self._workers[number]
                    self._log.error("worker does not end; killed", worker=process.pid)
                    process.kill()
                case Publish(news):
                    self._on_news(news)
        if isinstance(event, Exited | SpawnFailed):
            del self._workers[event.worker]
        if self._timer is not None:
            self._timer.cancel()
        at = self._fleet.next_at
        loop = asyncio.get_running_loop()
        self._timer = None if at is None else loop.call_at(at, self._event, Tick())

    def _on_worker(self, event: SpawnFailed | WorkerMessage | Exited) -> None:
        """Handle an event of a worker's process."""
        if isinstance(event, WorkerMessage) and isinstance(event.message, MetricsMessage):
            self._totals.add(event.worker, event.message)
            return
        if not isinstance(event, WorkerMessage):
            self._totals.forget(event.worker)
        self._event(event)

    def _begin(self, spawn: Spawn) -> StartMessage | None:
        """Return the message that starts a worker; None if the gateway is stopping."""
        if self._fleet.is_stopping:
            return None
        in_force = spawn.generation == self._fleet.generation
        checked = self._checked if in_force else self._launching
        sockets = tuple(
            (kind, fd)
            for (kind, _, slot), listening in self._sockets.items()
            if slot == spawn.slot
            for fd in listening.fds()
        )
        instance = self._workers[spawn.worker].instance
        return StartMessage(checked.text, checked.name, instance, sockets, self._own_ports())  # type: ignore[arg-type]  # the kinds are the literals that `bind_all` writes

    def _on_news(self, news: fleet_events.News) -> None:
        match news:
            case fleet_events.InForce(draining):
                self._checked = self._launching
                self._signing.follow(self._checked.settings)
                if self._launched is not None and not self._launched.done():
                    self._launched.set_result(draining)
            case fleet_events.Refused(reason):
                if self._launched is not None and not self._launched.done():
                    self._launched.set_exception(StagedoorError(reason))
            case fleet_events.OldClosed():
                self._handed_over.set()
            case fleet_events.WorkerDrains(number, sessions):
                self._log.info("sessions left", worker=self._workers[number].pid, sessions=sessions)
            case fleet_events.WorkerFailed(number, code, reason, restart_in_s):
                self._log.error(
                    "worker died",
                    worker=self._workers[number].pid,
                    code=code,
                    reason=reason,
                    restart_in_s=restart_in_s,
                )
            case fleet_events.CannotRestart(reason, again_in_s):
                self._log.error(reason, again_in_s=again_in_s)
            case fleet_events.WorkerExited(number):
                self._spawn(self._close_lost(self._workers[number].instance), self._closing_lost)
            case fleet_events.Stopped():
                self._stopped.set()

    async def _close_lost(self, instance: str) -> None:
        """Close in the audit the sessions that a dead worker left open, once the store can be written."""
        is_logged = False
        while True:
            try:
                lost = await asyncio.to_thread(
                    close_lost_sessions, self._checked.settings, instance
                )
            except StagedoorError as error:
                if not is_logged:
                    is_logged = True
                    self._log.error(
                        "lost sessions cannot be closed in the audit yet", reason=str(error)
                    )
                if self._fleet.is_stopping:  # the next start closes them
                    return
                await asyncio.sleep(CLOSE_LOST_AGAIN_S)
            else:
                if lost:
                    self._log.warning("sessions were lost with their worker", lost=len(lost))
                return

    def _spawn(
        self, coroutine: Coroutine[object, object, object], among: set[asyncio.Task[object]]
    ) -> None:
        """Run a coroutine as a task, and keep a reference to it in `among` until it is done."""
        task = asyncio.get_running_loop().create_task(coroutine)
        among.add(task)
        task.add_done_callback(among.discard)


async def serve_forever(settings_file: Path | None) -> None:
    """Run a gateway until a signal ends it.

    Raises SettingsError or another StagedoorError if it cannot start.
    """
    # A tunnel takes two descriptors, and the customary soft limit is 1024 (systemd.exec(5) on why).
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    checked = check(settings_file)
    log.configure(checked.settings.log)
    supervisor = Supervisor(checked, lambda: check(settings_file))
    if not await supervisor.start(lambda: prepare(checked.settings)):
        return
    structlog.get_logger().info("serving", pid=os.getpid(), data_dir=str(checked.settings.data_dir))
    await supervisor.wait()
