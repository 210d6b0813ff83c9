"""The sessions attached to terminals of the WebShell, in all workers of all gateways.

A row belongs to a session. Once the session is closed, the row has no meaning, and the next attachment
removes it. So the rows that a crashed worker leaves behind do no harm.
"""

from collections.abc import Collection

from sqlalchemy import delete, insert, select

from stagedoor.model.presence import PresenceEntry
from stagedoor.store.database import Database
from stagedoor.store.schema import sessions, visits


def attach(
    database: Database,
    session: str,
    target: str,
    terminal: str,
    *,
    is_watching: bool,
    share: str | None = None,
) -> None:
    """Store that a session is attached to a terminal. Raises StoreError."""
    open_session = select(sessions.c.id).where(
        sessions.c.id == visits.c.session, sessions.c.closed_at.is_(None)
    )
    with database.write(hasty=True) as transaction:
        transaction.execute(delete(visits).where(~open_session.exists()))
        transaction.execute(
            insert(visits).values(
                session=session,
                target=target,
                terminal=terminal,
                looks=int(is_watching),
                share=share,
            )
        )


def detach(database: Database, session: str) -> None:
    """Store that a session is no longer attached. Raises StoreError."""
    with database.write(hasty=True) as transaction:
        transaction.execute(delete(visits).where(visits.c.session == session))


def list_attachments(
    database: Database,
    *,
    is_watching: bool | None = None,
    at: tuple[str, str] | None = None,
    targets: Collection[str] | None = None,
) -> list[PresenceEntry]:
    """List the attachments of open sessions, the oldest first. Raises StoreError.

    `is_watching` selects sessions that only watch, or only those that may type; `at` selects a target and a
    terminal, and `targets` all terminals of these targets.
    """
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
    if is_watching is not None:
        query = query.where(visits.c.looks == int(is_watching))
    if at is not None:
        query = query.where(visits.c.target == at[0], visits.c.terminal == at[1])
    if targets is not None:
        query = query.where(visits.c.target.in_(targets))
    with database.read() as transaction:
        return [
            PresenceEntry(*row[:5], is_watching=bool(row[5]), since=row[6], share=row[7])
            for row in transaction.execute(query)
        ]
