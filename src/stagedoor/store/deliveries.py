"""The progress of each sink of the audit, and the process that delivers to the sinks: rows of `meta`."""

import math
from collections.abc import Iterable, Mapping

from sqlalchemy import insert, select, update

from stagedoor.store.database import Database, Transaction
from stagedoor.store.journal import read_last_seq
from stagedoor.store.schema import audit_events, meta

_HOLDER, _UNTIL = "audit_holder", "audit_held_until"
_SINK = "audit_sink:"
_TICK_S = 10
"""The unit of a time in `meta`, which had 32 bits on PostgreSQL: tens of seconds."""


def read_position(transaction: Transaction, sink: str) -> int | None:
    """Return the `seq` of the last event that was delivered to the sink, or None."""
    return _value(transaction, _SINK + sink)


def count_backlogs(transaction: Transaction, sinks: Iterable[str]) -> Mapping[str, int]:
    """Return the number of events that each sink still has to receive, 0 for a sink that has not begun."""
    last = read_last_seq(transaction)
    positions = {sink: read_position(transaction, sink) for sink in sinks}
    return {sink: 0 if seq is None else last - seq for sink, seq in positions.items()}


def set_position(database: Database, sink: str, seq: int) -> None:
    """Store the sink's position. If a power cut loses it, events are delivered again. Raises StoreError."""
    with database.write(hasty=True) as transaction:
        _set(transaction, _SINK + sink, seq)


def claim(database: Database, holder: int, *, now: float, for_s: float) -> bool:
    """Claim the delivery for `holder`, a 31-bit number, until `now + for_s`.

    `now` is in seconds since the epoch. Return False if another process holds the claim. If clocks differ,
    two processes may hold it at once, and deliver events twice. Raises StoreError.
    """
    with database.write(hasty=True) as transaction:
        held = _value(transaction, _HOLDER)
        if held != holder and (_value(transaction, _UNTIL) or 0) * _TICK_S > now:
            return False
        _set(transaction, _HOLDER, holder)
        _set(transaction, _UNTIL, math.ceil((now + for_s) / _TICK_S))
    return True


def release(database: Database, holder: int) -> None:
    """Release the claim, so that another process need not wait. Raises StoreError."""
    with database.write(hasty=True) as transaction:
        if _value(transaction, _HOLDER) == holder:
            _set(transaction, _UNTIL, 0)


def find_first_undelivered(database: Database, sinks: tuple[str, ...]) -> float | None:
    """Return the time of the first event that one of the sinks has not received, or None.

    The time is in seconds since the epoch. Raises StoreError.
    """
    with database.read() as transaction:
        behind = min((read_position(transaction, sink) or 0 for sink in sinks), default=0)
        query = select(audit_events.c.at).where(audit_events.c.seq > behind)
        return transaction.execute(query.order_by(audit_events.c.seq).limit(1)).scalar()


def _value(transaction: Transaction, name: str) -> int | None:
    return transaction.execute(select(meta.c.value).where(meta.c.name == name)).scalar()


def _set(transaction: Transaction, name: str, value: int) -> None:
    changed = transaction.execute(update(meta).where(meta.c.name == name).values(value=value))
    if changed.rowcount == 0:
        transaction.execute(insert(meta).values(name=name, value=value))
