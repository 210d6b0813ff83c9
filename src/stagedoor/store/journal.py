"""Writes the audit's events, together with their rows of `sessions`, in one transaction."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any, cast

import msgspec
from msgspec import Struct
from sqlalchemy import (
    BindParameter,
    ClauseElement,
    ColumnElement,
    Dialect,
    Executable,
    Row,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.sql.compiler import SQLCompiler

from stagedoor.model.event import Event, EventKind
from stagedoor.model.session import Counts, StoredSession
from stagedoor.model.target import Target
from stagedoor.store.database import Database, Transaction
from stagedoor.store.schema import audit_events, sessions

_Row = tuple[Any, ...]
"""The parameters of a statement, in their order."""

_COLUMNS = (
    "at",
    "kind",
    "instance",
    "session",
    "identity",
    "target",
    "source",
    "way",
    "reason",
    "fields",
)


def _if_session(*conditions: ColumnElement[bool], is_present: bool) -> Any:
    """Return an INSERT … SELECT that writes the event only if such a session is present (or absent)."""
    present = exists(sessions.c.id).where(*conditions)
    columns = [bindparam(name, type_=audit_events.c[name].type) for name in _COLUMNS]
    return insert(audit_events).from_select(
        _COLUMNS, select(*columns).where(present if is_present else ~present)
    )


_THIS = sessions.c.id == bindparam("session", type_=sessions.c.id.type)

# inline: the number given to an event is not read back.
_INSERT_EVENT = insert(audit_events).values({name: bindparam(name) for name in _COLUMNS}).inline()
_INSERT_OPENED = _if_session(_THIS, is_present=False)
_IS_OPEN = and_(_THIS, sessions.c.closed_at.is_(None))
_IS_OWN = and_(
    _IS_OPEN, sessions.c.instance == bindparam("instance", type_=sessions.c.instance.type)
)
_INSERT_CLOSED = _if_session(_IS_OPEN, is_present=True)
_INSERT_OWN_CLOSED = _if_session(_IS_OWN, is_present=True)
_INSERT_SESSION = insert(sessions).from_select(
    ("id", "opened_at", "identity", "target", "source", "way", "instance", "sent", "received"),
    select(
        *(
            bindparam(name, type_=audit_events.c[name].type)
            for name in ("session", "at", "identity", "target", "source", "way", "instance")
        ),
        literal_column("0"),
        literal_column("0"),
    ).where(~exists(sessions.c.id).where(_THIS)),
)
_CLOSED: dict[str, BindParameter[Any]] = {
    "closed_at": bindparam("at"),
    "end": bindparam("reason"),
    "sent": bindparam("sent"),
    "received": bindparam("received"),
    "last_active_at": bindparam("at"),
}
_CLOSE_SESSION = update(sessions).where(_IS_OPEN).values(_CLOSED)
_CLOSE_OWN_SESSION = update(sessions).where(_IS_OWN).values(_CLOSED)
_CONTINUE_SESSION = (
    update(sessions)
    .where(_THIS)
    .values(
        instance=bindparam("instance"), source=bindparam("source"), closed_at=null(), end=null()
    )
)
_IS_HELD = and_(
    _IS_OPEN,
    sessions.c.instance == bindparam("giver", type_=sessions.c.instance.type),
    sessions.c.source == bindparam("giver_source", type_=sessions.c.source.type),
)
_INSERT_RETURNED = _if_session(_IS_HELD, is_present=True)
_RETURN_SESSION = (
    update(sessions)
    .where(_IS_HELD)
    .values(
        instance=bindparam("holder"),
        source=bindparam("holder_source"),
        closed_at=bindparam("holder_closed_at"),
        end=bindparam("holder_end"),
    )
)
_CONTINUING_KINDS = (EventKind.SESSION_FOUND, EventKind.SESSION_RESUMED)
"""The events with which a session becomes that of the process which writes them, open again if it was
closed."""


class StoreJournal:
    """The journal in the store. Implements `audit.ledger.Journal`.

    A session is opened once and closed once. A second `session.opened` or `session.closed` is ignored, as is
    a `session.closed` for a session that was never opened or that another process has taken over. A
    `session.found` with a `holder` returns a session to that process, unless another connection has taken it
    over meanwhile; then it is ignored. So an append whose outcome is unknown may be repeated.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, events: Sequence[Event]) -> None:
        """Write all events or none. Once this returns, they survive a power cut. Raises StoreError."""
        self._database.write_rows(_statements(events, self._database.dialect, only_own=True))

    def find_session(self, session: str) -> StoredSession | None:
        """Return a session, open or closed, or None. Blocks. Raises StoreError."""
        with self._database.read() as transaction:
            row = transaction.execute(select(sessions).where(sessions.c.id == session)).first()
        if row is None:
            return None
        return StoredSession(
            identity=row.identity,
            target=row.target,
            access_method=row.way,
            opened_at=row.opened_at,
            counts=Counts(row.sent, row.received),
            instance=row.instance,
            source=row.source,
            closed_at=row.closed_at,
            end=row.end,
        )


def append(transaction: Transaction, events: Iterable[Event]) -> None:
    """Write `events` in their order in an open transaction."""
    for sql, rows in _statements(events, transaction.dialect):
        transaction.exec_driver_sql(sql, rows)


def _statements(
    events: Iterable[Event], dialect: Dialect, *, only_own: bool = False
) -> Iterator[tuple[str, list[_Row]]]:
    """Yield the SQL statements with their rows, in order.

    With `only_own`, a session is closed only by the process that owns it. The statements go straight to the
    driver, since no column here needs a conversion.
    """
    for (kind, is_return), run in groupby(events, key=lambda e: (e.kind, "holder" in e.fields)):
        if is_return:
            rows = [_row(event) | _name_holder(event) for event in run]
            yield _compiled(_INSERT_RETURNED, rows, dialect)
            yield _compiled(_RETURN_SESSION, rows, dialect)
        elif kind is EventKind.SESSION_OPENED:
            rows = list({event.session: _row(event) for event in run}.values())
            yield _compiled(_INSERT_OPENED, rows, dialect)
            yield _compiled(_INSERT_SESSION, rows, dialect)
        elif kind is EventKind.SESSION_CLOSED:
            rows = []
            for session, event in {e.session: e for e in reversed(list(run))}.items():
                row = _row(event)
                row["session"] = session
                row["sent"] = event.fields.get("sent") or 0
                row["received"] = event.fields.get("received") or 0
                rows.append(row)
            rows.reverse()
            yield _compiled(_INSERT_OWN_CLOSED if only_own else _INSERT_CLOSED, rows, dialect)
            yield _compiled(_CLOSE_OWN_SESSION if only_own else _CLOSE_SESSION, rows, dialect)
        else:
            rows = [_row(event) for event in run]
            yield _compiled(_INSERT_EVENT, rows, dialect)
            if kind in _CONTINUING_KINDS:
                yield _compiled(_CONTINUE_SESSION, rows, dialect)


def _compiled(
    statement: Executable, rows: list[dict[str, Any]], dialect: Dialect
) -> tuple[str, list[_Row]]:
    sql, parameters = _compile(statement, dialect)
    return sql, [parameters(row) for row in rows]


@cache
def _compile(
    statement: Executable, dialect: Dialect
) -> tuple[str, Callable[[dict[str, Any]], _Row]]:
    """Return the statement's SQL, and a function that returns the driver's parameters of a row."""
    compiled = cast(SQLCompiler, cast(ClauseElement, statement).compile(dialect=dialect))
    assert compiled.positiontup is not None, "the driver takes parameters by position"
    return str(compiled), itemgetter(*compiled.positiontup)


def _row(event: Event) -> dict[str, Any]:
    return {
        "at": event.at,
        "kind": event.kind.value,
        "instance": event.instance,
        "session": event.session,
        "identity": _text(event.identity),
        "target": _text(event.target),
        "source": _text(event.source),
        "way": event.access_method,
        "reason": _text(event.reason),
        "fields": msgspec.json.encode(dict(event.fields)).decode(),
    }


def _name_holder(event: Event) -> dict[str, Any]:
    """Return the parameters that return a session to its holder from the process that writes the event."""
    names = "holder", "holder_source", "holder_closed_at", "holder_end"
    holder = {name: event.fields.get(name) for name in names}
    return dict(holder, giver=event.instance, giver_source=event.source)


def _text(value: str | None) -> str | None:
    # PostgreSQL takes NUL in no text (https://www.postgresql.org/docs/current/datatype-character.html);
    # in JSON it is escaped.
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if value else value


class JournalEntry(Struct, frozen=True):
    """An event in the audit; `seq` grows in the order of writing."""

    seq: int
    event: Event


class Filter(Struct, frozen=True):
    """A selection of entries. A field that is None does not limit it.

    `since` (inclusive) and `until` (exclusive) are seconds since the epoch. `session` is an id or the
    beginning of one. A `target` without an environment selects all environments of the app. `kinds` are
    alternatives; an empty tuple selects every kind.
    """

    since: float | None = None
    session: str | None = None
    identity: str | None = None
    until: float | None = None
    target: Target | None = None
    kinds: tuple[EventKind, ...] = ()

    def make_conditions(self) -> list[ColumnElement[bool]]:
        """Return the SQL conditions, all of which must hold."""
        conditions: list[ColumnElement[bool]] = []
        if self.since is not None:
            conditions.append(audit_events.c.at >= self.since)
        if self.session is not None:
            conditions.append(audit_events.c.session.startswith(self.session, autoescape=True))
        if self.identity is not None:
            conditions.append(audit_events.c.identity == self.identity)
        if self.until is not None:
            conditions.append(audit_events.c.at < self.until)
        if self.target is not None:
            matches = audit_events.c.target == str(self.target)
            if self.target.environment is None:  # a label contains neither `%` nor `_`
                matches = or_(matches, audit_events.c.target.like(f"{self.target.app}.%.ssh"))
            conditions.append(matches)
        if self.kinds:
            conditions.append(audit_events.c.kind.in_([kind.value for kind in self.kinds]))
        return conditions


ALL_EVENTS = Filter()


def read_entries(
    database: Database, wanted: Filter = ALL_EVENTS, *, after: int = 0, limit: int = 1000
) -> list[JournalEntry]:
    """Return up to `limit` entries with `seq` > `after`, in order. Raises StoreError."""
    with database.read() as transaction:
        return select_entries(transaction, wanted, after=after, limit=limit)


def select_entries(
    transaction: Transaction, wanted: Filter = ALL_EVENTS, *, after: int, limit: int
) -> list[JournalEntry]:
    """Return up to `limit` entries with `seq` > `after`, in order, in an open transaction."""
    query = select(audit_events).where(audit_events.c.seq > after, *wanted.make_conditions())
    return list(
        map(_entry_of, transaction.execute(query.order_by(audit_events.c.seq).limit(limit)))
    )


def read_newest(
    database: Database,
    limit: int,
    *,
    before: int | None = None,
    numbers: Sequence[int] | None = None,
) -> list[JournalEntry]:
    """Return up to `limit` entries, the newest first. Raises StoreError.

    Their `seq` is below `before` and one of `numbers`; None does not limit it.
    """
    seq = audit_events.c.seq
    query = select(audit_events).order_by(seq.desc()).limit(limit)
    if before is not None:
        query = query.where(seq < before)
    if numbers is not None:
        query = query.where(seq.in_(numbers))
    with database.read() as transaction:
        return list(map(_entry_of, transaction.execute(query)))


def _entry_of(row: Row[Any]) -> JournalEntry:
    seq, at, kind, instance, session, identity, target, source, access_method, reason, fields = (
        tuple(row)
    )
    plain = msgspec.json.decode(fields)
    event = Event(
        at,
        EventKind(kind),
        instance,
        session,
        identity,
        target,
        source,
        access_method,
        reason,
        plain,
    )
    return JournalEntry(seq, event)


def find_start_of_last(database: Database, wanted: Filter, count: int) -> int:
    """Return the `seq` after which exactly `count` entries follow, 0 if there are no more than that."""
    query = select(audit_events.c.seq).where(*wanted.make_conditions())
    with database.read() as transaction:
        seq = transaction.execute(
            query.order_by(audit_events.c.seq.desc()).offset(count).limit(1)
        ).scalar()
    return seq or 0


def find_last_of_kind(
    transaction: Transaction, kind: EventKind, at_most: int | None = None
) -> JournalEntry | None:
    """Return the newest entry of that kind with `seq` ≤ `at_most`. The search goes backwards, row by row."""
    query = select(audit_events).where(audit_events.c.kind == kind.value)
    if at_most is not None:
        query = query.where(audit_events.c.seq <= at_most)
    row = transaction.execute(query.order_by(audit_events.c.seq.desc()).limit(1)).first()
    return None if row is None else _entry_of(row)


def read_last_seq(transaction: Transaction) -> int:
    """Return the `seq` of the newest entry, or 0."""
    return transaction.execute(select(func.max(audit_events.c.seq))).scalar() or 0


def read_first_seq(transaction: Transaction) -> int:
    """Return the `seq` of the oldest entry, or 0."""
    return transaction.execute(select(func.min(audit_events.c.seq))).scalar() or 0


def remove_entries(transaction: Transaction, through: int) -> int:
    """Remove the entries up to the `seq` `through`, and return how many there were."""
    return transaction.execute(delete(audit_events).where(audit_events.c.seq <= through)).rowcount
