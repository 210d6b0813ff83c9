"""A whole store into an empty one, of another kind as a rule."""

from collections.abc import Iterable

from sqlalchemy import Column, Table, func, insert, literal_column, select, text

from stagedoor.model.errors import RefusedError
from stagedoor.store.database import Database, Transaction
from stagedoor.store.schema import (
    audit_events,
    grants,
    instances,
    meta,
    metadata,
    policy_changes,
)

CHUNK = 1000
"""Rows that are on their way at once."""

_NUMBERED: tuple[Column[int], ...] = (grants.c.id, audit_events.c.seq)
"""Columns whose numbers are never given twice, those of rows that are gone included."""


def copy_rows(source: Database, target: Transaction) -> dict[str, int]:
    """Every row of `source` as it stood at one moment; how many, by table.

    Left out are the versions in `meta`, and the processes that live. Raises RefusedError unless
    the target is empty, StoreError.
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
            _go_on_from(target, column, _last_number(reading, column))
    return copied


def _tables() -> Iterable[Table]:
    """In an order in which whatever is referred to comes first."""
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
    """The highest number that was ever given; 0 if none was."""
    if reading.dialect.name == "sqlite":  # https://www.sqlite.org/autoinc.html
        query = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        return reading.execute(query, {"name": column.table.name}).scalar() or 0
    return reading.execute(select(func.max(column))).scalar() or 0


def _go_on_from(target: Transaction, column: Column[int], last: int) -> None:
    """The next number that is given is the one after `last`."""
    names = {"name": column.table.name, "last": last}
    if target.dialect.name == "sqlite":
        target.execute(text("UPDATE sqlite_sequence SET seq = :last WHERE name = :name"), names)
    elif last > 0:
        sequence = text(f"SELECT setval(pg_get_serial_sequence(:name, '{column.name}'), :last)")
        target.execute(sequence, names)
