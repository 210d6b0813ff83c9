"""The rows of `runs`: one-off tasks, running or ended, each with the last part of its log."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, func, insert, select, update

from stagedoor.model.errors import ConflictError
from stagedoor.model.run import (
    KEPT_PER_APP,
    KEPT_S,
    MAX_WHOLE_INPUT_BYTES,
    Run,
    RunEnd,
    RunLog,
    RunOrder,
    RunState,
    explain_refusal,
    judge_loss,
)
from stagedoor.model.session import EndReason, LoginOrigin
from stagedoor.model.target import Target
from stagedoor.store.columns import load_target
from stagedoor.store.database import Transaction
from stagedoor.store.schema import runs, sessions

LISTED = 50
"""The most runs in a list."""
_SHOWN = [
    *(column for column in runs.c if column.name not in ("log", "lock_key", "input")),
    # Not `IS NOT NULL`, which is true of NULL in a RETURNING of SQLite 3.40.
    (func.coalesce(func.length(runs.c.input), -1) >= 0).label("has_whole_input"),
]


def add_run(
    transaction: Transaction,
    run_id: str,
    order: RunOrder,
    starter: str,
    now: float,
    *,
    awaits_input: bool = False,
    recording: str | None = None,
) -> Run | str:
    """Add a run that starts now, or return why it may not start (`model.run.explain_refusal`).

    If `awaits_input`, the run starts with `take_input`. `recording` is the id of its recording, or None.
    Raises ConflictError if a run with this id exists.
    """
    if find_runs(transaction, run_id):
        raise ConflictError("this run was started already")
    why = explain_refusal(order, starter, open_runs(transaction))
    if why is not None:
        return why
    state = RunState.WAITING if awaits_input else RunState.STARTING
    added = transaction.execute(
        insert(runs)
        .values(
            id=run_id,
            target=str(order.target),
            user_name=starter,
            command=order.command,
            state=state.value,
            started_at=now,
            timeout_s=order.timeout_s,
            lock_name=order.lock,
            # Unique, so that two transactions cannot both add a run with the lock.
            lock_key=None if order.lock is None else f"{order.target} {order.lock}",
            detail="",
            size=0,
            input=b"" if awaits_input else None,
            size_name=order.size,
            recording=recording,
        )
        .returning(*_SHOWN)
    )
    return _run(added.one())


def add_input(
    transaction: Transaction, run_id: str, at: int, data: bytes, now: float
) -> int | None:
    """Add input, whose first byte has the offset `at`, to a run that waits for it. Return its size.

    Return None if the run does not wait. Input that was added before is not added again. Input beyond
    MAX_WHOLE_INPUT_BYTES, or that would leave a gap, is not added. The run counts as begun at `now`.
    """
    row = transaction.execute(select(runs.c.input).where(*_waiting(run_id))).first()
    if row is None:
        return None
    known = bytes(row.input)
    size = len(known)
    if at <= size and at + len(data) <= MAX_WHOLE_INPUT_BYTES:
        known += data[size - at :]
    changed = update(runs).where(runs.c.id == run_id)
    transaction.execute(changed.values(started_at=now, input=known))
    return len(known)


def take_input(
    transaction: Transaction, run_id: str, size: int, now: float
) -> tuple[Run, bytes] | None:
    """Start a run that waits for its input, if all `size` bytes are here. Return the run with its input.

    Return None if the run does not wait. Afterwards the input is no longer in the store.
    """
    row = transaction.execute(select(runs.c.input).where(*_waiting(run_id))).first()
    if row is None or len(row.input) != size:
        return None
    started = transaction.execute(
        update(runs)
        .where(runs.c.id == run_id)
        .values(state=RunState.STARTING.value, started_at=now, input=b"" if size else None)
        .returning(*_SHOWN)
    ).one()
    return _run(started), bytes(row.input)


def add_recorded(transaction: Transaction, run: Run, origin: LoginOrigin, instance: str) -> None:
    """Add the session, never open, that stands for a recorded run: recordings are listed by session."""
    transaction.execute(
        insert(sessions).values(
            id=run.recording,
            opened_at=run.started_at,
            closed_at=run.started_at,
            identity=run.starter,
            target=str(run.target),
            source=str(origin.source),
            way=origin.access_method.value,
            instance=instance,
            end=EndReason.CLOSED.value,
            sent=0,
            received=0,
        )
    )


def _waiting(run_id: str) -> tuple[ColumnElement[bool], ...]:
    return (
        runs.c.id == run_id,
        runs.c.state == RunState.WAITING.value,
        runs.c.ended_at.is_(None),
    )


def mark_running(transaction: Transaction, run_id: str) -> bool:
    """Note that the task of a run has started. Return False if the run has ended."""
    starting = runs.c.id == run_id, runs.c.ended_at.is_(None)
    changed = update(runs).where(*starting).values(state=RunState.RUNNING.value)
    return transaction.execute(changed).rowcount == 1


def end_run(transaction: Transaction, run_id: str, end: RunEnd, log: RunLog) -> Run | None:
    """End a run and return it. Return None if it has ended already."""
    row = transaction.execute(
        update(runs)
        .where(runs.c.id == run_id, runs.c.ended_at.is_(None))
        .values(
            state=end.state.value,
            lock_key=None,
            ended_at=end.ended_at,
            code=end.code,
            detail=end.detail,
            size=log.size,
            log=log.tail,
            input=None,
        )
        .returning(*_SHOWN)
    ).first()
    return None if row is None else _run(row)


def open_runs(transaction: Transaction) -> list[Run]:
    """Return the runs that have not ended."""
    query = select(*_SHOWN).where(runs.c.ended_at.is_(None)).order_by(runs.c.started_at)
    return [_run(row) for row in transaction.execute(query)]


def find_runs(transaction: Transaction, prefix: str) -> list[Run]:
    """Return the runs whose id begins with `prefix`, at most two."""
    query = select(*_SHOWN).where(runs.c.id.startswith(prefix, autoescape=True)).limit(2)
    return [_run(row) for row in transaction.execute(query)]


def list_runs(transaction: Transaction, is_shown: Callable[[Target], bool]) -> Sequence[Run]:
    """Return the runs of the apps that are shown, the newest first, at most LISTED."""
    newest_first = runs.c.started_at.desc(), runs.c.id
    rows = transaction.execute(select(runs.c.id, runs.c.target).order_by(*newest_first))
    is_of_shown = cache(lambda target: is_shown(load_target(target)))
    ids = list(islice((row.id for row in rows if is_of_shown(row.target)), LISTED))
    query = select(*_SHOWN).where(runs.c.id.in_(ids)).order_by(*newest_first)
    return [_run(row) for row in transaction.execute(query)]


def read_log(transaction: Transaction, run_id: str) -> RunLog:
    """Return the kept part of the log of an ended run; nothing for a run that has not ended."""
    query = select(runs.c.log, runs.c.size).where(runs.c.id == run_id)
    row = transaction.execute(query).first()
    return RunLog() if row is None or row.log is None else RunLog(bytes(row.log), row.size)


def find_lost(transaction: Transaction, now: float) -> list[tuple[Run, RunEnd]]:
    """Return the runs that count as lost now, each with its end (`model.run.judge_loss`)."""
    return [
        (run, end) for run in open_runs(transaction) if (end := judge_loss(run, now)) is not None
    ]


def find_old(transaction: Transaction, now: float) -> list[str]:
    """Return the runs that ended KEPT_S ago, and all ended runs of an app but the last KEPT_PER_APP."""
    query = select(runs.c.id, runs.c.target, runs.c.ended_at).where(runs.c.ended_at.is_not(None))
    kept = Counter[str]()
    old = []
    for row in transaction.execute(query.order_by(runs.c.ended_at.desc())):
        kept[row.target] += 1
        if kept[row.target] > KEPT_PER_APP or row.ended_at < now - KEPT_S:
            old.append(row.id)
    return old


def remove_runs(transaction: Transaction, ids: Iterable[str]) -> None:
    """Remove runs that have ended."""
    transaction.execute(delete(runs).where(runs.c.id.in_(list(ids))))


def list_ids(transaction: Transaction) -> set[str]:
    """Return the ids of all runs in the store."""
    return set(transaction.execute(select(runs.c.id)).scalars())


def _run(row: Row[Any]) -> Run:
    run = Run(
        row.id,
        load_target(row.target),
        row.user_name,
        row.command,
        RunState(row.state),
        row.started_at,
        row.timeout_s,
        row.lock_name,
        has_whole_input=row.has_whole_input,
        size_name=row.size_name,
        recording=row.recording,
    )
    if row.ended_at is None:
        return run
    return replace(run, ended_at=row.ended_at, code=row.code, detail=row.detail, size=row.size)
