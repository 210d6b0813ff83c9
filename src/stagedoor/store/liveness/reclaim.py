"""Reopening sessions that the audit has as lost although they live."""

from collections.abc import Iterable, Sequence
from types import MappingProxyType

from sqlalchemy import Row, select, update

from stagedoor.model.event import Event, Kind
from stagedoor.model.session import End
from stagedoor.store.database import Database
from stagedoor.store.journal import append
from stagedoor.store.schema import sessions


def reclaim(database: Database, live: Iterable[str], *, now: float, instance: str) -> list[str]:
    """Reopen the sessions among `live` that other processes closed as lost, and return their ids. Audited.

    `live` are sessions of the process `instance`, which calls this. Raises StoreError.
    """
    wanted = set(live)
    with database.write() as transaction:
        query = (
            select(sessions)
            .where(sessions.c.instance == instance, sessions.c.end == End.LOST.value)
            .order_by(sessions.c.id)
        )
        lost = [row for row in transaction.execute(query) if row.id in wanted]
        for row in lost:
            transaction.execute(
                update(sessions).where(sessions.c.id == row.id).values(closed_at=None, end=None)
            )
        append(transaction, [_event(Kind.SESSION_FOUND, row, now, instance) for row in lost])
    return [row.id for row in lost]


def close_ended(
    database: Database, session_ids: Sequence[str], *, now: float, instance: str
) -> None:
    """Close sessions that have ended, without further details. Raises StoreError."""
    if not session_ids:
        return
    with database.write() as transaction:
        query = select(sessions).where(sessions.c.id.in_(session_ids)).order_by(sessions.c.id)
        rows = transaction.execute(query).all()
        append(
            transaction,
            [_event(Kind.SESSION_CLOSED, row, now, instance, reason=End.CLOSED) for row in rows],
        )


def _event(
    kind: Kind,
    row: Row[tuple[object, ...]],
    now: float,
    instance: str,
    *,
    reason: End | None = None,
) -> Event:
    return Event(
        at=now,
        kind=kind,
        instance=instance,
        session=row.id,
        identity=row.identity,
        target=row.target,
        source=row.source,
        way=row.way,
        reason=reason,
        fields=MappingProxyType(
            {"sent": row.sent, "received": row.received, "detail": "it was taken for lost"}
        ),
    )
