"""Logins that wait for their user's approval.

A row is changed only if it is still as it was when read, so that only one of several simultaneous changes
succeeds.
"""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, func, insert, select, update

from stagedoor.model.fair_queue import Full, PendingLimits
from stagedoor.model.pending_login import LoginState, PendingLogin
from stagedoor.store.database import Database, Transaction
from stagedoor.store.sign_in.tables import pending_logins
from stagedoor.wire.oneline import is_word

LIMITS = PendingLimits(of_source=20, of_site=100, of_all=1000)
"""The limits across all gateways: high enough for an office behind one address, but no client can fill the
table."""


def add(
    database: Database, login: PendingLogin, now: float, limits: PendingLimits = LIMITS
) -> Full | None:
    """Store a login, or return which limit it would exceed. Remove the logins that are over.

    To make room, the newest login of another source may be removed. Raises StoreError.
    """
    # Read first: if there is no room, strangers must not take the write lock from logins.
    with database.read() as transaction:
        if isinstance(full := _find_room(transaction, login, now, limits), Full):
            return full
    with database.write() as transaction:
        transaction.execute(delete(pending_logins).where(pending_logins.c.ends_at <= now))
        room = _find_room(transaction, login, now, limits)
        if isinstance(room, Full):
            return room
        if room is not None:
            _drop_newest(transaction, room, now)
        transaction.execute(insert(pending_logins).values(asdict(login)))
    return None


def find(database: Database, id_: str) -> PendingLogin | None:
    """Return the login with that id, over or not, or None. Raises StoreError."""
    if not is_word(id_):
        return None
    with database.read() as transaction:
        query = select(pending_logins).where(pending_logins.c.id == id_)
        row = transaction.execute(query).first()
        return None if row is None else _make_login(row)


def find_answered(database: Database, ids: Collection[str]) -> dict[str, PendingLogin | None]:
    """Return the logins among `ids` that are no longer pending. A deleted login maps to None.

    Raises StoreError.
    """
    waits = pending_logins.c.state == LoginState.WAITING.value
    with database.read() as transaction:
        wanted = pending_logins.c.id.in_(ids)
        waiting = set(
            transaction.execute(select(pending_logins.c.id).where(wanted, waits)).scalars()
        )
        query = select(pending_logins).where(wanted, ~waits)
        answered = {row.id: _make_login(row) for row in transaction.execute(query)}
    return {id_: answered.get(id_) for id_ in ids if id_ not in waiting}


def change(transaction: Transaction, before: PendingLogin, after: PendingLogin) -> bool:
    """Change a login from `before` to `after`. Return False if it was no longer as `before`."""
    columns = pending_logins.c
    same: tuple[ColumnElement[bool], ...] = (
        columns.id == before.id,
        columns.state == before.state.value,
        columns.tries_left == before.tries_left,
        columns.code_hash.is_not_distinct_from(before.code_hash),
    )
    moved = transaction.execute(update(pending_logins).where(*same).values(asdict(after)))
    return moved.rowcount == 1


def _is_waiting(now: float) -> ColumnElement[bool]:
    columns = pending_logins.c
    return and_(columns.ends_at > now, columns.state == LoginState.WAITING.value)


def _find_room(
    transaction: Transaction, login: PendingLogin, now: float, limits: PendingLimits
) -> Full | str | None:
    """Return the limit that is reached, or the source whose newest login makes room, or None."""
    source = pending_logins.c.source
    waiting = select(source, func.count().label("number")).where(_is_waiting(now)).group_by(source)
    counts = {row.source: row.number for row in transaction.execute(waiting)}
    return limits.judge_entry(counts, login.source)


def _drop_newest(transaction: Transaction, source: str, now: float) -> None:
    columns = pending_logins.c
    newest = (
        select(columns.id)
        .where(_is_waiting(now), columns.source == source)
        .order_by(columns.created_at.desc())
        .limit(1)
    )
    transaction.execute(delete(pending_logins).where(columns.id == newest.scalar_subquery()))


def _make_login(row: Row[Any]) -> PendingLogin:
    fields = dict(row._mapping)
    for name in ("challenge", "letters_hash", "sign_in", "code_hash"):
        fields[name] = None if fields[name] is None else bytes(fields[name])
    return PendingLogin(**fields | {"state": LoginState(row.state)})
