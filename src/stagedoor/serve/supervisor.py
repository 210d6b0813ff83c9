"""The small process that owns the sockets and keeps the workers: start, restart, reload, drain.

It binds every socket, so that a worker that dies leaves its accept queue to the next one, and a
reload starts a new generation of workers on the same sockets while the old one drains.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
import structlog

from stagedoor.model.errors import StagedoorError
from stagedoor.net.listen import Listening, bind
from stagedoor.net.notify import notify_service_manager
from stagedoor.serve import log, restart
from stagedoor.serve.control import (
    Begin,
    Close,
    Drain,
    Failed,
    Left,
    ToWorker,
    Up,
    line,
    read_from_worker,
)
from stagedoor.serve.controller_process import ControllerProcess
from stagedoor.serve.health import Condition, HealthEndpoint
from stagedoor.serve.prepare import Checked, bury
from stagedoor.settings.form import split_address
from stagedoor.store.instances import new_instance_id

START_TIMEOUT_S = 60.0
SHUT_TIMEOUT_S = 5.0
"""How long a reload waits for the old workers to say that they accept no more."""
CLOSE_GRACE_S = 15.0
"""How long a worker may take to end once it was told to: longer than its sessions and its audit may."""
BURY_AGAIN_S = 2.0
"""How long until the next try, where the store cannot be written."""


@dataclass(eq=False)
class Worker:
    """One worker process, as the supervisor sees it."""

    slot: int
    generation: int
    instance: str
    process: asyncio.subprocess.Process
    born: float
    up: asyncio.Future[None]
    shut: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """It accepts no more."""
    retired: bool = False
    left: int | None = None
    failure: str = ""
    watcher: asyncio.Task[None] | None = field(default=None, repr=False)

    def tell(self, message: ToWorker) -> None:
        if self.process.stdin is not None and not self.process.stdin.is_closing():
            self.process.stdin.write(line(message))


class Supervisor:
    """Starts with `checked`; `load` reads and checks the settings anew for a reload.

    `load` raises StagedoorError with one line if they are bad.
    """

    def __init__(self, checked: Checked, load: Callable[[], Checked]) -> None:
        self._load = load
        self._log = structlog.get_logger()
        self._checked = checked
        self._sockets: dict[tuple[str, str, int], Listening] = {}
        self._workers: set[Worker] = set()
        self._starting = 0
        """Processes that were asked for and are not yet in `_workers`."""
        self._deaths: dict[int, int] = {}
        self._generation = 0
        """The one in force: each start and each reload makes a new one of all workers."""
        self._stopping = False
        self._stopped = asyncio.Event()
        self._reload_lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._burials: set[asyncio.Task[None]] = set()
        self._died = 0
        self._health = HealthEndpoint(self._condition)
        self._controller = ControllerProcess()

    def addresses(self) -> dict[str, list[tuple[str, int]]]:
        """What is listened on, by kind (`tunnel`, `tunnel-tls`, `ssh`, `web`, `web-tls`, `health`): the
        ports that 0 became included.
        """
        found: dict[str, list[tuple[str, int]]] = {}
        for (kind, _, slot), listening in self._sockets.items():
            if slot == 0:
                found.setdefault(kind, []).extend(listening.names())
        if health := self._health.addresses():
            found["health"] = health
        return found

    def _condition(self) -> Condition:
        """For probes: who of the generation in force accepts, and who of the others is still inside."""
        accepting = [
            one
            for one in self._workers
            if one.generation == self._generation
            and not one.retired
            and one.up.done()
            and not one.up.exception()
        ]
        return Condition(
            draining=self._stopping,
            workers=0 if self._stopping else len(accepting),
            wanted=self._checked.settings.workers.count,
            deaths=self._died,
            left=self._sessions_left(),
        )

    async def start(self) -> None:
        """Bind, start the first generation, and return once every worker accepts.

        Raises StagedoorError when an address cannot be had or a worker cannot start.
        """
        self._sockets = self._bind(self._checked, {})
        await self._health.listen(self._checked.settings.health)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        try:
            await self._start_generation(self._checked, 1)
        except StagedoorError:
            self._generation = -1  # nobody is to be started again
            self.stop()
            await self.wait()
            raise
        if self._stopping:  # a signal came as we started
            return
        await self._controller.follow(self._checked)
        for kind, names in self.addresses().items():
            shown = [
                f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in names
            ]
            self._log.info("listening", kind=kind, addresses=shown)
        notify_service_manager("READY=1")

    async def wait(self) -> None:
        """Return when every worker has gone after `stop`, and what the dead left open is closed."""
        await self._stopped.wait()
        await asyncio.gather(*self._burials)
        await self._health.close()
        await self._controller.close()

    def stop(self) -> None:
        """First call: drain. Second: close everything at once."""
        if self._stopping:
            self._log.warning("closing at once", sessions=self._sessions_left())
            for worker in self._workers:
                worker.tell(Close())
                self._spawn(self._end_within(worker, CLOSE_GRACE_S))
            return
        self._stopping = True
        notify_service_manager("STOPPING=1")
        # Ours too: else the kernel would go on to answer, and nobody would ever accept.
        for listening in self._sockets.values():
            listening.close()
        timeout_s = self._checked.settings.workers.drain_timeout_s
        self._log.info("draining", timeout_s=timeout_s)
        for worker in self._workers:
            self._drain(worker)
        self._stop_when_empty()

    def _drain(self, worker: Worker) -> None:
        timeout_s = self._checked.settings.workers.drain_timeout_s
        worker.tell(Drain(timeout_s))
        self._spawn(self._end_within(worker, timeout_s + CLOSE_GRACE_S))

    def _on_hangup(self) -> None:
        self._spawn(self.reload())

    async def reload(self) -> bool:
        """Take new settings, keys and certificates into force, or change nothing and say why."""
        async with self._reload_lock:
            if self._stopping:
                return False
            notify_service_manager("RELOADING=1")
            fresh: dict[tuple[str, str, int], Listening] = {}
            try:
                checked = self._load()
                fresh = self._bind(checked, self._sockets)
                await self._health.listen(checked.settings.health)
                kept, self._sockets = self._sockets, fresh
                try:
                    await self._start_generation(checked, self._generation + 1)
                except BaseException:
                    self._sockets = kept
                    raise
            except StagedoorError as error:
                with suppress(StagedoorError):
                    await self._health.listen(self._checked.settings.health)
                for key in fresh.keys() - self._sockets.keys():
                    fresh[key].close()
                self._log.error("reload refused: nothing has changed", reason=str(error))
                notify_service_manager("READY=1")
                return False
            self._checked = checked
            log.configure(checked.settings.log)
            self._log = structlog.get_logger()
            await self._controller.follow(checked)
            # By generation, so that one who died and was replaced meanwhile is among them.
            before = [one for one in self._workers if one.generation != self._generation]
            for worker in before:
                worker.retired = True
                if not self._stopping:
                    worker.tell(Drain(None))
            # Until then one of them may still answer by the old settings.
            with suppress(TimeoutError):
                async with asyncio.timeout(SHUT_TIMEOUT_S):
                    await asyncio.gather(*(worker.shut.wait() for worker in before))
            for key in kept.keys() - fresh.keys():
                kept[key].close()
            self._log.info("reloaded", workers=checked.settings.workers.count, draining=len(before))
            notify_service_manager("READY=1")
            return True

    def _bind(
        self, checked: Checked, held: dict[tuple[str, str, int], Listening]
    ) -> dict[tuple[str, str, int], Listening]:
        """A socket for each kind, address and slot; those held already are kept as they are."""
        tunnel = checked.settings.tunnel
        bound: dict[tuple[str, str, int], Listening] = {}
        fresh: list[Listening] = []
        try:
            for kind, setting, texts in (
                ("tunnel", "tunnel.addresses", tunnel.addresses),
                ("tunnel-tls", "tunnel.tls_addresses", tunnel.tls_addresses),
                ("ssh", "ssh.addresses", checked.settings.ssh.addresses),
                ("web", "web.addresses", checked.settings.web.addresses),
                ("web-tls", "web.tls_addresses", checked.settings.web.tls_addresses),
            ):
                for text in texts:
                    first = held.get((kind, text, 0))
                    host, port = split_address(text)
                    for slot in range(checked.settings.workers.count):
                        key = (kind, text, slot)
                        if key in held:
                            bound[key] = held[key]
                            continue
                        again = first.names() if first else None
                        bound[key] = bind(host, port, again=again, setting=setting)
                        fresh.append(bound[key])
                        first = first or bound[key]
        except StagedoorError:
            for listening in fresh:
                listening.close()
            raise
        return bound

    async def _start_generation(self, checked: Checked, generation: int) -> None:
        """Start a worker for each slot; once all of them accept, theirs is the one in force."""
        started: list[Worker] = []
        try:
            while len(started) < checked.settings.workers.count and not self._stopping:
                started.append(await self._start_worker(checked, len(started), generation))
            async with asyncio.timeout(START_TIMEOUT_S):
                await asyncio.gather(*(worker.up for worker in started))
            if not self._stopping and not self._workers.issuperset(started):
                raise StagedoorError("a worker ended as it started; its log lines say why")
            self._generation = generation
        except TimeoutError:
            self._discard(started)
            raise StagedoorError(f"a worker was not ready within {START_TIMEOUT_S:g} s") from None
        except StagedoorError:
            self._discard(started)
            raise

    def _discard(self, workers: list[Worker]) -> None:
        for worker in workers:
            worker.retired = True
            worker.tell(Close())
            self._spawn(self._end_within(worker, CLOSE_GRACE_S))

    async def _start_worker(self, checked: Checked, slot: int, generation: int) -> Worker:
        sockets = [
            (kind, fd)
            for (kind, _, at), listening in self._sockets.items()
            if at == slot
            for fd in listening.fds()
        ]
        instance = new_instance_id()
        self._starting += 1
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "stagedoor.serve.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=[fd for _, fd in sockets],
                # Ctrl-C is ours alone: how workers stop is for us to say.
                process_group=0,
            )
        except OSError as error:
            raise StagedoorError(f"a worker cannot be started: {error.strerror}") from error
        finally:
            self._starting -= 1
        up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        worker = Worker(slot, generation, instance, process, time.monotonic(), up)
        self._workers.add(worker)
        worker.watcher = asyncio.create_task(self._watch(worker))
        worker.tell(
            Begin(checked.text, checked.name, instance, tuple(sockets))  # type: ignore[arg-type]  # the kinds are the literals that `_bind` writes
        )
        if self._stopping:  # it was being started when everybody else was told
            self._drain(worker)
        return worker

    async def _watch(self, worker: Worker) -> None:
        """Read what a worker says until it is gone; then bury it and, if it was needed, replace it."""
        assert worker.process.stdout is not None
        async for text in worker.process.stdout:
            try:
                told = read_from_worker(text)
            except msgspec.DecodeError:  # somebody printed there; it must not cost us the worker
                self._log.error("worker says what is no message", worker=worker.process.pid)
                continue
            match told:
                case Up():
                    if not worker.up.done():
                        worker.up.set_result(None)
                case Left(sessions):
                    worker.shut.set()
                    if sessions != worker.left:
                        worker.left = sessions
                        self._log.info(
                            "sessions left", worker=worker.process.pid, sessions=sessions
                        )
                case Failed(message):
                    worker.failure = message
        code = await worker.process.wait()
        worker.shut.set()
        self._workers.discard(worker)
        if not worker.up.done():
            why = worker.failure or f"a worker ended with code {code} as it started"
            worker.up.set_exception(StagedoorError(why))
            worker.up.exception()  # a restart has nobody who awaits it
        burial = asyncio.create_task(self._bury(worker.instance))
        self._burials.add(burial)
        burial.add_done_callback(self._burials.discard)
        if self._stopping or worker.retired or worker.generation != self._generation:
            self._stop_when_empty()
            return
        self._died += 1
        lived_s = time.monotonic() - worker.born
        deaths = restart.deaths_after(self._deaths.get(worker.slot, 0), lived_s)
        self._log.error(
            "worker died",
            worker=worker.process.pid,
            code=code,
            reason=worker.failure or None,
            restart_in_s=restart.delay_s(deaths),
        )
        await self._replace(worker, deaths)

    async def _replace(self, worker: Worker, deaths: int) -> None:
        """Start another in the slot of one that died, unless a reload has filled it meanwhile."""
        while True:
            self._deaths[worker.slot] = deaths
            await asyncio.sleep(restart.delay_s(deaths))
            if self._stopping or worker.generation != self._generation:
                return
            try:
                await self._start_worker(self._checked, worker.slot, worker.generation)
            except StagedoorError as error:  # no memory, no process left: it may pass
                deaths += 1
                self._log.error(str(error), again_in_s=restart.delay_s(deaths))
            else:
                return

    async def _bury(self, instance: str) -> None:
        """Close in the audit what a worker that has died left open, as soon as the store lets us."""
        told = False
        while True:
            try:
                lost = await asyncio.to_thread(bury, self._checked.settings, instance)
            except StagedoorError as error:
                if not told:
                    told = True
                    self._log.error(
                        "lost sessions cannot be closed in the audit yet", reason=str(error)
                    )
                if self._stopping:  # the next start will
                    return
                await asyncio.sleep(BURY_AGAIN_S)
            else:
                if lost:
                    self._log.warning("sessions were lost with their worker", lost=len(lost))
                return

    async def _end_within(self, worker: Worker, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await worker.process.wait()
        except TimeoutError:
            self._log.error("worker does not end; killed", worker=worker.process.pid)
            worker.process.kill()

    def _sessions_left(self) -> int:
        return sum(worker.left or 0 for worker in self._workers)

    def _stop_when_empty(self) -> None:
        if self._stopping and not self._workers and not self._starting:
            self._stopped.set()

    def _spawn(self, coroutine: "asyncio._CoroutineLike[object]") -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(coroutine)  # type: ignore[arg-type]  # results are not used
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
