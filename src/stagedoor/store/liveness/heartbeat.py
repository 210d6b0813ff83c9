"""Heartbeats of processes that share a store across machines.

A lock file proves only to its own machine that a process is alive (`instances`). A lock on the database
server ends with its connection, although the process and its sessions may live on. So each process increments
a counter in its own row. If a counter stays unchanged for long enough, another process closes the silent
process's sessions in the audit. If that process was alive after all, and only cut off by the network, it
takes its sessions back as soon as it reaches the store again.
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
from stagedoor.model.event import EventKind
from stagedoor.model.problem import ProblemState
from stagedoor.model.session import EndReason
from stagedoor.store.database import Database
from stagedoor.store.journal import append
from stagedoor.store.liveness.instances import close_lost, make_session_event
from stagedoor.store.schema import instances, sessions

_MISTAKEN = "it was taken for lost"
"""The detail in the events about sessions that this process takes back."""


def reclaim(database: Database, live: Iterable[str], *, now: float, instance: str) -> list[str]:
    """Reopen the sessions among `live` that other processes closed as lost, and return their ids. Audited.

    `live` are sessions of the process `instance`, which calls this. Raises StoreError.
    """
    wanted = set(live)
    with database.write() as transaction:
        query = (
            select(sessions)
            .where(sessions.c.instance == instance, sessions.c.end == EndReason.LOST.value)
            .order_by(sessions.c.id)
        )
        lost = [row for row in transaction.execute(query) if row.id in wanted]
        kind = EventKind.SESSION_FOUND
        append(
            transaction, [make_session_event(kind, row, now, instance, _MISTAKEN) for row in lost]
        )
    return [row.id for row in lost]


def close_ended(
    database: Database, session_ids: Sequence[str], *, now: float, instance: str
) -> None:
    """Close sessions that have ended, with no further details. Raises StoreError."""
    if not session_ids:
        return
    with database.write() as transaction:
        query = select(sessions).where(sessions.c.id.in_(session_ids)).order_by(sessions.c.id)
        kind = EventKind.SESSION_CLOSED
        append(
            transaction,
            [
                make_session_event(kind, row, now, instance, _MISTAKEN, EndReason.CLOSED)
                for row in transaction.execute(query).all()
            ],
        )


BEAT_S = 5.0
"""The interval of a process's heartbeats."""

DEAD_AFTER_S = 60.0
"""The time without a heartbeat after which a process counts as dead. Its sessions are then `lost` in the
audit, so this is longer than a fail-over of the server or a stalled disk takes. A dead process on the same
machine is detected at once by its lock file."""

BLIND_BEATS = 3
"""The number of beats without a check after which a process forgets the heartbeats that it has seen."""


class HeartbeatWatch:
    """Measures how long each other process has been silent, by this process's own clock.

    So machines need not agree on the time. Only silence that was observed without a gap counts: after the
    server, the network or this process was unavailable, every measurement starts again.
    """

    def __init__(self, dead_after_s: float, blind_after_s: float) -> None:
        self._dead_after_s = dead_after_s
        self._blind_after_s = blind_after_s
        self._seen: dict[str, tuple[int | None, float]] = {}
        self._checked_at: float | None = None

    def find_dead(self, beats: Mapping[str, int | None], now: float) -> frozenset[str]:
        """Return the dead processes. `beats` has the count of each process, None if it has not beaten yet.

        `now` is monotonic, in seconds.
        """
        blind = self._checked_at is None or now - self._checked_at > self._blind_after_s
        self._checked_at = now
        before = {} if blind else self._seen
        self._seen = {
            name: before[name] if name in before and before[name][0] == count else (count, now)
            for name, count in beats.items()
        }
        return frozenset(
            name for name, (_, since) in self._seen.items() if now - since >= self._dead_after_s
        )


STOP_S = 1.0
"""How long `stop` waits for the thread. A process that ends has to wait for other threads too."""


class Heartbeat:
    """The heartbeat of this process, in its own thread from `start` to `stop`."""

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
        on_mismatch: Callable[[str, str], None] = lambda instance, name: None,
        marks: Mapping[str, str] = MappingProxyType({}),
        beat_s: float = BEAT_S,
        dead_after_s: float = DEAD_AFTER_S,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a heartbeat, which does not beat yet.

        `folder` has the lock files of this machine's processes, and `live` returns the ids of this process's
        open sessions. `marks` are values, by name, that should be the same on all gateways: fingerprints,
        never secrets.

        `on_lost` gets the ids of other processes' sessions that were closed as lost, and `on_reclaimed` those
        of this process's sessions that are open again after that. `on_mismatch` gets an instance that has a
        different mark, and the mark's name. `on_problem` gets one line when a beat fails, and None when it
        works again. All are called in the heartbeat's thread.
        """
        self._database = database
        self._folder = folder
        self._instance = instance
        self._live = live
        self._on_lost = on_lost
        self._on_reclaimed = on_reclaimed
        self._on_mismatch = on_mismatch
        self._marks = marks
        self._beat_s = beat_s
        self._clock = clock
        self._monotonic = monotonic
        self._silence = HeartbeatWatch(dead_after_s, BLIND_BEATS * beat_s)
        self._silent_for = f"has not been heard of for {dead_after_s:g} s"
        self._problem = ProblemState(on_problem)
        self._beats = 0
        self._wake = threading.Event()
        self._last_action: Callable[[], None] = lambda: None
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
            other_marks = json.loads(other.marks)
            for name, mark in self._marks.items():
                if other_marks.get(name, mark) != mark:
                    self._on_mismatch(other.id, name)

    def start(self) -> None:
        """Beat in a thread until `stop`."""
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def stop(self, *, in_order: bool) -> None:
        """End the thread, and wait up to `STOP_S` for it, because the server may hang.

        `in_order` means that no session is left open, so the row is removed. Otherwise, or if the store is
        out of reach, the row stays, and the others notice that its counter has stopped.
        """
        self._last_action = self._remove_row if in_order else lambda: None
        self._wake.set()
        if self._thread is None:
            self._last_action()
        else:
            self._thread.join(STOP_S)

    def _run(self) -> None:
        while not self._wake.wait(self._beat_s):
            self.beat()
        self._last_action()

    def _remove_row(self) -> None:
        with suppress(StoreError), self._database.write(hasty=True) as transaction:
            transaction.execute(delete(instances).where(instances.c.id == self._instance))

    def beat(self) -> None:
        """Beat once: show that this process is alive, and check the others. Raises nothing."""
        try:
            self._beat_once()
            self._check_others()
        except StoreError as error:
            self._problem.update(str(error))
        except Exception as error:  # a faulty callback must not make this process look dead
            self._problem.update(f"{type(error).__name__}: {error}")
        else:
            self._problem.update(None)

    def _beat_once(self) -> None:
        # Counted here, so that a process which was taken for dead returns with a new count.
        self._beats += 1
        with self._database.write(hasty=True) as transaction:
            known = transaction.execute(
                update(instances).where(instances.c.id == self._instance).values(beats=self._beats)
            ).rowcount
        if known == 0:  # another process has taken this one for dead
            self.announce()
            self._reclaim()

    def _reclaim(self) -> None:
        now = self._clock()
        reclaimed = reclaim(self._database, self._live(), now=now, instance=self._instance)
        live = set(self._live())
        # These have ended meanwhile, while the audit already had them as closed.
        close_ended(
            self._database,
            [session for session in reclaimed if session not in live],
            now=now,
            instance=self._instance,
        )
        if reclaimed:
            self._on_reclaimed(reclaimed)

    def _check_others(self) -> None:
        with self._database.read() as transaction:
            beats: dict[str, int | None] = dict.fromkeys(
                transaction.execute(
                    select(sessions.c.instance).where(sessions.c.closed_at.is_(None)).distinct()
                ).scalars()
            )
            beats |= {row.id: row.beats for row in transaction.execute(select(instances))}
        silent = self._silence.find_dead(beats, self._monotonic()) - {self._instance}
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
