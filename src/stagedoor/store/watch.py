"""Watches the store for changes by any process: a new policy, and requests to close sessions.

A change is seen within a second. The watch fails closed: if the store could not be read for
`FAIL_CLOSED_AFTER_S`, the policy is empty, so that no login succeeds by a grant that may have been removed.
Open sessions stay open: each was permitted by a policy that had been read, and closing all of them could not
be undone.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

from sqlalchemy import or_, select

from stagedoor.model.errors import StoreError
from stagedoor.model.policy import Policy
from stagedoor.model.problem import ProblemState
from stagedoor.model.rate import Rate, SourceRates
from stagedoor.store.database import Database, Transaction
from stagedoor.store.policy import load_policy, read_changes, read_policy
from stagedoor.store.schema import meta
from stagedoor.store.sessions import CloseRequest, close_requests

POLL_S = 0.5
"""The interval of polls: each is one query of two rows, and takes 0.2 ms of the processor."""

_VERSIONS = select(meta.c.name, meta.c.value).where(
    or_(meta.c.name == "policy_version", meta.c.name == "close_version")
)
"""With IN, whose list SQLAlchemy expands for each query, it would take three times as long."""

FAIL_CLOSED_AFTER_S = 30.0
"""How long the last policy is used while the store cannot be read. This is longer than a backup or a slow
disk takes, and short enough for an administrator who removes a grant."""


WHOLE_EACH_S = 300.0
"""The time after which the next change makes the watch read the whole policy again."""

REFRESHES = Rate(burst=20, interval_s=0.1, patience_s=float("inf"))
"""The rate at which `refresh` reads the store between two polls: at once for a user with a few keys, and at
most ten times a second however many logins are refused."""

STOP_S = 1.0
"""How long `stop` waits for the thread. A process that ends has to wait for other threads too."""


class PolicyWatch:
    """The policy in memory, kept up to date. Reading `policy` is fast and never blocks.

    The callbacks run in the watch's own thread. If one raises, `on_problem` gets the error, and the callback
    is called again at the next poll.
    """

    def __init__(
        self,
        database: Database,
        instance: str,
        *,
        on_change: Callable[[Policy], None],
        on_close_requests: Callable[[tuple[CloseRequest, ...]], None],
        on_problem: Callable[[str | None], None],
        poll_s: float = POLL_S,
        fail_closed_after_s: float = FAIL_CLOSED_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
        password_groups: frozenset[str] | None = None,
    ) -> None:
        """Read the policy for the first time. Raises StoreError.

        `on_change` gets each new policy. `on_close_requests` gets the requests to close sessions of
        `instance`, at each poll until they are closed. `on_problem` gets one line when the store can no
        longer be read, and None when it can again. `clock` is monotonic, in seconds. `password_groups` are
        the only groups whose users may have passwords, None for all.
        """
        self._password_groups = password_groups
        self._database = database
        self._instance = instance
        self._on_change = on_change
        self._on_close_requests = on_close_requests
        self._poll_s = poll_s
        self._fail_closed_after_s = fail_closed_after_s
        self._clock = clock
        self._policy = load_policy(database).with_passwords_for(password_groups)
        self._announced = self._policy.version
        self._read_at = self._whole_at = clock()
        self._closes_seen = -1
        self._problem = ProblemState(on_problem)
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._waiting: deque[Callable[[], None]] = deque()
        """The callbacks of `refresh`, which are called after the next read."""
        self._refreshes = SourceRates(REFRESHES)
        self._thread: threading.Thread | None = None

    @property
    def policy(self) -> Policy:
        """The policy for decisions now; empty if the store has not been read for too long."""
        # Written out here, since each login asks for it ten times.
        if self._clock() - self._read_at > self._fail_closed_after_s:
            groups = self._password_groups
            return Policy(self._policy.version, password_groups=groups, is_unavailable=True)
        return self._policy

    @property
    def last_policy(self) -> Policy:
        """The policy as it was last read, however long ago. Open sessions are checked against it."""
        return self._policy

    @property
    def problem(self) -> str | None:
        """The reason why the store is not being read, one line; None while it is."""
        if self._problem.now is None and self.is_closed:
            return f"the store {self._database.name} has not been read for {self.measure_age_s():.0f} s"
        return self._problem.now

    @property
    def is_closed(self) -> bool:
        """Return whether the store has not been read for too long, so that all logins are refused."""
        # By age alone, so that this also works while the watch's thread hangs on a dead disk.
        return self._clock() - self._read_at > self._fail_closed_after_s

    def measure_age_s(self) -> float:
        """Return how many seconds ago the store was last read."""
        return self._clock() - self._read_at

    def start(self) -> None:
        """Poll in a thread until `stop`."""
        self._thread = threading.Thread(target=self._run, name="policy-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait up to `STOP_S` for it, because the store may hang. May be called again."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(STOP_S)

    def refresh(self, done: Callable[[], None]) -> None:
        """Read the store without waiting for the next poll. May be called from any thread; never blocks.

        `done` is called in the watch's thread after a read that began later than this call. All waiting
        callbacks share one read, and `REFRESHES` limits the number of reads.
        """
        self._waiting.append(done)
        self._wake.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            # Cleared before the queue is read, so that a later call wakes the thread again.
            self._wake.clear()
            waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
            self.poll()
            for done in waiting:
                done()
            if self._wake.wait(self._poll_s):
                self._stop.wait(self._refreshes.take("", self._clock()))

    def poll(self) -> None:
        """Read the store once, and call back. Raises nothing. For the watch's thread, and for tests."""
        try:
            policy, requests = self._read_store()
            if policy is not None:
                # Before the callback, so that a login which arrives while the callback closes sessions is
                # already decided by the new policy.
                self._policy = policy
            if self._policy.version != self._announced:
                self._on_change(self._policy)
                self._announced = self._policy.version
            if requests:
                self._on_close_requests(requests)
        except StoreError as error:
            self._problem.update(str(error))
        except Exception as error:  # a fault in a callback must not stop revocations
            self._problem.update(
                f"the policy could not be applied: {type(error).__name__}: {error}"
            )
        else:
            self._problem.update(None)

    def _read_store(self) -> tuple[Policy | None, tuple[CloseRequest, ...]]:
        with self._database.read() as transaction:
            versions = {row.name: row.value for row in transaction.execute(_VERSIONS)}
            policy = None
            now = versions["policy_version"]
            if now != self._policy.version:
                policy = self._read_policy(transaction, now)
            requests: tuple[CloseRequest, ...] = ()
            if versions["close_version"] != self._closes_seen:
                requests = close_requests(transaction, self._instance)
                if not requests:
                    # Only if there are none: a worker does not know a session in the middle of its login yet,
                    # so it must get the request again.
                    self._closes_seen = versions["close_version"]
        self._read_at = self._clock()
        return policy, requests

    def _read_policy(self, transaction: Transaction, now: int) -> Policy:
        """Read the rows that changed, or the whole policy if these are not known.

        The whole policy is also read every `WHOLE_EACH_S`, so that a forgotten `touch` has no lasting effect.
        """
        if self._clock() - self._whole_at < WHOLE_EACH_S:
            changed = read_changes(transaction, self._policy, now)
            if changed is not None:
                return changed
        self._whole_at = self._clock()
        return read_policy(transaction).with_passwords_for(self._password_groups)
