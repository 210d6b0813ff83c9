"""The time of each user's last session, read from a history that grows."""

from sqlalchemy import insert

from stagedoor.api.last_sessions import LATE_S, SessionCache
from stagedoor.audit.opening import make_session_id
from stagedoor.store.database import Database
from stagedoor.store.schema import sessions

NOW = 1_800_000_000.0


def add_session(database: Database, user: str, at: float) -> None:
    row = {
        "id": make_session_id(at),
        "opened_at": at,
        "identity": user,
        "target": "app01",
        "source": "s",
    }
    row |= {"way": "connect", "instance": "i", "sent": 0, "received": 0}
    with database.write() as transaction:
        transaction.execute(insert(sessions).values(row))


def test_later_reads_take_new_sessions_and_late_ones(database: Database) -> None:
    last = SessionCache(database)
    assert last.read() == {}
    add_session(database, "ann", NOW - 2 * LATE_S)
    add_session(database, "bob", NOW)
    assert last.read() == {"ann": NOW - 2 * LATE_S, "bob": NOW}
    add_session(database, "ann", NOW - LATE_S / 2)
    add_session(database, "bob", NOW + 5)
    add_session(database, "old", NOW - 3 * LATE_S)
    assert last.read() == {"ann": NOW - LATE_S / 2, "bob": NOW + 5}, (
        "the old ones are not read again"
    )
    assert SessionCache(database).read()["old"] == NOW - 3 * LATE_S
