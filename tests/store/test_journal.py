import itertools
import signal
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from stagedoor.model.event import Event, EventKind
from stagedoor.model.session import ZERO_COUNTS, StoredSession
from stagedoor.settings.store_location import StoreLocation
from stagedoor.store.database import Database, open_database
from stagedoor.store.journal import Filter, StoreJournal, find_start_of_last, read_entries
from stagedoor.store.sessions import list_sessions
from tests.store.sample import closed, denied, opened, python, resumed


def kinds(database: Database, session: str | None = None) -> list[EventKind]:
    return [e.event.kind for e in read_entries(database, Filter(session=session))]


def test_an_event_is_read_back_as_it_was_written(database: Database) -> None:
    events = [opened("s1"), denied(), closed("s1")]
    StoreJournal(database).append(events)
    assert [entry.event for entry in read_entries(database)] == events


def test_a_session_is_listed_from_open_to_close(database: Database) -> None:
    journal = StoreJournal(database)
    journal.append([opened("s1", at=1.0), opened("s2", at=2.0)])
    assert [row.id for row in list_sessions(database)] == ["s2", "s1"]
    journal.append([closed("s1", at=3.0, end="idle", sent=7, received=8)])
    assert [row.id for row in list_sessions(database)] == ["s2"]
    first = list_sessions(database, open_only=False)[-1]
    assert (first.end, first.closed_at, first.sent, first.received) == ("idle", 3.0, 7, 8)


def test_a_page_of_sessions_sorts_no_history(tmp_path: Path) -> None:
    """The open ones are few, and are found by their index; of all, the key gives the last ones."""
    database = open_database(tmp_path / "stagedoor.db")
    plans: list[str] = []

    def explain(_: object, cursor: sqlite3.Cursor, statement: str, values: Any, *__: Any) -> None:
        if "FROM sessions" in statement:
            plan = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
            plans.append("; ".join(row[3] for row in plan))

    event.listen(database._adapter.reading, "before_cursor_execute", explain)
    for before in (None, "s1"):
        list_sessions(database, before=before)
        list_sessions(database, open_only=False, before=before)
    database.close()
    assert ["sessions_open" in plan for plan in plans] == [True, False] * 2
    assert "B-TREE" not in str(plans)


def test_a_second_close_changes_nothing(database: Database) -> None:
    journal = StoreJournal(database)
    journal.append([opened("s1"), closed("s1", end="idle"), closed("s1", end="evicted")])
    journal.append([closed("s1", end="lost")])
    assert kinds(database, "s1") == [EventKind.SESSION_OPENED, EventKind.SESSION_CLOSED]
    assert list_sessions(database, open_only=False)[0].end == "idle"


def test_a_close_of_a_session_that_never_opened_is_void(database: Database) -> None:
    StoreJournal(database).append([closed("nobody")])
    assert read_entries(database) == []
    assert list_sessions(database, open_only=False) == []


def test_an_append_whose_outcome_is_unknown_may_be_repeated(database: Database) -> None:
    journal = StoreJournal(database)
    for _ in range(2):
        journal.append([opened("s1"), opened("s1")])
    assert kinds(database) == [EventKind.SESSION_OPENED]
    for _ in range(2):
        journal.append([opened("s1"), closed("s1")])
    assert kinds(database) == [EventKind.SESSION_OPENED, EventKind.SESSION_CLOSED]


@pytest.mark.continuity(19)
def test_a_session_that_is_resumed_is_one_and_belongs_to_the_process_that_has_it(
    database: Database,
) -> None:
    journal = StoreJournal(database)
    journal.append([opened("s1"), resumed("s1")])
    (row,) = list_sessions(database)
    assert (row.id, row.opened_at) == ("s1", 100.0)
    assert (row.instance, row.source) == ("two", "192.0.2.7:50000")
    journal.append([closed("s1", end="drained")])  # by the process that had it before
    assert [row.id for row in list_sessions(database)] == ["s1"]
    journal.append([closed("s1", instance="two")])
    assert list_sessions(database) == []
    assert kinds(database, "s1") == [
        EventKind.SESSION_OPENED,
        EventKind.SESSION_RESUMED,
        EventKind.SESSION_CLOSED,
    ]


def test_a_session_that_was_closed_with_its_process_is_open_again(database: Database) -> None:
    journal = StoreJournal(database)
    journal.append([opened("s1"), closed("s1", end="lost")])
    journal.append([resumed("s1")])
    (row,) = list_sessions(database)
    assert (row.end, row.closed_at) == (None, None)


def test_many_that_come_together_are_written_in_their_order(database: Database) -> None:
    """Some statements take several rows at once."""
    journal = StoreJournal(database)
    ids = [f"s{number:03}" for number in range(150)]
    journal.append([opened(ids[0])])
    journal.append([*map(opened, ids), *map(closed, ids[:99]), closed("absent")])
    entries = [(entry.event.kind, entry.event.session) for entry in read_entries(database)]
    assert entries == [
        *((EventKind.SESSION_OPENED, name) for name in ids),
        *((EventKind.SESSION_CLOSED, name) for name in ids[:99]),
    ]
    assert [row.id for row in list_sessions(database)] == ids[:98:-1]


def test_a_session_is_found_with_its_owner(database: Database) -> None:
    journal = StoreJournal(database)
    journal.append([opened("s1")])
    assert journal.find_session("s1") == StoredSession(
        "alice", "app01.ssh", "connect", 100.0, ZERO_COUNTS, "one", "10.0.0.1:40000", None, None
    )
    assert journal.find_session("s2") is None


_RUNS = itertools.count()


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("oc"), st.sampled_from("abc")), max_size=6), max_size=6
    )
)
def test_whatever_is_appended_a_session_opens_once_and_closes_once(
    database: Database, batches: list[Sequence[tuple[str, str]]]
) -> None:
    # Sessions of their own for each example, in one store.
    run = next(_RUNS)
    names = {name: f"{name}{run}" for name in "abc"}
    journal = StoreJournal(database)
    expected: dict[str, list[EventKind]] = {name: [] for name in "abc"}
    for batch in batches:
        journal.append([opened(names[s]) if what == "o" else closed(names[s]) for what, s in batch])
        for what, session in batch:
            if what == "o" and not expected[session]:
                expected[session] = [EventKind.SESSION_OPENED]
            elif what == "c" and expected[session] == [EventKind.SESSION_OPENED]:
                expected[session] = [EventKind.SESSION_OPENED, EventKind.SESSION_CLOSED]
    assert {name: kinds(database, names[name]) for name in "abc"} == expected
    still = {names[name] for name in "abc" if expected[name] == [EventKind.SESSION_OPENED]}
    assert {row.id for row in list_sessions(database)} & set(names.values()) == still


WRITE = """
import sys
from stagedoor.store.database import open_database
from stagedoor.store.journal import StoreJournal
from tests.store.sample import opened, place_from
journal = StoreJournal(open_database(place_from(sys.argv[1])))
for number in range(10**9):
    batch = [opened(f"s{number}-{n}") for n in range(20)]
    journal.append(batch)
    print(number, flush=True)
"""


def test_what_was_acknowledged_survives_a_sigkill_in_the_middle(place: StoreLocation) -> None:
    writer = python(WRITE, place)
    assert writer.stdout is not None
    for line in writer.stdout:
        if int(line) >= 100:
            break
    writer.send_signal(signal.SIGKILL)
    rest, _ = writer.communicate(timeout=30)
    acknowledged = max([100, *map(int, rest.split("\n")[:-1])])
    database = open_database(place)
    rows = {row.id for row in list_sessions(database, limit=10**6)}
    assert {f"s{batch}-{n}" for batch in range(acknowledged + 1) for n in range(20)} <= rows
    # All or none of the batch that was being written.
    assert len(rows) % 20 == 0
    if not database.shared:
        with database.read() as transaction:
            assert transaction.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    database.close()


def test_the_audit_can_be_read_by_session_identity_time_and_from_its_end(
    database: Database,
) -> None:
    journal = StoreJournal(database)
    journal.append([opened(f"s{n}", at=float(n), who=f"user{n % 2}") for n in range(10)])

    def sessions(wanted: Filter, after: int = 0) -> list[str | None]:
        return [e.event.session for e in read_entries(database, wanted, after=after)]

    assert sessions(Filter(since=8.0)) == ["s8", "s9"]
    assert sessions(Filter(identity="user1", since=6.0)) == ["s7", "s9"]
    assert sessions(Filter(), find_start_of_last(database, Filter(), 3)) == ["s7", "s8", "s9"]
    assert sessions(Filter(), find_start_of_last(database, Filter(), 30)) == [
        f"s{n}" for n in range(10)
    ]
    only = Filter(identity="user0")
    assert sessions(only, find_start_of_last(database, only, 2)) == ["s6", "s8"]


def test_a_wildcard_in_a_session_id_stands_for_itself(database: Database) -> None:
    StoreJournal(database).append([opened("s1")])
    assert read_entries(database, Filter(session="%")) == []
    assert read_entries(database, Filter(session="_1")) == []


def test_hostile_text_is_written_as_what_it_is(database: Database) -> None:
    hostile = "'; DROP TABLE users; --\x1b]0;x\x07 %s %(x)s {} \u202e"
    event = Event(
        1.0, EventKind.SESSION_DENIED, "one", identity=hostile, fields={"message": hostile}
    )
    StoreJournal(database).append([event])
    assert read_entries(database)[0].event == event


def test_a_null_character_stops_nothing(database: Database) -> None:
    event = Event(1.0, EventKind.SESSION_DENIED, "one", identity="a\0b", fields={"message": "a\0b"})
    StoreJournal(database).append([event])
    (entry,) = read_entries(database)
    assert entry.event.identity == "a\N{REPLACEMENT CHARACTER}b"
    assert entry.event.fields == {"message": "a\0b"}


def test_more_bytes_than_32_bits_count_are_counted(database: Database) -> None:
    StoreJournal(database).append([opened("s1"), closed("s1", sent=2**40, received=2**62)])
    (row,) = list_sessions(database, open_only=False)
    assert (row.sent, row.received) == (2**40, 2**62)
