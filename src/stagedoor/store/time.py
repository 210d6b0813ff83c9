"""The clock of the store's server."""

from sqlalchemy import func, select

from stagedoor.store.database import Database


def server_time(database: Database) -> float | None:
    """Seconds since the epoch; None for a store that is a file on this machine. Raises StoreError."""
    if not database.shared:
        return None
    with database.read() as transaction:
        now = select(func.extract("epoch", func.clock_timestamp()))
        return float(transaction.execute(now).scalar_one())
