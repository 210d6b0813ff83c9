"""Copying a whole SQLite store into an empty store, usually of another kind."""

from collections.abc import Iterable

from sqlalchemy import Column, Table, insert, literal_column, select, text

from stagedoor.model.errors import RefusedError
from stagedoor.store.administration.tables import roles
from stagedoor.store.database import Database, Transaction
from stagedoor.store.request_tables import access_requests, request_rules
from stagedoor.store.schema import audit_events, grants, instances, meta, metadata, policy_changes

CHUNK = 1000
"""The number of rows copied at a time."""

_NUMBERED: tuple[Column[int], ...] = (
    grants.c.id,
    audit_events.c.seq,
    request_rules.c.id,
    access_requests.c.id,
    roles.c.id,
)
"""The columns whose numbers are never reused, not even those of removed rows."""


def copy_rows(source: Database, target: Transaction) -> dict[str, int]:
    """Copy every row of `source` as of one moment, and return how many, by table.

    `source` is a SQLite store. The versions in `meta` and the rows of running processes are not copied.
    Raises StoreError, and RefusedError if the target is not empty.
    """
    _require_empty(target)
    copied = {}
    with source.read() as reading:
        for table in _tables():
            copied[table.name] = 0
            rows = reading.execute(select(table).order_by(*table.primary_key))
            for part in rows.partitions(CHUNK):
                target.execute(insert(table), [dict(row._mapping) for row in part])
                copied[table.name] += len(part)
        for column in _NUMBERED:
            _set_last_number(target, column, _last_number(reading, column))
    return copied


def _tables() -> Iterable[Table]:
    """Return the tables to copy. A table comes after the tables that it refers to."""
    return (
        table for table in metadata.sorted_tables if table not in (meta, instances, policy_changes)
    )


def _require_empty(target: Transaction) -> None:
    for table in _tables():
        if target.execute(select(literal_column("1")).select_from(table).limit(1)).first():
            raise RefusedError(
                f"the store that the settings name is not empty (there are {table.name}); nothing "
                "was copied: name an empty one"
            )


def _last_number(reading: Transaction, column: Column[int]) -> int:
    """Return the highest number that was ever used, or 0."""
    query = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
    return reading.execute(query, {"name": column.table.name}).scalar() or 0


def _set_last_number(target: Transaction, column: Column[int], last: int) -> None:
    """Set the column's counter, so that its next number follows `last`."""
    names = {"name": column.table.name, "last": last}
    if target.dialect.name == "sqlite":  # https://www.sqlite.org/autoinc.html
        # A table has no row there until the first insert.
        target.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), names)
        target.execute(text("INSERT INTO sqlite_sequence VALUES (:name, :last)"), names)
    elif last > 0:
        sequence = text(f"SELECT setval(pg_get_serial_sequence(:name, '{column.name}'), :last)")
        target.execute(sequence, names)
