"""Logins that wait for their person's approval. Each change is made where the row is still as it was read:
of several at once, one gets it."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, func, insert, select, update

from stagedoor.model.fair_queue import Full, PendingLimits
from stagedoor.model.pending_login import LoginState, PendingLogin
from stagedoor.store.database import Database, Transaction
from stagedoor.store.schema import pending_logins
from stagedoor.wire.oneline import is_word

LIMITS = PendingLimits(of_source=20, of_site=100, of_all=1000)
"""On all gateways: an office behind one address, and a table that nobody can fill."""


def add(
    database: Database, login: PendingLogin, now: float, limits: PendingLimits = LIMITS
) -> Full | None:
    """Keep it, unless too many wait already. What is over is thrown away, and so is the newest of another
    source that has to make room. Raises StoreError."""
    # Strangers ask: where there is no room, they must not take the lock from those who log in.
    with database.read() as transaction:
        if isinstance(full := _room(transaction, login, now, limits), Full):
            return full
    with database.write() as transaction:
        transaction.execute(delete(pending_logins).where(pending_logins.c.ends_at <= now))
        room = _room(transaction, login, now, limits)
        if isinstance(room, Full):
            return room
        if room is not None:
            _drop_newest(transaction, room, now)
        transaction.execute(insert(pending_logins).values(_values(login)))
    return None


def find(database: Database, id_: str) -> PendingLogin | None:
    """The one of that id, over or not. Raises StoreError."""
    if not is_word(id_):
        return None
    with database.read() as transaction:
        query = select(pending_logins).where(pending_logins.c.id == id_)
        row = transaction.execute(query).first()
        return None if row is None else _whole(row)


def find_answered(database: Database, ids: Collection[str]) -> dict[str, PendingLogin | None]:
    """Those of these ids that wait no more for their person; None for one that is gone. Raises StoreError."""
    waits = pending_logins.c.state == LoginState.WAITING.value
    with database.read() as transaction:
        asked = pending_logins.c.id.in_(ids)
        waiting = set(
            transaction.execute(select(pending_logins.c.id).where(asked, waits)).scalars()
        )
        query = select(pending_logins).where(asked, ~waits)
        answered = {row.id: _whole(row) for row in transaction.execute(query)}
    return {id_: answered.get(id_) for id_ in ids if id_ not in waiting}


def change(transaction: Transaction, before: PendingLogin, after: PendingLogin) -> bool:
    """Whether it was still as `before` is."""
    columns = pending_logins.c
    same: tuple[ColumnElement[bool], ...] = (
        columns.id == before.id,
        columns.state == before.state.value,
        columns.tries_left == before.tries_left,
        columns.code_hash.is_not_distinct_from(before.code_hash),
    )
    moved = transaction.execute(
        update(pending_logins)
        .where(*same)
        .values(
            state=after.state.value,
            letters_hash=after.letters_hash,
            tries_left=after.tries_left,
            wanted_user=after.wanted_user,
            sign_in=after.sign_in,
            code_hash=after.code_hash,
        )
    )
    return moved.rowcount == 1


def _waiting(now: float) -> ColumnElement[bool]:
    columns = pending_logins.c
    return and_(columns.ends_at > now, columns.state == LoginState.WAITING.value)


def _room(
    transaction: Transaction, login: PendingLogin, now: float, limits: PendingLimits
) -> Full | str | None:
    source = pending_logins.c.source
    waiting = select(source, func.count().label("number")).where(_waiting(now)).group_by(source)
    counts = {row.source: row.number for row in transaction.execute(waiting)}
    return limits.room(counts, login.source)


def _drop_newest(transaction: Transaction, source: str, now: float) -> None:
    columns = pending_logins.c
    newest = (
        select(columns.id)
        .where(_waiting(now), columns.source == source)
        .order_by(columns.created_at.desc())
        .limit(1)
    )
    transaction.execute(delete(pending_logins).where(columns.id == newest.scalar_subquery()))


def _values(login: PendingLogin) -> dict[str, Any]:
    return {
        "id": login.id,
        "challenge": login.challenge,
        "public_key": login.public_key,
        "fingerprint": login.fingerprint,
        "letters_hash": login.letters_hash,
        "source": login.source,
        "label": login.label,
        "port": login.port,
        "wanted_user": login.wanted_user,
        "created_at": login.created_at,
        "ends_at": login.ends_at,
        "tries_left": login.tries_left,
        "state": login.state.value,
        "sign_in": login.sign_in,
        "code_hash": login.code_hash,
    }


def _whole(row: Row[Any]) -> PendingLogin:
    kept = dict(row._mapping)
    for name in ("challenge", "letters_hash", "sign_in", "code_hash"):
        kept[name] = None if kept[name] is None else bytes(kept[name])
    return PendingLogin(**kept | {"state": LoginState(row.state)})
