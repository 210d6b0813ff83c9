"""The supervisor process: it owns the sockets, and reloads, hands over and stops what accepts from them.

It binds every socket. So the accept queue of a dead worker passes to the next one, and a reload starts a new
generation of workers on the same sockets while the old one drains. An upgrade is a reload by another program:
its supervisor is started with the sockets (`successor`), and takes over once its workers accept
(`predecessor`). This one then runs until the last session of its workers is over.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from stagedoor.model.errors import StagedoorError
from stagedoor.model.metric import Series
from stagedoor.model.source import join_host_port
from stagedoor.net.notify import has_service_manager, notify_service_manager
from stagedoor.serve import log
from stagedoor.serve.health import Condition
from stagedoor.serve.prepare import (
    Bound,
    VerifiedSettings,
    bind_all,
    measure_certificates,
    warn_of_certificate,
)
from stagedoor.serve.problem_log import ProblemLog
from stagedoor.serve.process import call_when_reachable
from stagedoor.serve.supervisor.gateway_file import GatewayFile
from stagedoor.serve.supervisor.old_gateways import OldGateways
from stagedoor.serve.supervisor.predecessor import Predecessor
from stagedoor.serve.supervisor.side_services import SideServices
from stagedoor.serve.supervisor.upgrade import UpgradeService
from stagedoor.serve.supervisor.worker_pool import WorkerPool
from stagedoor.settings.form import split_address
from stagedoor.tasks import Tasks

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)


class Supervisor:
    """The supervisor of one gateway, started with the settings in `checked`.

    For a reload, `load` reads and checks the settings again. If they are wrong, it raises StagedoorError with
    a message of one line. For an upgrade, `command` starts the program again. `predecessor` is the gateway
    that this one takes over from, if any.
    """

    def __init__(
        self,
        checked: VerifiedSettings,
        load: Callable[[], VerifiedSettings],
        command: Sequence[str] = (),
        predecessor: Predecessor | None = None,
    ) -> None:
        self._load = load
        self._log = structlog.get_logger()
        self._sockets: Bound = {}
        self._workers = WorkerPool(checked, self._own_ports)
        self._predecessor = predecessor
        self._change_lock = asyncio.Lock()
        self._tasks = Tasks("a reload or an upgrade failed")
        self._waits_for_store = False
        self._problems = ProblemLog(self._log)
        self._services = SideServices(self._read_condition, self._measure, self._problems)
        self._gateway_file = GatewayFile()
        self._older = OldGateways(self._workers.take_metrics)
        self._upgrade = UpgradeService(
            command,
            self._workers,
            self._services,
            self._gateway_file,
            self._older,
            self.stop,
            stays=predecessor is None and not has_service_manager(),
        )
        self._workers.on_sessions = self._upgrade.report_sessions

    @property
    def _checked(self) -> VerifiedSettings:
        """The settings in force."""
        return self._workers.checked

    def list_addresses(self) -> dict[str, list[tuple[str, int]]]:
        """Return the addresses and ports that this gateway listens on, with the actual port in place of 0.

        The kinds are `tunnel`, `tunnel-tls`, `ssh`, `web`, `web-tls` and `health`.
        """
        addresses: dict[str, list[tuple[str, int]]] = {}
        for (kind, _, slot), listening in self._sockets.items():
            if slot == 0:
                addresses.setdefault(kind, []).extend(listening.list_addresses())
        if health := self._services.health.list_addresses():
            addresses["health"] = health
        return addresses

    def _own_ports(self) -> tuple[int, ...]:
        ports = {port for names in self.list_addresses().values() for _, port in names}
        if (address := self._checked.settings.health.address) is not None:
            ports.add(split_address(address)[1])  # before a hand-over the predecessor listens there
        return tuple(sorted(ports - {0}))

    def _read_condition(self) -> Condition:
        """Return the condition for probes."""
        state = self._workers.state
        return Condition(
            draining=state.is_stopping,
            workers=0 if state.is_stopping else state.accepting,
            wanted=self._checked.settings.workers.count,
            deaths=state.died,
            # Including those in the workers of older gateways.
            left=state.sessions_left + self._older.sessions,
            waits_for_store=self._waits_for_store,
            sinks=self._services.audit.read_states(),
        )

    def _measure(self) -> dict[Series, float]:
        """Return the metrics of the workers, and the time until certificates expire."""
        certificates = measure_certificates(self._checked.settings, time.time())
        return self._workers.totals.combine() | certificates

    async def start(self, prepare: Callable[[], None] = lambda: None) -> bool:
        """Call `prepare`, bind, start the first generation, and wait until every worker accepts.

        While the store cannot be reached, `prepare` is called again. Returns False if a signal came first, or
        if the predecessor did not hand over. Raises StagedoorError if an address cannot be bound or a worker
        cannot start.
        """
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        held = await self._prepare(prepare)
        if self._workers.state.is_stopping:
            await self.wait()
            return False
        self._sockets = bind_all(self._checked.settings, held)
        for key in held.keys() - self._sockets.keys():
            held[key].close_sockets()
        try:
            await self._workers.launch(self._checked, self._sockets)
        except StagedoorError:
            if self._workers.state.is_stopping:  # a signal came during the start
                await self.wait()
                return False
            self.stop()
            await self.wait()
            raise
        before = self._predecessor
        if before is not None and not await before.take_over(self._checked.digest, self._older):
            await self.wait()
            return False
        await self._services.begin(self._checked)
        if before is not None:  # only now, since `stagedoor upgrade` waits for it
            self._warn(self._checked)
        for kind, names in self.list_addresses().items():
            shown = [join_host_port(*name) for name in names]
            self._log.info("listening", kind=kind, addresses=shown)
        _log_password_groups(self._checked)
        notify_service_manager("READY=1")
        return True

    async def _prepare(self, prepare: Callable[[], None]) -> Bound:
        """Call `prepare`, and return the sockets that the predecessor hands over. Raises StagedoorError."""
        before = self._predecessor
        if before is None:
            await self._services.health.listen(self._checked.settings.health)
            await call_when_reachable(prepare, self._on_store_problem, self._workers.stopped)
            if not self._workers.state.is_stopping:
                self._warn(self._checked)
            return {}
        self._tasks.start(before.watch(self._on_lost_predecessor))
        before.report("preparing the store")
        await asyncio.to_thread(prepare)
        before.report(f"starting {self._checked.settings.workers.count} workers")
        return before.adopt_sockets()

    def _on_lost_predecessor(self) -> None:
        self._log.error("the gateway that was to hand over has ended")
        self.stop()

    def _on_store_problem(self, problem: str | None) -> None:
        self._waits_for_store = problem is not None
        if problem is not None:  # sd_notify(3): the start waits, and does not hang
            notify_service_manager("EXTEND_TIMEOUT_USEC=30000000")
        self._problems("store", problem)

    async def wait(self) -> None:
        """After `stop`, wait until every worker has ended and lost sessions are closed in the audit.

        After a hand-over, wait for the sessions of the workers instead, and also for the new gateway's end if
        no service manager does so. Raises StagedoorError if the new gateway has died.
        """
        await self._workers.wait()
        await self._services.end()
        self._gateway_file.remove()
        await self._workers.close_store()
        await self._older.wait()
        await self._upgrade.wait()

    def _warn(self, checked: VerifiedSettings) -> None:
        """Log what still works but will become a problem."""
        warnings = [warn_of_certificate(checked.settings, time.time())]
        try:
            before = 0 if self._predecessor is None else self._predecessor.pid
            warnings += self._gateway_file.announce(checked, before)
        except StagedoorError as error:
            warnings.append(str(error))
        for warning in filter(None, warnings):
            self._log.warning(warning)

    def stop_gateway(self) -> None:
        """Stop this gateway, or the one to which it has handed over."""
        if not self._upgrade.pass_on(signal.SIGTERM):
            self.stop()

    def stop(self) -> None:
        """Drain, with the workers of older gateways. The second call closes everything at once."""
        if self._workers.state.is_stopping:
            self._log.warning("closing at once", sessions=self._workers.state.sessions_left)
        else:
            if not self._workers.state.is_retired:
                notify_service_manager("STOPPING=1")
            self._upgrade.cancel()
            # Close our copies too, or the kernel would still take connections that no worker accepts.
            for listening in self._sockets.values():
                listening.close_sockets()
            timeout_s = self._checked.settings.workers.drain_timeout_s
            self._log.info("draining", timeout_s=timeout_s)
        self._older.stop()
        self._workers.stop()

    def _on_signal(self, number: signal.Signals) -> None:
        if self._upgrade.pass_on(number):
            return
        match number:
            case signal.SIGHUP:
                self._tasks.start(self._reload())
            case signal.SIGUSR2:
                self._tasks.start(self._hand_over())
            case _:
                self.stop()

    async def _hand_over(self) -> None:
        async with self._change_lock:
            why_not = "" if self._can_change else "the gateway has not started yet, or it stops"
            await self._upgrade.run(self._sockets, why_not)

    async def _reload(self) -> None:
        """Put new settings, keys and certificates into force, or change nothing and log why."""
        async with self._change_lock:
            if not self._can_change:
                return
            notify_service_manager("RELOADING=1")
            held, fresh = self._sockets, Bound()
            try:
                checked = self._load()
                fresh = bind_all(checked.settings, held)
                await self._services.health.listen(checked.settings.health)
                self._sockets = fresh
                draining = await self._workers.launch(checked, fresh)
            except BaseException as error:
                self._sockets = held
                with suppress(StagedoorError):
                    await self._services.health.listen(self._checked.settings.health)
                for key in fresh.keys() - held.keys():
                    fresh[key].close_sockets()
                if not isinstance(error, StagedoorError):
                    raise
                if self._workers.state.is_stopping:
                    # `stop` has closed the launch's sockets; no worker accepts from these any more.
                    for listening in held.values():
                        listening.close_sockets()
                    return
                self._log.error("reload refused: nothing has changed", reason=str(error))
                notify_service_manager("READY=1")
                return
            log.configure(checked.settings.log)
            self._log = structlog.get_logger()
            self._warn(checked)
            await self._services.apply_settings(checked)
            self._older.announce(checked.digest)
            # Until the hand-over, an old worker may still answer by the old settings.
            await self._workers.old_closed.wait()
            for key in held.keys() - fresh.keys():
                held[key].close_sockets()
            self._log.info("reloaded", workers=checked.settings.workers.count, draining=draining)
            _log_password_groups(self._checked)
            notify_service_manager("READY=1")

    @property
    def _can_change(self) -> bool:
        """Return whether a reload or an upgrade can begin now."""
        state = self._workers.state
        return not (state.is_stopping or state.is_retired or self._waits_for_store)


def _log_password_groups(checked: VerifiedSettings) -> None:
    groups = checked.settings.accounts.password_groups
    if groups is not None:
        structlog.get_logger().info("only these groups have passwords", groups=list(groups))
