"""Sees within a second what any process changes: the policy, and wishes to close sessions.

Fails closed: a store that has not been read for `FAIL_CLOSED_AFTER_S` yields an empty policy, so
that nobody gets in by a grant that may have been removed. Sessions that are open stay open: to
cut everybody off cannot be taken back, and each of them was let in by a policy that was read.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

from sqlalchemy import or_, select

from stagedoor.model.errors import StoreError
from stagedoor.model.policy import Policy
from stagedoor.model.problem import Problem
from stagedoor.model.rate import Rate, SourceRates
from stagedoor.store.database import Database, Transaction
from stagedoor.store.policy import load_policy, read_changes, read_policy
from stagedoor.store.schema import meta
from stagedoor.store.sessions import CloseRequest, close_requests

POLL_S = 0.5
"""How often the store is asked: one query of two rows, 0.2 ms of the processor."""

_VERSIONS = select(meta.c.name, meta.c.value).where(
    or_(meta.c.name == "policy_version", meta.c.name == "close_version")
)
"""Made once; with IN, whose list SQLAlchemy puts together for each query, it takes three times as long."""

FAIL_CLOSED_AFTER_S = 30.0
"""How long the last policy is trusted while the store cannot be read: longer than a backup or a
slow disk, shorter than an administrator who removes a grant would wait before worrying."""


WHOLE_EACH_S = 300.0
"""The first change after so long makes us read the whole policy again."""

LOOKS = Rate(burst=20, interval_s=0.1, patience_s=float("inf"))
"""How often `look` makes the store be asked between two polls: at once for a person with a few keys, and
ten times a second however many are refused."""

STOP_S = 1.0
"""How long `stop` waits: a process that ends has others to wait for too."""


class PolicyWatch:
    """Keeps the policy in memory. `policy` costs nothing and never blocks.

    The callbacks run in the watch's own thread. A callback that raises is told to `on_problem`,
    and called again at the next poll.
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
        """Read the policy once, so that nobody is served without. Raises StoreError.

        `on_change` gets each new policy, `on_close_requests` the sessions of `instance` that
        somebody wants closed, again at each poll until they are. `on_problem` gets one line when
        the store can no longer be read, and None when it can again. `clock` is monotonic, in
        seconds. `password_groups` are the groups that alone have passwords, None for all.
        """
        self._password_groups = password_groups
        self._database = database
        self._instance = instance
        self._on_change = on_change
        self._on_close_requests = on_close_requests
        self._poll_s = poll_s
        self._fail_closed_after_s = fail_closed_after_s
        self._clock = clock
        self._policy = load_policy(database).limited_to(password_groups)
        self._announced = self._policy.version
        self._read_at = self._whole_at = clock()
        self._closes_seen = -1
        self._problem = Problem(on_problem)
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._waiting: deque[Callable[[], None]] = deque()
        """Those who asked for a look; called once it is over."""
        self._looks = SourceRates(LOOKS)
        self._thread: threading.Thread | None = None

    @property
    def policy(self) -> Policy:
        """The policy to decide by now; empty once the store has been unread for too long."""
        if self.closed:
            return Policy(version=self._policy.version, unread=True)
        return self._policy

    @property
    def last_policy(self) -> Policy:
        """The policy as it was last read, however long ago: what live sessions are judged by."""
        return self._policy

    @property
    def problem(self) -> str | None:
        """Why the store is not being read, in one line; None while it is."""
        if self._problem.now is None and self.closed:
            return f"the store {self._database.name} has not been read for {self.stale_s():.0f} s"
        return self._problem.now

    @property
    def closed(self) -> bool:
        """Whether the store has been unread for too long, so that nobody is let in."""
        # By age alone, so that it also holds when the watch's thread hangs on a dead disk.
        return self.stale_s() > self._fail_closed_after_s

    def stale_s(self) -> float:
        """How long ago the store was last read, seconds."""
        return self._clock() - self._read_at

    def start(self) -> None:
        """Poll in a thread until `stop`."""
        self._thread = threading.Thread(target=self._run, name="policy-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait a moment for it: the store may hang. May be called again."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(STOP_S)

    def look(self, done: Callable[[], None]) -> None:
        """Look at the store without waiting for the next poll. From any thread; never blocks.

        `done` is called in the watch's thread after a look that began later than this call. All that
        wait share one look, and `LOOKS` bounds how many there are.
        """
        self._waiting.append(done)
        self._wake.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            # Cleared before the queue is read: a call that comes later wakes us again.
            self._wake.clear()
            waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
            self.poll()
            for done in waiting:
                done()
            if self._wake.wait(self._poll_s):
                self._stop.wait(self._looks.take("", self._clock()))

    def poll(self) -> None:
        """Look once, and call back. Raises nothing. For the watch's thread, and for tests."""
        try:
            policy, requests = self._look()
            if policy is not None:
                # First the policy, then the callback: somebody who logs in while it closes sessions is
                # already judged by the new one.
                self._policy = policy
            if self._policy.version != self._announced:
                self._on_change(self._policy)
                self._announced = self._policy.version
            if requests:
                self._on_close_requests(requests)
        except StoreError as error:
            self._problem.update(str(error))
        except Exception as error:  # a callback's fault must not end what revocation hangs on
            self._problem.update(
                f"the policy could not be applied: {type(error).__name__}: {error}"
            )
        else:
            self._problem.update(None)

    def _look(self) -> tuple[Policy | None, tuple[CloseRequest, ...]]:
        with self._database.read() as transaction:
            versions = {row.name: row.value for row in transaction.execute(_VERSIONS)}
            policy = None
            now = versions["policy_version"]
            if now != self._policy.version:
                policy = self._read(transaction, now).limited_to(self._password_groups)
            requests: tuple[CloseRequest, ...] = ()
            if versions["close_version"] != self._closes_seen:
                requests = close_requests(transaction, self._instance)
                if not requests:
                    # Only now: a session whose login is half-way when it is asked for is not yet
                    # known to its worker, which must hear of it again.
                    self._closes_seen = versions["close_version"]
        self._read_at = self._clock()
        return policy, requests

    def _read(self, transaction: Transaction, now: int) -> Policy:
        """What has changed, or all of it where that is not known; and all of it once in a while, so that
        no bug here in telling what a change has touched lasts."""
        if self._clock() - self._whole_at < WHOLE_EACH_S:
            changed = read_changes(transaction, self._policy, now)
            if changed is not None:
                return changed
        self._whole_at = self._clock()
        return read_policy(transaction)
