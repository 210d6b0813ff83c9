"""Who is at which terminal of the WebShell, in every worker of every gateway.

A row belongs to a session; once that is closed it means nothing, and is removed by the one who
comes next. So what a worker that died has left behind harms nobody.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import delete, insert, select

from stagedoor.store.database import Database
from stagedoor.store.schema import sessions, visits


@dataclass(frozen=True, slots=True)
class AttachmentRecord:
    """Somebody at a terminal; `looks` and does not type. `since` is seconds since the epoch; `share` is the
    id of the share by which a guest came, None for others."""

    session: str
    identity: str
    source: str
    target: str
    terminal: str
    looks: bool
    since: float
    share: str | None


def arrive(
    database: Database,
    session: str,
    target: str,
    terminal: str,
    *,
    looks: bool,
    share: str | None = None,
) -> None:
    """Raises StoreError."""
    still = select(sessions.c.id).where(
        sessions.c.id == visits.c.session, sessions.c.closed_at.is_(None)
    )
    with database.write(hasty=True) as transaction:
        transaction.execute(delete(visits).where(~still.exists()))
        transaction.execute(
            insert(visits).values(
                session=session, target=target, terminal=terminal, looks=int(looks), share=share
            )
        )


def leave(database: Database, session: str) -> None:
    """Raises StoreError."""
    with database.write(hasty=True) as transaction:
        transaction.execute(delete(visits).where(visits.c.session == session))


def list_visits(
    database: Database,
    *,
    looks: bool | None = None,
    session: str | None = None,
    at: tuple[str, str] | None = None,
    targets: Collection[str] | None = None,
) -> list[AttachmentRecord]:
    """Those who are there now, the oldest first; `at` is a target and a terminal. With `targets`, those at
    any terminal of these. Raises StoreError."""
    query = (
        select(
            visits.c.session,
            sessions.c.identity,
            sessions.c.source,
            visits.c.target,
            visits.c.terminal,
            visits.c.looks,
            sessions.c.opened_at,
            visits.c.share,
        )
        .join(sessions, sessions.c.id == visits.c.session)
        .where(sessions.c.closed_at.is_(None))
        .order_by(sessions.c.opened_at, visits.c.session)
    )
    if looks is not None:
        query = query.where(visits.c.looks == int(looks))
    if session is not None:
        query = query.where(visits.c.session == session)
    if at is not None:
        query = query.where(visits.c.target == at[0], visits.c.terminal == at[1])
    if targets is not None:
        query = query.where(visits.c.target.in_(targets))
    with database.read() as transaction:
        return [
            AttachmentRecord(*row[:5], looks=bool(row[5]), since=row[6], share=row[7])
            for row in transaction.execute(query)
        ]
