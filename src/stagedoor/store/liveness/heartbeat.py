"""A process's sign of life in a store that machines share, and its eye on the others' signs.

A lock file shows a process to its own machine only (`instances`), and a lock that a server holds
for a connection is gone with the connection, although the process and its sessions may live. So
each process counts in a row of its own, and one that sees a count stand still for long enough
closes, in the audit, what that process had open. Should it live after all, behind a broken network,
it takes its sessions back as soon as it reaches the store again.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from sqlalchemy import delete, insert, select, update

from stagedoor.model.errors import StoreError
from stagedoor.model.problem import Problem
from stagedoor.store.database import Database
from stagedoor.store.liveness.instances import close_lost
from stagedoor.store.liveness.reclaim import close_ended, reclaim
from stagedoor.store.liveness.silence import BEAT_S, DEAD_AFTER_S, HeartbeatWatch
from stagedoor.store.schema import instances, sessions

STOP_S = 1.0
"""How long `stop` waits: a process that ends has others to wait for too."""


class Heartbeat:
    """Beats in a thread of its own from `start` to `stop`."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        instance: str,
        *,
        live: Callable[[], Iterable[str]],
        on_lost: Callable[[Sequence[str]], None],
        on_reclaimed: Callable[[Sequence[str]], None],
        on_problem: Callable[[str | None], None],
        on_odd: Callable[[str, str], None] = lambda instance, name: None,
        marks: Mapping[str, str] = MappingProxyType({}),
        beat_s: float = BEAT_S,
        dead_after_s: float = DEAD_AFTER_S,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`folder` has the lock files of this machine's processes; `live` gives the ids of the
        sessions that are open in this one.

        `on_lost` gets the sessions of others that were closed as lost, `on_reclaimed` our own
        that others had so closed and that are open again, `on_problem` one line when a beat
        fails, and None when it works again; all in the heartbeat's thread.

        `marks` are what all gateways should have the same of, by name: fingerprints, never
        secrets. `on_odd` gets an instance that has another, and the name.
        """
        self._database = database
        self._folder = folder
        self._instance = instance
        self._live = live
        self._on_lost = on_lost
        self._on_reclaimed = on_reclaimed
        self._on_odd = on_odd
        self._marks = marks
        self._beat_s = beat_s
        self._clock = clock
        self._monotonic = monotonic
        self._silence = HeartbeatWatch(dead_after_s, 3 * beat_s)
        self._silent_for = f"has not been heard of for {dead_after_s:g} s"
        self._problem = Problem(on_problem)
        self._beats = 0
        self._wake = threading.Event()
        self._leave: Callable[[], None] = lambda: None
        self._thread: threading.Thread | None = None

    def announce(self) -> None:
        """Show that this process lives, before its first session. Raises StoreError."""
        with self._database.write() as transaction:
            others = transaction.execute(
                select(instances).where(instances.c.id != self._instance)
            ).all()
            transaction.execute(
                insert(instances).values(
                    id=self._instance,
                    beats=self._beats,
                    started_at=self._clock(),
                    marks=json.dumps(dict(self._marks)),
                )
            )
        for other in others:
            theirs = json.loads(other.marks)
            for name, mark in self._marks.items():
                if theirs.get(name, mark) != mark:
                    self._on_odd(other.id, name)

    def start(self) -> None:
        """Beat in a thread until `stop`."""
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def stop(self, *, in_order: bool) -> None:
        """End the thread, and wait a moment for it: the server may hang.

        `in_order`: nothing is left open, so there is nothing to be found, and the row goes; else,
        or if the store is out of reach, it stays, and falls silent.
        """
        self._leave = self._take_down if in_order else lambda: None
        self._wake.set()
        if self._thread is None:
            self._leave()
        else:
            self._thread.join(STOP_S)

    def _run(self) -> None:
        while not self._wake.wait(self._beat_s):
            self.beat()
        self._leave()

    def _take_down(self) -> None:
        with suppress(StoreError), self._database.write(hasty=True) as transaction:
            transaction.execute(delete(instances).where(instances.c.id == self._instance))

    def beat(self) -> None:
        """Once: show that we live, look at the others. Raises nothing."""
        try:
            self._show()
            self._look()
        except StoreError as error:
            self._problem.update(str(error))
        except Exception as error:  # a callback's fault must not make us look dead
            self._problem.update(f"{type(error).__name__}: {error}")
        else:
            self._problem.update(None)

    def _show(self) -> None:
        # Counted here, so that who was taken for dead comes back with a count never seen before.
        self._beats += 1
        with self._database.write(hasty=True) as transaction:
            known = transaction.execute(
                update(instances).where(instances.c.id == self._instance).values(beats=self._beats)
            ).rowcount
        if known == 0:  # others have taken us for dead
            self.announce()
            self._reclaim()

    def _reclaim(self) -> None:
        now = self._clock()
        found = reclaim(self._database, self._live(), now=now, instance=self._instance)
        still = set(self._live())
        # They ended while we read: their own close came while the audit had them closed already.
        close_ended(
            self._database,
            [session for session in found if session not in still],
            now=now,
            instance=self._instance,
        )
        if found:
            self._on_reclaimed(found)

    def _look(self) -> None:
        with self._database.read() as transaction:
            beats: dict[str, int | None] = dict.fromkeys(
                transaction.execute(
                    select(sessions.c.instance).where(sessions.c.closed_at.is_(None)).distinct()
                ).scalars()
            )
            beats |= {row.id: row.beats for row in transaction.execute(select(instances))}
        silent = self._silence.look(beats, self._monotonic()) - {self._instance}
        lost = close_lost(
            self._database,
            self._folder,
            now=self._clock(),
            instance=self._instance,
            silent=silent,
            silent_for=self._silent_for,
        )
        if lost:
            self._on_lost(lost)
