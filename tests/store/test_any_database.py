"""Properties of a store of each kind, from the first start on."""

import time
from collections.abc import Callable

import pytest
from sqlalchemy import select, update

from stagedoor.model.errors import StoreError
from stagedoor.settings.store_location import StoreLocation
from stagedoor.store import schema
from stagedoor.store.database import Database, open_database, read_server_time
from stagedoor.store.journal import StoreJournal, read_entries
from stagedoor.store.policy import load_policy
from stagedoor.store.sessions import list_sessions
from tests.store.conftest import Outage
from tests.store.sample import change, denied, opened, python


def set_version(place: StoreLocation, name: str, value: int) -> None:
    database = open_database(place)
    with database.write() as transaction:
        transaction.execute(
            update(schema.meta).where(schema.meta.c.name == name).values(value=value)
        )
    database.close()


def test_a_store_of_a_newer_program_that_we_would_harm_is_refused(place: StoreLocation) -> None:
    set_version(place, "schema_version", schema.SCHEMA_VERSION + 1)
    set_version(place, "compatible_version", schema.SCHEMA_VERSION + 1)
    newer = schema.SCHEMA_VERSION + 1
    match = rf"newer Stagedoor \(schema {newer}, usable from schema {newer}"
    with pytest.raises(StoreError, match=match) as e:
        open_database(place)
    assert str(place) in str(e.value)


def test_a_store_of_a_newer_program_that_still_suits_us_is_used(place: StoreLocation) -> None:
    set_version(place, "schema_version", schema.SCHEMA_VERSION + 1)
    database = open_database(place)
    with database.read() as transaction:
        assert schema.check(transaction) == schema.SCHEMA_VERSION + 1, "and is not taken back"
    database.close()


def test_somebody_elses_tables_are_left_alone(place: StoreLocation) -> None:
    database = open_database(place)
    with database.write() as transaction:
        schema.metadata.drop_all(transaction)
        transaction.exec_driver_sql("CREATE TABLE recipes (name TEXT)")
    database.close()
    with pytest.raises(StoreError, match="not Stagedoor's; name another"):
        open_database(place)


OPEN = """
import sys
from stagedoor.store.database import open_database
from stagedoor.store.journal import StoreJournal
from stagedoor.model.event import Event, EventKind
from tests.store.sample import place_from
print("ready", flush=True)
sys.stdin.readline()
journal = StoreJournal(open_database(place_from(sys.argv[1]), busy_timeout_s=60))
for number in range(50):
    journal.append([Event(float(number), EventKind.SESSION_DENIED, sys.argv[2])])
"""


def at_once(place: StoreLocation, code: str = OPEN) -> None:
    workers = [python(code, place, f"worker{n}") for n in range(4)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate(timeout=60)
        assert worker.returncode == 0


def assert_all_wrote(database: Database) -> None:
    entries = read_entries(database)
    for n in range(4):
        mine = [entry.event.at for entry in entries if entry.event.instance == f"worker{n}"]
        assert mine == [float(number) for number in range(50)]


def test_processes_that_make_one_store_at_once_all_write_to_it(place: StoreLocation) -> None:
    at_once(place)
    database = open_database(place)
    assert_all_wrote(database)
    database.close()


FOLLOW = """
import sys
from stagedoor.store.database import open_database
from stagedoor.store.journal import StoreJournal
from tests.store.sample import denied, place_from
print("ready", flush=True)
sys.stdin.readline()
journal = StoreJournal(open_database(place_from(sys.argv[1]), busy_timeout_s=60))
for number in range(40):
    journal.append([denied(at=float(number)) for _ in range(20)])
"""


def test_whoever_follows_the_audit_misses_nothing(place: StoreLocation) -> None:
    database = open_database(place)
    writers = [python(FOLLOW, place) for _ in range(2)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdin is not None
        writer.stdout.readline()
        writer.stdin.write("\n")
        writer.stdin.flush()
    seen: list[int] = []
    while len(seen) < 2 * 800:
        running = any(writer.poll() is None for writer in writers)
        page = read_entries(database, after=seen[-1] if seen else 0)
        seen += [entry.seq for entry in page]
        if not page and not running:
            break
    for writer in writers:
        writer.communicate(timeout=60)
    assert len(seen) == 2 * 800, "an event became visible behind one that was read already"
    database.close()


def test_transactions_that_write_run_one_by_one(place: StoreLocation) -> None:
    """The data that a change has read is still so when it writes."""
    first, second = open_database(place), open_database(place, busy_timeout_s=0.05)
    with change(first, "one") as c:
        c.transaction.execute(select(schema.users)).all()
        with pytest.raises(StoreError, match=r"locked by another|held it for too long"):
            second.write().__enter__()
        with pytest.raises(StoreError, match=r"locked by another|held it for too long"):
            StoreJournal(second).append([denied()])
        assert load_policy(second).version == 0, "those who read are not held up"
    assert load_policy(second).version == 1
    StoreJournal(second).append([denied()])
    first.close()
    second.close()


def test_a_store_that_comes_back_is_used_again(database: Database, outage: Outage) -> None:
    journal = StoreJournal(database)
    journal.append([opened("s1")])
    attempts: list[Callable[[], object]] = [
        lambda: journal.append([opened("s2")]),
        lambda: load_policy(database),
        lambda: database.write().__enter__(),
    ]
    with outage():
        for attempt in attempts:
            with pytest.raises(StoreError, match="the store "):
                attempt()
    journal.append([opened("s3")])
    assert [row.id for row in list_sessions(database)] == ["s3", "s1"]
    with database.write(hasty=True):
        pass


def test_who_only_looks_leaves_an_older_store_as_it_is(place: StoreLocation) -> None:
    set_version(place, "schema_version", 1)
    with pytest.raises(
        StoreError, match=r"older Stagedoor \(schema 1, .*serve. brings it up to date"
    ):
        open_database(place, create=False, upgrade=False)
    with pytest.raises(StoreError, match="schema 1"):  # it still is
        open_database(place, create=False, upgrade=False)


def test_the_server_s_clock_is_told_where_there_is_a_server(database: Database) -> None:
    now = read_server_time(database)
    assert (now is None) == (not database.shared)
    assert now is None or abs(now - time.time()) < 60


def test_transactions_are_timed_by_what_they_are(database: Database) -> None:
    seen: list[tuple[str, bool]] = []
    database.on_transaction = lambda operation, took_s, failed: seen.append((operation, failed))
    StoreJournal(database).append([denied()])
    load_policy(database)
    with pytest.raises(StoreError), database.write() as transaction:
        transaction.exec_driver_sql("select * from nothing")
    with pytest.raises(KeyError), database.read():
        raise KeyError("none of the store's")
    assert seen == [("append", False), ("read", False), ("write", True), ("read", False)]
