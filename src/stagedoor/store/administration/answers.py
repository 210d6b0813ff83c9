"""The API's answers to requests with an Idempotency-Key, so that a repeated request does nothing twice."""

from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update

from stagedoor.store.administration.tables import api_answers
from stagedoor.store.database import Database

KEPT_S = 24 * 3600.0
"""How long an answer is kept."""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An earlier request and its answer. `request` is a digest of the request.

    `status` is None while the request is handled, or if its outcome is unknown. `body` is None if it was not
    stored.
    """

    request: bytes
    status: int | None
    body: bytes | None


def begin_request(database: Database, key: str, request: bytes, now: float) -> StoredAnswer | None:
    """Return the earlier request with this key. If there is none, note that this one begins, and return None.

    Raises StoreError.
    """
    with database.write() as transaction:
        transaction.execute(delete(api_answers).where(api_answers.c.at <= now - KEPT_S))
        row = transaction.execute(select(api_answers).where(api_answers.c.key == key)).first()
        if row is not None:
            return StoredAnswer(row.request, row.status, row.body)
        values = {"key": key, "request": request, "at": now}
        transaction.execute(insert(api_answers).values(**values))
        return None


def finish_request(database: Database, key: str, status: int, body: bytes | None) -> None:
    """Store the answer to a request that began. Raises StoreError."""
    with database.write() as transaction:
        transaction.execute(
            update(api_answers).where(api_answers.c.key == key).values(status=status, body=body)
        )


def forget_request(database: Database, key: str) -> None:
    """Forget a request that changed nothing, so that the key may be used again. Raises StoreError."""
    with database.write() as transaction:
        transaction.execute(delete(api_answers).where(api_answers.c.key == key))
