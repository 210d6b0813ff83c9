"""The state of the worker processes: it takes events and decides what has to be done. Pure.

`Fleet.event` takes an event and the time and returns actions; the supervisor carries them out in
order. A generation is all workers of one start or reload; one generation is in force.

    Launch                Spawn for each slot of a new generation
    all of them are Up    Publish(InForce); SendMessage(Drain) to workers of older generations
    one fails or is late  Publish(Refused); SendMessage(Close) to the new ones
    a worker exits        Publish(WorkerExited); unasked and in force: WorkerFailed too, Spawn later
    Stop, and Stop again  SendMessage(Drain), then SendMessage(Close); Kill for a worker that is late
    no worker is left     Publish(Stopped)

Time is in seconds on one monotonic clock. `next_at` is when the next `Tick` is due.
"""

from dataclasses import dataclass

from stagedoor.serve.supervisor import restart
from stagedoor.serve.supervisor.control import Close, Drain, DrainReport, Failed, FromWorker, Up

START_TIMEOUT_S = 60.0
SHUT_TIMEOUT_S = 5.0
"""How long a reload waits until the old workers report that they accept no more."""
CLOSE_GRACE_S = 15.0
"""How long a worker may take to end when asked: longer than its sessions and its audit may take."""
STOPPING = "the gateway is stopping"


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """The settings of the workers."""

    workers: int
    drain_timeout_s: float


@dataclass(frozen=True, slots=True)
class Launch:
    """The start of a generation by this plan. The previous launch must be in force or refused."""

    plan: FleetPlan


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """A failure to start the process of a `Spawn`; `reason` is one line."""

    worker: int
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerMessage:
    """A worker's message."""

    worker: int
    message: FromWorker


@dataclass(frozen=True, slots=True)
class Exited:
    """The end of a worker's process. All its messages came before."""

    worker: int
    code: int


@dataclass(frozen=True, slots=True)
class Stop:
    """A request to drain. The second one closes everything at once."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The passing of time."""


Event = Launch | SpawnFailed | WorkerMessage | Exited | Stop | Tick


@dataclass(frozen=True, slots=True)
class Spawn:
    """An action: start a process for the slot. Messages to it may follow before it runs."""

    worker: int
    slot: int
    generation: int


@dataclass(frozen=True, slots=True)
class SendMessage:
    """An action: send a worker a message."""

    worker: int
    message: Drain | Close


@dataclass(frozen=True, slots=True)
class Kill:
    """An action: kill the process of a worker that did not end in time."""

    worker: int


@dataclass(frozen=True, slots=True)
class InForce:
    """News that every worker of the launch accepts, and that `draining` older workers no longer do."""

    draining: int


@dataclass(frozen=True, slots=True)
class Refused:
    """News that the launch failed, and that nothing has changed."""

    reason: str


@dataclass(frozen=True, slots=True)
class OldClosed:
    """News that the workers of older generations accept no more, or did not report in time."""


@dataclass(frozen=True, slots=True)
class WorkerDrains:
    """News of the number of sessions in a draining worker, published when it changes."""

    worker: int
    sessions: int


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """News that a worker's process has ended, for any reason. Sessions that it left open must be closed."""

    worker: int


@dataclass(frozen=True, slots=True)
class WorkerFailed:
    """News that a worker in force ended unasked. Another one will be started in its slot."""

    worker: int
    code: int
    reason: str | None
    restart_in_s: float


@dataclass(frozen=True, slots=True)
class CannotRestart:
    """News that no process can be started for a slot now. It will be tried again."""

    reason: str
    again_in_s: float


@dataclass(frozen=True, slots=True)
class Stopped:
    """News that no worker is left, and that none will be started."""


WorkerNews = OldClosed | WorkerDrains | WorkerExited | WorkerFailed
News = InForce | Refused | WorkerNews | CannotRestart | Stopped


@dataclass(frozen=True, slots=True)
class Publish:
    """An action: log the news, and pass it to the tasks that wait for it."""

    news: News


Action = Spawn | SendMessage | Kill | Publish


@dataclass(slots=True, eq=False)
class _Worker:
    id: int
    slot: int
    generation: int
    born: float
    is_up: bool = False
    is_discarded: bool = False
    """Whether its launch failed."""
    left: int | None = None
    failure: str = ""
    kill_at: float | None = None


@dataclass(frozen=True, slots=True)
class _Launching:
    plan: FleetPlan
    generation: int
    until: float


class Fleet:
    """The state of all workers, from the first launch until `Stopped`. Not thread-safe."""

    def __init__(self) -> None:
        self.generation = 0
        """The generation in force; 0 before the first."""
        self.died = 0
        """How many workers have ended unasked."""
        self.is_stopping = False
        self._plan = FleetPlan(0, 0.0)
        self._launching: _Launching | None = None
        self._workers: dict[int, _Worker] = {}
        self._last_id = 0
        self._last_generation = 0
        self._deaths: dict[int, int] = {}
        """How many workers died early in a row, by slot."""
        self._restarts: dict[int, float] = {}
        """When the slots of workers that died are filled again."""
        self._shutting: set[int] = set()
        """Workers of older generations that may still accept."""
        self._handover_until: float | None = None
        self._has_stopped = False

    @property
    def accepting(self) -> int:
        """How many workers in force accept connections."""
        return sum(worker.is_up for worker in self._workers.values() if self._in_force(worker))

    @property
    def sessions_left(self) -> int:
        """How many sessions are open in draining workers."""
        return sum(worker.left or 0 for worker in self._workers.values())

    @property
    def next_at(self) -> float | None:
        """Return when the next `Tick` is due; None if none is due before another event."""
        times = [worker.kill_at for worker in self._workers.values()]
        times += [self._launching.until if self._launching else None, self._handover_until]
        return min(
            (at for at in [*times, *self._restarts.values()] if at is not None), default=None
        )

    def event(self, event: Event, now: float) -> list[Action]:
        """Take an event, and return the actions to carry out, in order."""
        actions: list[Action] = []
        match event:
            case Launch(plan):
                actions += self._launch(plan, now)
            case SpawnFailed(number, reason):
                actions += self._on_spawn_failed(self._workers.pop(number), reason, now)
            case WorkerMessage(number, message):
                actions += self._on_message(self._workers[number], message)
            case Exited(number, code):
                actions += self._on_exit(self._workers.pop(number), code, now)
            case Stop():
                actions += self._stop(now)
            case Tick():
                pass
        return actions + self._settle(now)

    def _in_force(self, worker: _Worker) -> bool:
        return worker.generation == self.generation and not worker.is_discarded

    def _spawn(self, slot: int, generation: int, now: float) -> Spawn:
        self._last_id += 1
        self._workers[self._last_id] = _Worker(self._last_id, slot, generation, now)
        return Spawn(self._last_id, slot, generation)

    def _launch(self, plan: FleetPlan, now: float) -> list[Action]:
        assert self._launching is None, "one launch at a time"
        if self.is_stopping:
            return [Publish(Refused(STOPPING))]
        self._last_generation += 1
        self._launching = _Launching(plan, self._last_generation, now + START_TIMEOUT_S)
        if not self.generation:
            self._plan = plan
        return [self._spawn(slot, self._last_generation, now) for slot in range(plan.workers)]

    def _refuse(self, reason: str, now: float) -> list[Action]:
        """End the launch, and close the workers that were started for it."""
        assert self._launching is not None
        generation, self._launching = self._launching.generation, None
        actions: list[Action] = [Publish(Refused(reason))]
        for worker in self._workers.values():
            if worker.generation == generation:
                worker.is_discarded = True
                actions += self._close(worker, now)
        return actions

    def _close(self, worker: _Worker, now: float) -> list[Action]:
        worker.kill_at = _sooner(worker.kill_at, now + CLOSE_GRACE_S)
        return [SendMessage(worker.id, Close())]

    def _drain(self, worker: _Worker, timeout_s: float | None, now: float) -> list[Action]:
        if timeout_s is not None:
            worker.kill_at = _sooner(worker.kill_at, now + timeout_s + CLOSE_GRACE_S)
        return [SendMessage(worker.id, Drain(timeout_s))]

    def _on_message(self, worker: _Worker, message: FromWorker) -> list[Action]:
        match message:
            case Up():
                worker.is_up = True
            case Failed(reason):
                worker.failure = reason
            case DrainReport(sessions):
                self._shutting.discard(worker.id)
                if sessions != worker.left:
                    worker.left = sessions
                    return [Publish(WorkerDrains(worker.id, sessions))]
        return []

    def _on_spawn_failed(self, worker: _Worker, reason: str, now: float) -> list[Action]:
        self._shutting.discard(worker.id)
        if self._launching is not None and worker.generation == self._launching.generation:
            return self._refuse(reason, now)
        if self.is_stopping or not self._in_force(worker):
            return []
        # The cause, such as a lack of memory or processes, may be temporary.
        deaths = self._deaths.get(worker.slot, 0) + 1
        return [Publish(CannotRestart(reason, self._restart_later(worker.slot, deaths, now)))]

    def _on_exit(self, worker: _Worker, code: int, now: float) -> list[Action]:
        self._shutting.discard(worker.id)
        news = Publish(WorkerExited(worker.id))
        if self._launching is not None and worker.generation == self._launching.generation:
            why = worker.failure or f"a worker ended with code {code} as it started"
            if worker.is_up:
                why = "a worker ended as it started; its log lines say why"
            return [news, *self._refuse(why, now)]
        if self.is_stopping or not self._in_force(worker):
            return [news]
        self.died += 1
        deaths = restart.deaths_after(self._deaths.get(worker.slot, 0), now - worker.born)
        delay_s = self._restart_later(worker.slot, deaths, now)
        return [news, Publish(WorkerFailed(worker.id, code, worker.failure or None, delay_s))]

    def _restart_later(self, slot: int, deaths: int, now: float) -> float:
        """Schedule a restart of the slot, and return the delay in seconds."""
        self._deaths[slot] = deaths
        self._restarts[slot] = now + restart.delay_s(deaths)
        return restart.delay_s(deaths)

    def _stop(self, now: float) -> list[Action]:
        actions: list[Action] = []
        if self.is_stopping:
            for worker in self._workers.values():
                actions += self._close(worker, now)
            return actions
        self.is_stopping = True
        self._restarts.clear()
        if self._launching is not None:
            actions += self._refuse(STOPPING, now)
        for worker in self._workers.values():
            if not worker.is_discarded:
                actions += self._drain(worker, self._plan.drain_timeout_s, now)
        return actions

    def _settle(self, now: float) -> list[Action]:
        """Return the actions that follow from the state and the time."""
        actions = self._settle_launch(now)
        for worker in self._workers.values():
            if worker.kill_at is not None and now >= worker.kill_at:
                worker.kill_at = None
                actions.append(Kill(worker.id))
        for slot in [slot for slot, at in self._restarts.items() if now >= at]:
            del self._restarts[slot]
            actions.append(self._spawn(slot, self.generation, now))
        until = self._handover_until
        if until is not None and (not self._shutting or now >= until):
            self._handover_until = None
            self._shutting.clear()
            actions.append(Publish(OldClosed()))
        if self.is_stopping and not self._workers and not self._has_stopped:
            self._has_stopped = True
            actions.append(Publish(Stopped()))
        return actions

    def _settle_launch(self, now: float) -> list[Action]:
        launch = self._launching
        if launch is None:
            return []
        started = [
            worker for worker in self._workers.values() if worker.generation == launch.generation
        ]
        if not all(worker.is_up for worker in started):
            if now < launch.until:
                return []
            return self._refuse(f"a worker was not ready within {START_TIMEOUT_S:g} s", now)
        self._launching = None
        self._plan, self.generation = launch.plan, launch.generation
        self._restarts.clear()
        # By generation, so that replacements of workers that died meanwhile are included.
        older = [worker for worker in self._workers.values() if not self._in_force(worker)]
        self._shutting = {worker.id for worker in older}
        self._handover_until = now + SHUT_TIMEOUT_S
        actions: list[Action] = [Publish(InForce(len(older)))]
        for worker in older:
            if not worker.is_discarded:
                actions += self._drain(worker, None, now)
        return actions


def _sooner(at: float | None, other: float) -> float:
    return other if at is None else min(at, other)
