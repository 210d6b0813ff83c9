"""The rows of runs on every kind of store: room, locks, ends and what is kept."""

import threading

import pytest
from sqlalchemy import select

from stagedoor.model.errors import ConflictError
from stagedoor.model.run import (
    INPUT_WITHIN_S,
    KEPT_PER_APP,
    KEPT_S,
    MAX_WHOLE_INPUT_BYTES,
    OVERDUE_S,
    PER_APP,
    PER_PERSON,
    START_WITHIN_S,
    Run,
    RunEnd,
    RunLog,
    RunOrder,
    RunState,
)
from stagedoor.model.target import Target
from stagedoor.store import runs, schema
from stagedoor.store.database import Database

NOW = 1_700_000_000.0
APP = Target("app01")
END = RunEnd(RunState.EXITED, 7, NOW + 5, "why")
LOG = RunLog(b"the end", 100)


def add(
    database: Database,
    number: int,
    target: Target = APP,
    lock: str | None = None,
    starter: str = "dev",
) -> Run | str:
    with database.write() as transaction:
        order = RunOrder(target, "true", 60, lock)
        return runs.add_run(transaction, f"{number:012x}", order, starter, NOW)


def end(database: Database, number: int, end: RunEnd = END) -> Run | None:
    with database.write() as transaction:
        return runs.end_run(transaction, f"{number:012x}", end, LOG)


def test_a_run_is_read_as_it_was_written_and_ends_once(database: Database) -> None:
    run = add(database, 1, Target("app01", "staging"), "migrate")
    assert isinstance(run, Run)
    with database.read() as transaction:
        assert runs.find_runs(transaction, "0000") == [run]
        assert runs.read_log(transaction, run.id) == RunLog()
    with database.write() as transaction:
        assert runs.mark_running(transaction, run.id)
    over = end(database, 1)
    assert over is not None
    assert (over.state, over.code, over.ended_at, over.detail, over.size) == (
        RunState.EXITED, 7, NOW + 5, "why", 100,
    )  # fmt: skip
    assert end(database, 1) is None
    with database.write() as transaction:
        assert not runs.mark_running(transaction, run.id)
        assert runs.read_log(transaction, run.id) == LOG
        assert runs.list_runs(transaction, run.target.__eq__) == [over]
        assert runs.list_runs(transaction, APP.__eq__) == []


def test_an_id_starts_one_run(database: Database) -> None:
    add(database, 1)
    with pytest.raises(ConflictError):
        add(database, 1)


def test_an_app_and_a_person_have_so_many_runs(database: Database) -> None:
    for number in range(PER_APP):
        assert isinstance(add(database, number), Run)
    why = add(database, 90, starter="other")
    assert isinstance(why, str)
    assert "app01 has 5 runs" in why
    for number in range(PER_APP, PER_PERSON):
        assert isinstance(add(database, number, Target("app02")), Run)
    assert "you have 10 runs" in str(add(database, 90, Target("app03")))
    end(database, 0)
    assert isinstance(add(database, 91, Target("app03")), Run)


def test_a_run_that_waits_starts_with_its_whole_input(database: Database) -> None:
    with database.write() as transaction:
        order = RunOrder(APP, "psql", 60, has_input=True, size="large")
        run = runs.add_run(transaction, "a" * 12, order, "dev", NOW, awaits_input=True)
        assert isinstance(run, Run)
        assert run.state is RunState.WAITING
        assert runs.add_input(transaction, run.id, 0, b"select ", NOW + 50) == 7
        assert runs.add_input(transaction, run.id, 4, b"ct 1;", NOW + 51) == 9, "not twice"
        assert runs.add_input(transaction, run.id, 10, b"gap", NOW + 51) == 9
        assert runs.add_input(transaction, run.id, 9, bytes(MAX_WHOLE_INPUT_BYTES), NOW + 52) == 9
        assert runs.find_lost(transaction, NOW + 100) == [], "its client has sent something"
        (lost,) = runs.find_lost(transaction, NOW + 52 + INPUT_WITHIN_S)
        assert lost[1].state is RunState.INPUT_LOST
        assert runs.take_input(transaction, run.id, 8, NOW + 60) is None
        taken = runs.take_input(transaction, run.id, 9, NOW + 60)
        assert taken is not None
        started, data = taken
        assert (started.state, started.order, data) == (RunState.STARTING, order, b"select 1;")
        assert runs.add_input(transaction, run.id, 9, b"more", NOW + 61) is None
        assert runs.take_input(transaction, run.id, 9, NOW + 61) is None
        stored = transaction.execute(select(schema.runs.c.input)).scalar_one()
        assert bytes(stored) == b"", "it may have secrets"


def test_a_lock_is_held_until_the_end_by_one_of_many(database: Database) -> None:
    answers: list[Run | str] = []
    threads = [
        threading.Thread(
            target=lambda number=number: answers.append(add(database, number, lock="x"))
        )
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [answer for answer in answers if isinstance(answer, Run)]
    assert all(
        f"run {winner.id} of dev has the lock x" in str(a) for a in answers if a is not winner
    )
    assert isinstance(add(database, 10, Target("app02"), lock="x"), Run)
    end(database, int(winner.id, 16))
    assert isinstance(add(database, 11, lock="x"), Run)


def test_a_run_whose_place_is_silent_is_lost(database: Database) -> None:
    add(database, 1)
    add(database, 2)

    def lost(at: float) -> list[str]:
        with database.read() as transaction:
            return [run.id[-1] for run, _ in runs.find_lost(transaction, at)]

    with database.write() as transaction:
        runs.mark_running(transaction, f"{2:012x}")
    assert lost(NOW + START_WITHIN_S - 1) == []
    assert lost(NOW + START_WITHIN_S) == ["1"]
    end(database, 1)
    assert lost(NOW + 60 + OVERDUE_S - 1) == []
    assert lost(NOW + 60 + OVERDUE_S) == ["2"]


def test_old_runs_are_removed_and_open_ones_never(database: Database) -> None:
    for number in range(KEPT_PER_APP + 2):
        add(database, number, starter=f"dev{number}")
        end(database, number, RunEnd(RunState.EXITED, 0, NOW + number))
    add(database, 99)
    add(database, 98, Target("app02"))
    end(database, 98, RunEnd(RunState.EXITED, 0, NOW - KEPT_S))
    with database.write() as transaction:
        old = runs.find_old(transaction, NOW + 1)
        assert sorted(old) == [f"{number:012x}" for number in (0, 1, 98)]
        runs.remove_runs(transaction, old)
        assert len(runs.list_ids(transaction)) == KEPT_PER_APP + 1


def test_each_app_with_runs_is_judged_once_for_a_list(database: Database) -> None:
    """So a list costs what its runs cost, however many apps a user may run tasks in."""
    other = Target("app02")
    listed = [add(database, number, other) for number in (1, 2, 3)]
    add(database, 4)
    judged = []

    def is_shown(target: Target) -> bool:
        judged.append(target)
        return target == other

    with database.read() as transaction:
        assert runs.list_runs(transaction, is_shown) == listed
    assert sorted(judged, key=str) == [APP, other]
