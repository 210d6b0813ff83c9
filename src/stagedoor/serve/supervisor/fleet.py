"""The state of the worker processes, which takes events and decides what to do. Pure.

`Fleet.handle_event` takes an event and the time, and returns actions, which the supervisor carries out in
order. A generation consists of all workers of one start or reload; one generation is in force.

    Launch                Spawn for each slot of a new generation
    all of them are Up    Publish(InForce); SendMessage(Drain) to workers of older generations
    one fails or is late  Publish(Refused); SendMessage(Close) to the new ones
    a worker exits        Publish(WorkerExited); unasked and in force: WorkerFailed too, Spawn later
    Retire                SendMessage(Drain) to every worker, for a week
    Stop, and Stop again  SendMessage(Drain), then SendMessage(Close); Kill for a worker that is late
    no worker is left     Publish(Stopped)

Times are seconds of one monotonic clock. `next_at` is when the next `Tick` is due.
"""

from dataclasses import dataclass

from stagedoor.model.session import STOPPING
from stagedoor.model.units import DAY_S
from stagedoor.serve.supervisor.control import Close, Drain, DrainReport, Failed, FromWorker, Up
from stagedoor.serve.supervisor.fleet_events import (
    Action,
    CannotRestart,
    Event,
    Exited,
    FleetPlan,
    InForce,
    Kill,
    Launch,
    OldClosed,
    Publish,
    Refused,
    Retire,
    SendMessage,
    Spawn,
    SpawnFailed,
    Stop,
    Stopped,
    Tick,
    WorkerDrains,
    WorkerExited,
    WorkerFailed,
    WorkerMessage,
)

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 30.0
GOOD_LIFE_S = 60.0
"""A worker that ran for this long was healthy, so its death counts as the first one again."""


def choose_delay_s(deaths: int) -> float:
    """Return how long to wait before the next start, after `deaths` early deaths in a row (at least 1)."""
    return min(FIRST_DELAY_S * 2.0 ** min(deaths - 1, 30), LONGEST_DELAY_S)


def count_deaths(deaths: int, lived_s: float) -> int:
    """Return the number of early deaths in a row, now that a worker has died at the age `lived_s`."""
    return 1 if lived_s >= GOOD_LIFE_S else deaths + 1


START_TIMEOUT_S = 60.0
SHUT_TIMEOUT_S = 5.0
"""How long a reload waits until the old workers report that they accept no more."""
CLOSE_GRACE_S = 15.0
"""How long a worker may take to end when asked: longer than its sessions and its audit need."""
RETIRE_S = 7 * DAY_S
"""How long sessions may last after a hand-over. Without a limit, old programs would accumulate."""


@dataclass(slots=True, eq=False)
class _WorkerState:
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
    keeps_connections: bool


class Fleet:
    """The state of all workers, from the first launch until `Stopped`. Not thread-safe."""

    def __init__(self) -> None:
        self.generation = 0
        """The generation in force; 0 before the first."""
        self.died = 0
        """How many workers have ended unasked."""
        self.is_stopping = False
        self.is_retired = False
        """Whether another supervisor has taken over."""
        self._plan = FleetPlan(0, 0.0)
        self._launching: _Launching | None = None
        self._workers: dict[int, _WorkerState] = {}
        self._last_id = 0
        self._last_generation = 0
        self._deaths: dict[int, int] = {}
        """How many workers died early in a row, by slot."""
        self._restarts: dict[int, float] = {}
        """When the slots of dead workers are filled again."""
        self._still_accepting: set[int] = set()
        """The workers of older generations that may still accept connections."""
        self._handover_until: float | None = None
        self._has_stopped = False

    @property
    def accepting(self) -> int:
        """Return how many workers in force accept connections."""
        return sum(worker.is_up for worker in self._workers.values() if self._in_force(worker))

    @property
    def sessions_left(self) -> int:
        """Return how many sessions are open in draining workers."""
        return sum(worker.left or 0 for worker in self._workers.values())

    @property
    def next_at(self) -> float | None:
        """Return when the next `Tick` is due; None if only another event changes anything."""
        times = [worker.kill_at for worker in self._workers.values()]
        times += [self._launching.until if self._launching else None, self._handover_until]
        return min(
            (at for at in [*times, *self._restarts.values()] if at is not None), default=None
        )

    def handle_event(self, event: Event, now: float) -> list[Action]:
        """Take an event, and return the actions to carry out, in order."""
        actions: list[Action] = []
        match event:
            case Launch():
                actions += self._launch(event, now)
            case SpawnFailed(number, reason):
                actions += self._on_spawn_failed(self._workers.pop(number), reason, now)
            case WorkerMessage(number, message):
                actions += self._on_message(self._workers[number], message)
            case Exited(number, code):
                actions += self._on_exit(self._workers.pop(number), code, now)
            case Retire(keeps_connections):
                actions += self._retire(keeps_connections, now)
            case Stop():
                actions += self._stop(now)
            case Tick():
                pass
        return actions + self._settle(now)

    def _in_force(self, worker: _WorkerState) -> bool:
        return worker.generation == self.generation and not worker.is_discarded

    def _spawn(self, slot: int, generation: int, now: float) -> Spawn:
        self._last_id += 1
        self._workers[self._last_id] = _WorkerState(self._last_id, slot, generation, now)
        return Spawn(self._last_id, slot, generation)

    def _launch(self, launch: Launch, now: float) -> list[Action]:
        assert self._launching is None, "one launch at a time"
        plan = launch.plan
        if self.is_stopping:
            return [Publish(Refused(STOPPING))]
        self._last_generation += 1
        until = now + START_TIMEOUT_S
        self._launching = _Launching(plan, self._last_generation, until, launch.keeps_connections)
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
                actions.append(_close(worker, now))
        return actions

    def _on_message(self, worker: _WorkerState, message: FromWorker) -> list[Action]:
        match message:
            case Up():
                worker.is_up = True
            case Failed(reason):
                worker.failure = reason
            case DrainReport(sessions):
                self._still_accepting.discard(worker.id)
                if sessions != worker.left:
                    worker.left = sessions
                    return [Publish(WorkerDrains(worker.id, sessions))]
        return []

    def _on_spawn_failed(self, worker: _WorkerState, reason: str, now: float) -> list[Action]:
        self._still_accepting.discard(worker.id)
        if self._launching is not None and worker.generation == self._launching.generation:
            return self._refuse(reason, now)
        if self._is_ending or not self._in_force(worker):
            return []
        # The cause, such as a lack of memory or processes, may be temporary.
        deaths = self._deaths.get(worker.slot, 0) + 1
        return [Publish(CannotRestart(reason, self._restart_later(worker.slot, deaths, now)))]

    def _on_exit(self, worker: _WorkerState, code: int, now: float) -> list[Action]:
        self._still_accepting.discard(worker.id)
        news = Publish(WorkerExited(worker.id))
        if self._launching is not None and worker.generation == self._launching.generation:
            why = worker.failure or f"a worker ended with code {code} as it started"
            if worker.is_up:
                why = "a worker ended as it started; its log lines say why"
            return [news, *self._refuse(why, now)]
        if self._is_ending or not self._in_force(worker):
            return [news]
        self.died += 1
        deaths = count_deaths(self._deaths.get(worker.slot, 0), now - worker.born)
        delay_s = self._restart_later(worker.slot, deaths, now)
        return [news, Publish(WorkerFailed(worker.id, code, worker.failure or None, delay_s))]

    def _restart_later(self, slot: int, deaths: int, now: float) -> float:
        """Schedule a restart of the slot, and return the delay in seconds."""
        self._deaths[slot] = deaths
        self._restarts[slot] = now + choose_delay_s(deaths)
        return choose_delay_s(deaths)

    @property
    def _is_ending(self) -> bool:
        """Return whether no more workers are started."""
        return self.is_stopping or self.is_retired

    def _retire(self, keeps_connections: bool, now: float) -> list[Action]:
        assert self._launching is None, "a launch and a hand-over exclude each other"
        self.is_retired = True
        self._restarts.clear()
        draining = [worker for worker in self._workers.values() if not worker.is_discarded]
        self._wait_until_closed(draining, now)
        drain = Drain(RETIRE_S, keeps_connections)
        return [_drain(worker, drain, now) for worker in draining]

    def _wait_until_closed(self, workers: list[_WorkerState], now: float) -> None:
        """Publish OldClosed once these workers accept no more."""
        self._still_accepting = {worker.id for worker in workers}
        self._handover_until = now + SHUT_TIMEOUT_S

    def _stop(self, now: float) -> list[Action]:
        if self.is_stopping:
            return [_close(worker, now) for worker in self._workers.values()]
        self.is_stopping = True
        self._restarts.clear()
        actions: list[Action] = []
        if self._launching is not None:
            actions += self._refuse(STOPPING, now)
        for worker in self._workers.values():
            if not worker.is_discarded:
                actions.append(_drain(worker, Drain(self._plan.drain_timeout_s), now))
        return actions

    def _settle(self, now: float) -> list[Action]:
        """Return the actions that the state and the time call for."""
        actions = self._settle_launch(now)
        for worker in self._workers.values():
            if worker.kill_at is not None and now >= worker.kill_at:
                worker.kill_at = None
                actions.append(Kill(worker.id))
        for slot in [slot for slot, at in self._restarts.items() if now >= at]:
            del self._restarts[slot]
            actions.append(self._spawn(slot, self.generation, now))
        until = self._handover_until
        if until is not None and (not self._still_accepting or now >= until):
            self._handover_until = None
            self._still_accepting.clear()
            actions.append(Publish(OldClosed()))
        if self._is_ending and not self._workers and not self._has_stopped:
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
        self._wait_until_closed(older, now)
        drain = Drain(None, launch.keeps_connections)
        draining = [worker for worker in older if not worker.is_discarded]
        return [Publish(InForce(len(older))), *(_drain(worker, drain, now) for worker in draining)]


def _close(worker: _WorkerState, now: float) -> SendMessage:
    worker.kill_at = _sooner(worker.kill_at, now + CLOSE_GRACE_S)
    return SendMessage(worker.id, Close())


def _drain(worker: _WorkerState, drain: Drain, now: float) -> SendMessage:
    if drain.timeout_s is not None:
        worker.kill_at = _sooner(worker.kill_at, now + drain.timeout_s + CLOSE_GRACE_S)
    return SendMessage(worker.id, drain)


def _sooner(at: float | None, other: float) -> float:
    return other if at is None else min(at, other)
