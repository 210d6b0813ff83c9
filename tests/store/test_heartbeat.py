"""Gateways on several machines: who is dead, and who only could not be reached."""

import queue
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import select

from stagedoor.model.event import EventKind
from stagedoor.settings.store_location import StoreServer
from stagedoor.store.database import Database, open_database
from stagedoor.store.journal import Filter, StoreJournal, read_entries
from stagedoor.store.liveness.heartbeat import Heartbeat
from stagedoor.store.schema import instances
from stagedoor.store.sessions import list_sessions
from tests.store.conftest import Outage
from tests.store.sample import closed, opened, python


class Machine:
    """A gateway process on a machine of its own: its folder has only its own lock files."""

    def __init__(
        self, server: StoreServer, folder: Path, name: str, ca: str = "SHA256:one"
    ) -> None:
        self.database = open_database(server)
        self.now = 0.0
        self.live: list[str] = []
        self.lost: queue.Queue[Sequence[str]] = queue.Queue()
        self.reclaimed: list[Sequence[str]] = []
        self.problems: list[str | None] = []
        self.odd: list[tuple[str, str]] = []
        self.heartbeat = Heartbeat(
            self.database,
            folder / name,
            name,
            live=lambda: tuple(self.live),
            on_lost=self.lost.put,
            on_reclaimed=self.reclaimed.append,
            on_problem=self.problems.append,
            on_mismatch=lambda other, name: self.odd.append((other, name)),
            marks={"keys.user_ca_file": ca},
            beat_s=5.0,
            dead_after_s=60.0,
            clock=lambda: 1000.0 + self.now,
            monotonic=lambda: self.now,
        )
        self.heartbeat.announce()

    def enter(self, session: str, name: str) -> None:
        StoreJournal(self.database).append([opened(session, instance=name)])
        self.live.append(session)

    def beat(self, times: int = 1) -> None:
        for _ in range(times):
            self.now += 5.0
            self.heartbeat.beat()


@pytest.fixture
def two(server: StoreServer, tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    first, second = Machine(server, tmp_path, "first"), Machine(server, tmp_path, "second")
    first.enter("s1", "first")
    second.enter("s2", "second")
    yield first, second
    first.database.close()
    second.database.close()


def rows(database: Database) -> dict[str, int]:
    with database.read() as transaction:
        return {row.id: row.beats for row in transaction.execute(select(instances))}


def state(database: Database) -> dict[str, str | None]:
    return {row.id: row.end for row in list_sessions(database, open_only=False)}


def test_who_falls_silent_loses_its_sessions_and_the_others_keep_theirs(
    two: tuple[Machine, Machine],
) -> None:
    first, second = two
    for _ in range(20):
        first.beat()
        second.beat()
    assert state(first.database) == {"s1": None, "s2": None}
    first.beat(12)
    assert state(first.database) == {"s1": None, "s2": None}, "60 s have not yet passed"
    first.beat()
    assert first.lost.get_nowait() == ["s2"]
    assert state(first.database) == {"s1": None, "s2": "lost"}
    event = read_entries(first.database, Filter(session="s2"))[-1].event
    assert event.fields["detail"] == "the gateway process second has not been heard of for 60 s"
    assert list(rows(first.database)) == ["first"]


def test_who_was_taken_for_dead_takes_back_what_lives(two: tuple[Machine, Machine]) -> None:
    first, second = two
    second.enter("s3", "second")
    first.beat(20)
    assert state(first.database) == {"s1": None, "s2": "lost", "s3": "lost"}
    second.live.remove("s3")  # it ended meanwhile: its close was void
    StoreJournal(second.database).append([closed("s3", instance="second")])
    second.beat()
    assert second.reclaimed == [["s2"]]
    assert state(first.database) == {"s1": None, "s2": None, "s3": "lost"}
    kinds = [entry.event.kind for entry in read_entries(first.database, Filter(session="s2"))]
    assert kinds == [EventKind.SESSION_OPENED, EventKind.SESSION_CLOSED, EventKind.SESSION_FOUND]
    StoreJournal(second.database).append([closed("s2", end="idle", instance="second")])
    assert state(first.database)["s2"] == "idle", "and closes it as any other"
    second.beat(2)
    assert second.reclaimed == [["s2"]]


def test_who_comes_back_at_once_is_not_taken_for_silent_still(
    two: tuple[Machine, Machine],
) -> None:
    first, second = two
    while first.lost.empty():
        first.beat()
    second.beat()
    first.beat()
    assert state(first.database)["s2"] is None


def test_a_session_that_ends_while_it_is_taken_back_is_closed(
    two: tuple[Machine, Machine],
) -> None:
    first, second = two
    first.beat(20)
    answers = iter([("s2",), ()])
    second.heartbeat._live = lambda: next(answers)
    second.beat()
    assert state(first.database) == {"s1": None, "s2": "closed"}


def test_nobody_is_dead_because_the_server_was_away(
    two: tuple[Machine, Machine], server: StoreServer, outage: Outage
) -> None:
    first, second = two
    first.beat(2)
    with outage():
        first.beat(100)
        assert first.problems[-1] is not None
        assert first.problems[-1].startswith("the store ")
    first.beat(12)
    assert state(first.database) == {"s1": None, "s2": None}
    assert first.problems[-1] is None
    second.beat()
    first.beat(12)
    assert state(first.database) == {"s1": None, "s2": None}


@pytest.fixture
def place(server: StoreServer) -> StoreServer:
    """Return the server, for `outage`."""
    return server


def test_who_ends_in_order_leaves_no_trace(two: tuple[Machine, Machine]) -> None:
    first, second = two
    second.heartbeat.stop(in_order=True)
    assert list(rows(first.database)) == ["first"]
    first.heartbeat.stop(in_order=False)
    assert list(rows(second.database)) == ["first"]


def test_an_instance_without_a_row_is_given_time_too(two: tuple[Machine, Machine]) -> None:
    first, _ = two
    StoreJournal(first.database).append([opened("s9", instance="nameless")])
    first.beat(12)
    assert state(first.database)["s9"] is None
    first.beat(2)
    assert state(first.database)["s9"] == "lost"


def test_a_gateway_with_keys_of_its_own_is_told(
    two: tuple[Machine, Machine], server: StoreServer, tmp_path: Path
) -> None:
    assert two[0].odd == two[1].odd == []
    third = Machine(server, tmp_path, "third", ca="SHA256:another")
    assert sorted(third.odd) == [("first", "keys.user_ca_file"), ("second", "keys.user_ca_file")]
    third.database.close()


BEATING = """
import sys
from pathlib import Path
from stagedoor.store.database import open_database
from stagedoor.store.liveness.heartbeat import Heartbeat
from stagedoor.store.journal import StoreJournal
from tests.store.sample import opened, place_from
database = open_database(place_from(sys.argv[1]))
nothing = lambda *_: None
heartbeat = Heartbeat(
    database, Path(sys.argv[2]), "far", live=lambda: ("s1",), beat_s=0.05,
    on_lost=nothing, on_reclaimed=nothing, on_problem=nothing,
)
heartbeat.announce()
StoreJournal(database).append([opened("s1", instance="far")])
heartbeat.start()
print("in", flush=True)
sys.stdin.read()
"""


def test_a_machine_that_is_gone_is_found_by_the_others_alone(
    server: StoreServer, tmp_path: Path
) -> None:
    far = python(BEATING, server, tmp_path / "far")
    assert far.stdout is not None
    assert far.stdout.readline() == "in\n"
    # A process that stands still may hold the lock of those who write.
    database = open_database(server, busy_timeout_s=20)
    lost: queue.Queue[Sequence[str]] = queue.Queue()
    problems: list[object] = []
    near = Heartbeat(
        database,
        tmp_path / "near",
        "near",
        live=tuple,
        on_lost=lost.put,
        on_reclaimed=problems.append,
        on_problem=problems.append,
        beat_s=0.5,
        dead_after_s=6.0,
    )
    near.announce()
    near.start()
    with pytest.raises(queue.Empty):
        lost.get(timeout=7)
    far.send_signal(signal.SIGKILL)
    far.communicate(timeout=30)
    assert lost.get(timeout=60) == ["s1"]
    near.stop(in_order=True)
    assert problems == []
    database.close()
