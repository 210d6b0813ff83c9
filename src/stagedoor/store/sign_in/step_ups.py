"""Step-ups: terminals that wait for a proof of their user's presence."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update

from stagedoor.model.pending_step_up import PendingStepUp
from stagedoor.store.database import Database, Transaction
from stagedoor.store.sign_in.tables import step_ups
from stagedoor.wire.oneline import is_word


def add(database: Database, step_up: PendingStepUp, now: float, most: int) -> bool:
    """Store a step-up. Return False if `most` step-ups of its sign-in wait already. Raises StoreError.

    Step-ups that are over are removed.
    """
    with database.write() as transaction:
        transaction.execute(delete(step_ups).where(step_ups.c.ends_at <= now))
        waiting = select(func.count()).where(step_ups.c.sign_in == step_up.sign_in)
        if transaction.execute(waiting).scalar_one() >= most:
            return False
        row = asdict(step_up)
        row["user_name"] = row.pop("user")
        transaction.execute(insert(step_ups).values(row))
    return True


def find(transaction: Transaction, id_: str) -> PendingStepUp | None:
    """Return the step-up with that id, over or not, or None."""
    if not is_word(id_):
        return None
    row = transaction.execute(select(step_ups).where(step_ups.c.id == id_)).first()
    return None if row is None else _step_up(row)


def use_try(transaction: Transaction, before: PendingStepUp, after: PendingStepUp) -> bool:
    """Store the tries that are left after a wrong answer.

    Return False if the step-up was no longer as `before`, so that each of several simultaneous tries counts.
    """
    moved = transaction.execute(
        update(step_ups)
        .where(step_ups.c.id == before.id, step_ups.c.tries_left == before.tries_left)
        .values(tries_left=after.tries_left)
    )
    return moved.rowcount == 1


def _step_up(row: Row[Any]) -> PendingStepUp:
    return PendingStepUp(
        row.id,
        bytes(row.sign_in),
        row.user_name,
        row.target,
        row.label,
        row.source,
        bytes(row.letters_hash),
        row.created_at,
        row.ends_at,
        row.tries_left,
    )
