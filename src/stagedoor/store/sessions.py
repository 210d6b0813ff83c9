"""The rows of `sessions`: open and closed sessions, with the requests to close them."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from sqlalchemy import Row, bindparam, func, select, update

from stagedoor.store.database import Database, Transaction
from stagedoor.store.schema import meta, sessions


class SessionRecord(Struct, frozen=True):
    """A session in the store.

    `sent` and `received` are bytes; while the session is open, as of the last `update_live`. Until it is
    closed, `closed_at` and `end` (a value of `model.session.EndReason`) are None. `close_reason` is set
    once its closing was requested.
    """

    id: str
    opened_at: float
    closed_at: float | None
    identity: str
    target: str
    source: str
    access_method: str
    instance: str
    end: str | None
    sent: int
    received: int
    last_active_at: float | None
    close_requested_at: float | None
    close_reason: str | None


class CloseRequest(Struct, frozen=True):
    """A request to close a session; `reason` is one line for its user."""

    session: str
    reason: str


class Live(Struct, frozen=True):
    """The state of an open session in its worker; bytes as in `model.session.Counts`."""

    session: str
    sent: int
    received: int
    last_active_at: float


_OPEN = select(sessions.c.id).where(sessions.c.closed_at.is_(None))


def list_sessions(
    database: Database,
    *,
    open_only: bool = True,
    identity: str | None = None,
    before: str | None = None,
    targets: Sequence[str] | None = None,
    limit: int | None = 1000,
) -> list[SessionRecord]:
    """List up to `limit` sessions (None: all), the newest first. Raises StoreError.

    With `before`, they were opened before the session with that id. With `targets`, they are sessions of
    these. Ids sort by time, so a page of a long history is read by the primary key.
    """
    query = select(sessions).order_by(sessions.c.id.desc())
    if open_only:  # by their index, which SQLite passes over for an order by id
        query = query.where(sessions.c.id.in_(_OPEN))
    if identity is not None:
        query = query.where(sessions.c.identity == identity)
    if targets is not None:
        query = query.where(sessions.c.target.in_(targets))
    if before is not None:
        query = query.where(sessions.c.id < before)
    with database.read() as transaction:
        return [_record(row) for row in transaction.execute(query.limit(limit))]


def list_targets(database: Database, *, open_only: bool) -> list[str]:
    """List the targets of the sessions in the store. Raises StoreError."""
    query = select(sessions.c.target).distinct()
    if open_only:
        query = query.where(sessions.c.closed_at.is_(None))
    with database.read() as transaction:
        return [row[0] for row in transaction.execute(query)]


def read_last_opened(database: Database, after: str = "") -> Mapping[str, float]:
    """Return the time of each user's last session whose id is above `after`, by name. Raises StoreError."""
    query = select(sessions.c.identity, func.max(sessions.c.opened_at))
    query = query.where(sessions.c.id > after).group_by(sessions.c.identity)
    with database.read() as transaction:
        return {row[0]: row[1] for row in transaction.execute(query)}


def read_last_used(database: Database, identity: str) -> Mapping[str, float]:
    """Return the time of a user's last session of each target, by the target. Raises StoreError."""
    query = select(sessions.c.target, func.max(sessions.c.opened_at)).where(
        sessions.c.identity == identity
    )
    with database.read() as transaction:
        return {row[0]: row[1] for row in transaction.execute(query.group_by(sessions.c.target))}


def list_users_inside(database: Database) -> Mapping[str, Sequence[str]]:
    """Return, for each target, the users with an open session, in order of name. Raises StoreError."""
    query = select(sessions.c.target, sessions.c.identity).where(sessions.c.closed_at.is_(None))
    inside: dict[str, list[str]] = {}
    with database.read() as transaction:
        for target, name in transaction.execute(query.distinct().order_by(sessions.c.identity)):
            inside.setdefault(target, []).append(name)
    return inside


def find_sessions(
    database: Database, prefix: str, *, targets: Sequence[str] | None = None, limit: int = 10
) -> list[SessionRecord]:
    """Return the sessions whose id begins with `prefix`, open or closed, ordered by id.

    With `targets`, they are sessions of these.
    """
    query = select(sessions).where(sessions.c.id.startswith(prefix, autoescape=True))
    if targets is not None:
        query = query.where(sessions.c.target.in_(targets))
    with database.read() as transaction:
        return [
            _record(row) for row in transaction.execute(query.order_by(sessions.c.id).limit(limit))
        ]


def list_open_among(database: Database, session_ids: Sequence[str]) -> list[str]:
    """Return those of `session_ids` whose sessions are open, in the same order."""
    with database.read() as transaction:
        open_now = set(
            transaction.execute(
                select(sessions.c.id).where(sessions.c.closed_at.is_(None))
            ).scalars()
        )
    return [session for session in session_ids if session in open_now]


def _record(row: Row[tuple[object, ...]]) -> SessionRecord:
    fields = dict(row._mapping)
    return SessionRecord(access_method=fields.pop("way"), **fields)


def request_close(
    transaction: Transaction, session_ids: Sequence[str], *, at: float, reason: str
) -> int:
    """Ask the workers to close these sessions. Return how many were open and not yet asked for."""
    requested = sum(
        transaction.execute(
            update(sessions)
            .where(
                sessions.c.id == session,
                sessions.c.closed_at.is_(None),
                sessions.c.close_requested_at.is_(None),
            )
            .values(close_requested_at=at, close_reason=reason)
        ).rowcount
        for session in session_ids
    )
    transaction.execute(
        update(meta).where(meta.c.name == "close_version").values(value=meta.c.value + 1)
    )
    return requested


def close_requests(transaction: Transaction, instance: str) -> tuple[CloseRequest, ...]:
    """Return the sessions that `instance` was asked to close and has not closed yet."""
    rows = transaction.execute(
        select(sessions.c.id, sessions.c.close_reason).where(
            sessions.c.closed_at.is_(None),
            sessions.c.instance == instance,
            sessions.c.close_requested_at.is_not(None),
        )
    )
    return tuple(CloseRequest(row.id, row.close_reason) for row in rows)


_UPDATE_LIVE = (
    update(sessions)
    .where(sessions.c.id == bindparam("session"), sessions.c.closed_at.is_(None))
    .values(
        sent=bindparam("sent_now"),
        received=bindparam("received_now"),
        last_active_at=bindparam("active_at"),
    )
)


def update_live(database: Database, live: Iterable[Live]) -> None:
    """Write the byte counts of open sessions, for `session list`, in one transaction. Raises StoreError."""
    rows = [
        {
            "session": state.session,
            "sent_now": state.sent,
            "received_now": state.received,
            "active_at": state.last_active_at,
        }
        for state in live
    ]
    if rows:
        with database.write() as transaction:
            transaction.execute(_UPDATE_LIVE, rows)
