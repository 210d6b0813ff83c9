"""The events that the fleet of workers takes, and the actions that it returns. Pure."""

from dataclasses import dataclass

from stagedoor.serve.supervisor.control import Close, Drain, FromWorker


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """The settings of the workers."""

    workers: int
    drain_timeout_s: float


@dataclass(frozen=True, slots=True)
class Launch:
    """The start of a generation by this plan. The previous launch must be in force or refused.

    With `keeps_connections` older workers serve their SSH connections as before, since no setting has
    changed.
    """

    plan: FleetPlan
    keeps_connections: bool = False


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
class Retire:
    """The hand-over to another supervisor: no worker accepts or starts from now on, and sessions continue.

    `keeps_connections` is as in `Launch`.
    """

    keeps_connections: bool


@dataclass(frozen=True, slots=True)
class Stop:
    """A request to drain. The second one closes everything at once."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The passing of time."""


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
    """News that the workers of older generations have stopped accepting, or did not report it in time."""


@dataclass(frozen=True, slots=True)
class WorkerDrains:
    """News of the number of sessions in a draining worker, published when it changes."""

    worker: int
    sessions: int


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """News that a worker's process has ended for any reason. Sessions that it left open must be closed."""

    worker: int


@dataclass(frozen=True, slots=True)
class WorkerFailed:
    """News that a worker in force ended without being asked. Another one will be started in its slot."""

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
    """News that no worker is left and none will be started."""


WorkerNews = OldClosed | WorkerDrains | WorkerExited | WorkerFailed
News = InForce | Refused | WorkerNews | CannotRestart | Stopped


@dataclass(frozen=True, slots=True)
class Publish:
    """An action: log the news, and pass it to the tasks that wait for it."""

    news: News


Event = Launch | SpawnFailed | WorkerMessage | Exited | Retire | Stop | Tick
Action = Spawn | SendMessage | Kill | Publish
