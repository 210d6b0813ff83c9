"""The worker processes: what happens to them, and what has to be done then. Pure.

`Fleet.event` takes an event and the time and returns actions; the supervisor carries them out in
their order. A generation is all workers of one start or reload; one generation is in force.

    Launch                 Spawn for each slot of a new generation
    all of them say Up     Publish(InForce); workers of older generations are told to drain
    one fails, or time     Publish(Refused); the new ones are told to close
    a worker exits         Publish(Gone); in force and unasked: Publish(Died), and Spawn after a delay
    Stop, and Stop again   Tell(Drain), then Tell(Close); Kill for a worker that does not end in time
    nobody is left         Publish(Stopped)

Time is in seconds on one monotonic clock. `next_at` is when the next `Tick` is due.
"""

from dataclasses import dataclass

from stagedoor.serve.supervisor import restart
from stagedoor.serve.supervisor.control import Close, Drain, DrainReport, Failed, FromWorker, Up

START_TIMEOUT_S = 60.0
SHUT_TIMEOUT_S = 5.0
"""How long a reload waits for the old workers to say that they accept no more."""
CLOSE_GRACE_S = 15.0
"""How long a worker may take to end once it was told to: longer than its sessions and its audit may."""
STOPPING = "the gateway is stopping"


@dataclass(frozen=True, slots=True)
class Plan:
    """What the settings want of the workers."""

    workers: int
    drain_timeout_s: float


@dataclass(frozen=True, slots=True)
class Launch:
    """Start a generation by this plan. Not before the last one is in force or refused."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """The process of a `Spawn` cannot be started; `reason` is one line."""

    worker: int
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerMessage:
    """A worker's message."""

    worker: int
    message: FromWorker


@dataclass(frozen=True, slots=True)
class Exited:
    """A worker's process has ended, and all that it said was told before."""

    worker: int
    code: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Drain; the second time, close everything at once."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event = Launch | SpawnFailed | WorkerMessage | Exited | Stop | Tick


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a process for the slot. It may be told something before it runs."""

    worker: int
    slot: int
    generation: int


@dataclass(frozen=True, slots=True)
class SendMessage:
    """Send a worker a message."""

    worker: int
    message: Drain | Close


@dataclass(frozen=True, slots=True)
class Kill:
    """End the process of a worker that did not end when it was told to."""

    worker: int


@dataclass(frozen=True, slots=True)
class InForce:
    """Every worker of the launch accepts; `draining` workers of older generations do not any more."""

    draining: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The launch failed, and nothing has changed."""

    reason: str


@dataclass(frozen=True, slots=True)
class OldClosed:
    """The workers of older generations accept no more, or had the time to say so."""


@dataclass(frozen=True, slots=True)
class WorkerDrains:
    """A worker that drains has so many sessions; only told when the number changes."""

    worker: int
    sessions: int


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """A worker's process has ended, whatever the reason: what it left open has to be closed."""

    worker: int


@dataclass(frozen=True, slots=True)
class WorkerFailed:
    """A worker in force ended unasked; another is started in its slot."""

    worker: int
    code: int
    reason: str | None
    restart_in_s: float


@dataclass(frozen=True, slots=True)
class CannotRestart:
    """No process can be started for a slot now; it is tried again."""

    reason: str
    again_in_s: float


@dataclass(frozen=True, slots=True)
class Stopped:
    """No worker is left, and none is started any more."""


WorkerNews = OldClosed | WorkerDrains | WorkerExited | WorkerFailed
News = InForce | Refused | WorkerNews | CannotRestart | Stopped


@dataclass(frozen=True, slots=True)
class Publish:
    """Tell the log and those who wait."""

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
    """Of a launch that failed."""
    left: int | None = None
    failure: str = ""
    kill_at: float | None = None


@dataclass(frozen=True, slots=True)
class _Launching:
    plan: Plan
    generation: int
    until: float


class Fleet:
    """All workers, from the first launch until `Stopped`. Not thread-safe."""

    def __init__(self) -> None:
        self.generation = 0
        """The one in force; 0 before the first."""
        self.died = 0
        """Workers that have ended unasked."""
        self.is_stopping = False
        self._plan = Plan(0, 0.0)
        self._launching: _Launching | None = None
        self._workers: dict[int, _Worker] = {}
        self._last_id = 0
        self._last_generation = 0
        self._deaths: dict[int, int] = {}
        """Early deaths in a row, by slot."""
        self._restarts: dict[int, float] = {}
        """When the slot of a worker that died is filled again."""
        self._shutting: set[int] = set()
        """Workers of older generations that may still accept."""
        self._handover_until: float | None = None
        self._has_stopped = False

    @property
    def accepting(self) -> int:
        """Workers in force that accept connections."""
        return sum(one.is_up for one in self._workers.values() if self._in_force(one))

    @property
    def sessions_left(self) -> int:
        """Open sessions in workers that drain."""
        return sum(worker.left or 0 for worker in self._workers.values())

    @property
    def next_at(self) -> float | None:
        """When the next `Tick` is due; None: not before another event."""
        times = [one.kill_at for one in self._workers.values()]
        times += [self._launching.until if self._launching else None, self._handover_until]
        return min(
            (at for at in [*times, *self._restarts.values()] if at is not None), default=None
        )

    def event(self, event: Event, now: float) -> list[Action]:
        """What has to be done, in order."""
        actions: list[Action] = []
        match event:
            case Launch(plan):
                actions += self._launch(plan, now)
            case SpawnFailed(number, reason):
                actions += self._spawn_failed(self._workers.pop(number), reason, now)
            case WorkerMessage(number, message):
                actions += self._said(self._workers[number], message)
            case Exited(number, code):
                actions += self._exited(self._workers.pop(number), code, now)
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

    def _launch(self, plan: Plan, now: float) -> list[Action]:
        assert self._launching is None, "one launch at a time"
        if self.is_stopping:
            return [Publish(Refused(STOPPING))]
        self._last_generation += 1
        self._launching = _Launching(plan, self._last_generation, now + START_TIMEOUT_S)
        if not self.generation:
            self._plan = plan
        return [self._spawn(slot, self._last_generation, now) for slot in range(plan.workers)]

    def _refuse(self, reason: str, now: float) -> list[Action]:
        """End the launch, and close what was started for it."""
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

    def _said(self, worker: _Worker, message: FromWorker) -> list[Action]:
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

    def _spawn_failed(self, worker: _Worker, reason: str, now: float) -> list[Action]:
        self._shutting.discard(worker.id)
        if self._launching is not None and worker.generation == self._launching.generation:
            return self._refuse(reason, now)
        if self.is_stopping or not self._in_force(worker):
            return []
        # No memory, no process left: it may pass.
        deaths = self._deaths.get(worker.slot, 0) + 1
        return [Publish(CannotRestart(reason, self._restart_later(worker.slot, deaths, now)))]

    def _exited(self, worker: _Worker, code: int, now: float) -> list[Action]:
        self._shutting.discard(worker.id)
        gone = Publish(WorkerExited(worker.id))
        if self._launching is not None and worker.generation == self._launching.generation:
            why = worker.failure or f"a worker ended with code {code} as it started"
            if worker.is_up:
                why = "a worker ended as it started; its log lines say why"
            return [gone, *self._refuse(why, now)]
        if self.is_stopping or not self._in_force(worker):
            return [gone]
        self.died += 1
        deaths = restart.deaths_after(self._deaths.get(worker.slot, 0), now - worker.born)
        delay_s = self._restart_later(worker.slot, deaths, now)
        return [gone, Publish(WorkerFailed(worker.id, code, worker.failure or None, delay_s))]

    def _restart_later(self, slot: int, deaths: int, now: float) -> float:
        """How long that is, in seconds."""
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
        """What follows from the state and the time."""
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
        started = [one for one in self._workers.values() if one.generation == launch.generation]
        if not all(worker.is_up for worker in started):
            if now < launch.until:
                return []
            return self._refuse(f"a worker was not ready within {START_TIMEOUT_S:g} s", now)
        self._launching = None
        self._plan, self.generation = launch.plan, launch.generation
        self._restarts.clear()
        # By generation, so that one that died and was replaced meanwhile is among them.
        older = [one for one in self._workers.values() if not self._in_force(one)]
        self._shutting = {worker.id for worker in older}
        self._handover_until = now + SHUT_TIMEOUT_S
        actions: list[Action] = [Publish(InForce(len(older)))]
        for worker in older:
            if not worker.is_discarded:
                actions += self._drain(worker, None, now)
        return actions


def _sooner(one: float | None, other: float) -> float:
    return other if one is None else min(one, other)
