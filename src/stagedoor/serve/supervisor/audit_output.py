"""The audit's checkpoints, sinks, hooks and removal of old events, in threads of the supervisor.

No login waits for this work. If several gateways share a store, one of them does it at a time.
"""

import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from stagedoor.admin.audit.chain import (
    ChainReader,
    Checkpoints,
    load_audit_key,
    remove_delivered,
)
from stagedoor.admin.audit.sinks import LineSink, open_sink
from stagedoor.admin.hooks.delivery import HookSink
from stagedoor.model.errors import StagedoorError
from stagedoor.model.units import DAY_S, HOUR_S, MINUTE_S
from stagedoor.settings.settings import Settings
from stagedoor.signin.links import find_site_or_none
from stagedoor.store.database import Database, open_database
from stagedoor.store.deliveries import claim, read_position, release, set_position
from stagedoor.store.journal import read_last_seq

CHECKPOINT_EVENTS = 1000
CHECKPOINT_S = 5 * MINUTE_S
"""A checkpoint is due after so many events, or so many seconds after the first of them."""

TICK_S = 1.0
POLL_S = 0.3
"""Seconds until a sink that has every event checks for new ones."""

RETRY_S = (0.5, 10.0)
"""The first and the longest wait between two attempts to send to a sink."""

CLAIM_S = 60.0
"""How long a gateway's claim to deliver lasts. It is renewed after a third of that."""

REMOVE_EVERY_S = HOUR_S
PERSIST_S = 1.0
"""Seconds between two writes of a sink's position. After a crash that much is delivered again."""

STOP_S = 3.0
"""How long the end waits for deliveries. The next start delivers the rest."""

OnProblem = Callable[[str, str | None], None]


@dataclass(frozen=True, slots=True)
class Output:
    """A sink or a hook: its name, and how it is opened. A file keeps its own position."""

    name: str
    open: Callable[[], LineSink]
    keeps_position: bool = False


def list_outputs(settings: Settings) -> tuple[Output, ...]:
    """Return the sinks of the audit, then the hooks, which the store knows as `hook NAME`."""
    sinks = [
        Output(sink.name, partial(open_sink, sink), sink.scheme == "file")
        for sink in settings.audit.sinks
    ]
    site = find_site_or_none(settings)
    hooks = [
        Output(f"hook {hook.name}", partial(HookSink, hook, settings, site))
        for hook in settings.hooks
    ]
    return (*sinks, *hooks)


@dataclass(frozen=True, slots=True)
class SinkState:
    """The state of a sink, for health and metrics. `backlog` counts the events that it does not have yet."""

    name: str
    failing: bool
    backlog: int


class AuditOutput:
    """The audit's output, which runs by the settings that it was given last."""

    def __init__(self, on_problem: OnProblem) -> None:
        """Create it, stopped. `on_problem` is called in threads.

        Its arguments are a part and why it fails in one line, or None when it works again.
        """
        self._on_problem = on_problem
        self._run: _Run | None = None

    def follow(self, settings: Settings) -> None:
        """Stop, and run by `settings` from now on. Blocks for `STOP_S` at most."""
        self.stop()
        self._run = _Run(settings, self._on_problem)
        self._run.start()

    def states(self) -> tuple[SinkState, ...]:
        """Return the state of each sink."""
        return () if self._run is None else self._run.states

    def stop(self) -> None:
        """Stop, after delivering what remains if that is quick. Blocks for `STOP_S` at most."""
        if self._run is not None:
            self._run.stop()
            self._run = None


class _Run:
    def __init__(self, settings: Settings, on_problem: OnProblem) -> None:
        self._settings = settings
        self._on_problem = on_problem
        self._holder = secrets.randbits(31)
        self._stopping = threading.Event()
        self._leads = threading.Event()
        self._deliveries: tuple[SinkWriter, ...] = ()
        self._outputs = list_outputs(settings)
        self.states = tuple(SinkState(output.name, False, 0) for output in self._outputs)
        self._thread = threading.Thread(target=self._main, name="audit-output", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        deadline = time.monotonic() + STOP_S
        self._stopping.set()
        self._thread.join(STOP_S)
        for delivery in self._deliveries:
            delivery.join(max(0.0, deadline - time.monotonic()))

    def _main(self) -> None:
        database = self._open()
        if database is None:
            return
        self._deliveries = tuple(
            SinkWriter(output, database, self._leads, self._stopping, self._on_problem)
            for output in self._outputs
        )
        for delivery in self._deliveries:
            delivery.start()
        try:
            self._maintain(database)
        finally:
            for delivery in self._deliveries:
                delivery.join(STOP_S)
            with suppress(StagedoorError):
                if self._deliveries and self._leads.is_set():
                    release(database, self._holder)
            database.close()

    def _open(self) -> Database | None:
        while True:
            try:
                return open_database(self._settings.place, create=False)
            except StagedoorError as error:
                self._on_problem("audit output", str(error))
            if self._stopping.wait(2.0):
                return None

    def _maintain(self, database: Database) -> None:
        maintenance = _Maintenance(self._settings, database)
        claim_at = 0.0
        while True:
            problem = None
            try:
                if time.monotonic() >= claim_at:
                    claim_at = time.monotonic() + CLAIM_S / 3
                    self._claim(database)
                if self._leads.is_set():
                    maintenance.tick(time.time())
                    problem = maintenance.problem
                self.states = tuple(delivery.state() for delivery in self._deliveries)
            except StagedoorError as error:
                problem = str(error)
            except Exception as error:  # a bug in one tick must not end the deliveries
                problem = f"{type(error).__name__}: {error}"
            self._on_problem("audit output", problem)
            if self._stopping.wait(TICK_S):
                return

    def _claim(self, database: Database) -> None:
        """Claim the delivery for this gateway, or note that another gateway has it.

        Without sinks every gateway may go ahead, since a checkpoint is written only once anyway.
        """
        if not self._deliveries or claim(database, self._holder, now=time.time(), for_s=CLAIM_S):
            self._leads.set()
        else:
            self._leads.clear()


class _Maintenance:
    """The signing of checkpoints and the removal of delivered events."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._instance = f"audit-{os.getpid()}"
        self._signing: Checkpoints | None = None
        self._remove_at = 0.0
        self.problem: str | None = None

    def tick(self, now: float) -> None:
        """Write a checkpoint and remove events if that is due. Raises StagedoorError."""
        if self._signing is None:
            # The key is created when the first checkpoint is signed.
            self._signing = Checkpoints(
                self._database, lambda: load_audit_key(self._settings), self._instance
            )
        chain = self._signing.read_chain()
        since = chain.unsigned_since
        late = since is not None and not 0 <= now - since < CHECKPOINT_S
        if chain.unsigned >= CHECKPOINT_EVENTS or late:
            self._signing.write(now)
        if chain.contradicted is not None:
            self.problem = (
                f"events before seq {chain.contradicted} are not those that its checkpoint signs: the store "
                "was changed; compare with a copy elsewhere (stagedoor audit export, stagedoor audit verify)"
            )
        keep_days = self._settings.audit.keep_days
        if keep_days is not None and now >= self._remove_at and not self._remove(now, keep_days):
            self._remove_at = now + REMOVE_EVERY_S

    def _remove(self, now: float, keep_days: float) -> int:
        sinks = self._settings.audit.sinks
        with self._database.read() as transaction:
            through = min(read_position(transaction, sink.name) or 0 for sink in sinks)
        return remove_delivered(
            self._database,
            through=through,
            before=now - keep_days * DAY_S,
            instance=self._instance,
            now=now,
        )


class SinkWriter:
    """A thread that sends events to one sink."""

    def __init__(
        self,
        output: Output,
        database: Database,
        leads: threading.Event,
        stopping: threading.Event,
        on_problem: OnProblem,
    ) -> None:
        self._output = output
        self._database = database
        self._leads = leads
        self._stopping = stopping
        self._on_problem = on_problem
        self._sink: LineSink | None = None
        self._reader: ChainReader | None = None
        self._sent: int | None = None
        self._recent: deque[tuple[float, int]] = deque()
        """When the last batches were sent (monotonic), and the sequence number before each."""
        self._persisted: int | None = None
        self._persist_at = 0.0
        self._failures = 0
        self._thread = threading.Thread(target=self._main, name=f"audit-{output.name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has ended, if it was started."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def state(self) -> SinkState:
        """Return the sink's state. Raises StagedoorError."""
        sent = self._sent
        with self._database.read() as transaction:
            if sent is None:
                sent = read_position(transaction, self._output.name) or 0
            backlog = max(0, read_last_seq(transaction) - sent)
        return SinkState(self._output.name, self._is_failing, backlog)

    def _main(self) -> None:
        while True:
            is_last = self._stopping.is_set()
            wait_s = self._deliver_or_retry()
            if is_last and wait_s > 0:
                break
            self._stopping.wait(wait_s)
        self._close()

    def _deliver_or_retry(self) -> float:
        """Deliver some lines, and return the seconds to wait before the next call."""
        if not self._leads.is_set():
            self._close()  # another gateway delivers: its position is read when this one takes over
            return POLL_S
        try:
            more = self._deliver()
        except StagedoorError as error:
            problem = str(error)
        except Exception as error:  # a bug in one batch must not end the others
            problem = f"{type(error).__name__}: {error}"
        else:
            if self._failures:
                self._failures = 0
                self._on_problem(self._part, None)
            return 0.0 if more else POLL_S
        self._failures += 1
        if self._is_failing:
            self._on_problem(self._part, problem)
        self._go_back()
        first, longest = RETRY_S
        return float(min(longest, first * 2 ** min(self._failures - 1, 10)))

    @property
    def _is_failing(self) -> bool:
        """Return whether the sink failed twice in a row. A server may close an idle connection once."""
        return self._failures > 1

    @property
    def _part(self) -> str:
        name = self._output.name
        return name if name.startswith("hook ") else f"audit sink {name}"

    def _deliver(self) -> bool:
        """Send the next lines, and return whether there were any. Raises StagedoorError."""
        if self._sink is None:
            self._sink = self._output.open()
        if self._reader is None:
            if self._sent is None:
                with self._database.read() as transaction:
                    stored = read_position(transaction, self._output.name)
                    last = read_last_seq(transaction)
                self._sent = self._sink.resume(stored, last)
                if self._sent > last:
                    raise StagedoorError(
                        f"it has events up to seq {self._sent}, and the store ends with seq {last}: was a "
                        "backup restored? Rename the file, and another is begun"
                    )
                if stored is None:  # a hook begins here, and a restart must not skip what comes now
                    self._persist(at_once=True)
            self._reader = ChainReader(self._database, self._sent)
        lines = self._reader.read()
        if lines:
            self._sink.send(lines)
            self._recent.append((time.monotonic(), self._sent or 0))
            self._sent = lines[-1].link.seq
        else:
            self._sink.check()
        while self._recent and self._recent[0][0] < time.monotonic() - self._sink.rewind_s:
            self._recent.popleft()
        self._persist(at_once=not lines)
        return bool(lines)

    def _persist(self, *, at_once: bool) -> None:
        if self._sent is None or self._sent == self._persisted:
            return
        if at_once or time.monotonic() >= self._persist_at:
            self._persist_at = time.monotonic() + PERSIST_S
            with suppress(StagedoorError):  # a full disk: the next start delivers some events again
                set_position(self._database, self._output.name, self._sent)
                self._persisted = self._sent

    def _go_back(self) -> None:
        """Return to the position before the batches that may be lost. A file reports its own position."""
        sent = self._recent[0][1] if self._recent else self._sent
        confirmed = 0 if self._sink is None else self._sink.confirmed
        self._close()
        if sent is not None and not self._output.keeps_position:
            self._sent = max(sent, confirmed)
            self._persist(at_once=True)

    def _close(self) -> None:
        if self._sink is not None:
            self._sink.close_output()
        self._sink = self._reader = self._sent = None
        self._recent.clear()
