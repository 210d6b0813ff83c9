"""The audit's checkpoints, sinks, hooks and removal of old events, in threads of the supervisor.

No login waits for this work. If several gateways share a store, one at a time does it.
"""

import os
import secrets
import threading
import time
from contextlib import suppress
from functools import partial

from stagedoor.admin.audit.chain import (
    Checkpoints,
    load_audit_key,
    remove_delivered,
)
from stagedoor.admin.audit.sinks import open_sink
from stagedoor.admin.hooks.delivery import HookSink
from stagedoor.model.errors import StagedoorError
from stagedoor.model.units import DAY_S, HOUR_S, MINUTE_S
from stagedoor.serve.supervisor.sink_writer import OnProblem, SinkOpener, SinkState, SinkWriter
from stagedoor.settings.settings import Settings
from stagedoor.signin.site import find_site_or_none
from stagedoor.store.database import Database, open_database
from stagedoor.store.deliveries import claim, read_position, release

CHECKPOINT_EVENTS = 1000
CHECKPOINT_S = 5 * MINUTE_S
"""A checkpoint is due after this many events, or this many seconds after the first of them."""

TICK_S = 1.0
CLAIM_S = 60.0
"""How long a gateway's claim to deliver lasts. It is renewed after a third of this time."""

REMOVE_EVERY_S = HOUR_S
STOP_S = 3.0
"""How long stopping waits for deliveries. The next start delivers the rest."""


def list_outputs(settings: Settings) -> tuple[SinkOpener, ...]:
    """Return the sinks of the audit, then the hooks, which the store knows as `hook NAME`."""
    sinks = [
        SinkOpener(sink.name, partial(open_sink, sink), sink.scheme == "file")
        for sink in settings.audit.sinks
    ]
    site = find_site_or_none(settings)
    hooks = [
        SinkOpener(f"hook {hook.name}", partial(HookSink, hook, settings, site))
        for hook in settings.hooks
    ]
    return (*sinks, *hooks)


class AuditOutput:
    """The audit's output, which runs with the latest settings that it was given."""

    def __init__(self, on_problem: OnProblem) -> None:
        """Create it, stopped. `on_problem` is called in threads.

        Its arguments are a part and why it fails in one line, or None when it works again.
        """
        self._on_problem = on_problem
        self._run: _Run | None = None

    def apply_settings(self, settings: Settings) -> None:
        """Stop, and run with `settings` from now on. Blocks for at most `STOP_S`."""
        self.stop()
        self._run = _Run(settings, self._on_problem)
        self._run.start()

    def read_states(self) -> tuple[SinkState, ...]:
        """Return the state of each sink."""
        return () if self._run is None else self._run.states

    def stop(self) -> None:
        """Stop, after delivering the rest if that is quick. Blocks for at most `STOP_S`."""
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
                return open_database(self._settings.store_location, create=False)
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
                self.states = tuple(delivery.read_state() for delivery in self._deliveries)
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
    """Signs checkpoints, and removes delivered events."""

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
