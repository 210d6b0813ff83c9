"""PostgreSQL's errors in plain words."""

from collections.abc import Mapping

from psycopg import Error, OperationalError
from sqlalchemy.exc import DBAPIError

from stagedoor.model.errors import StoreError
from stagedoor.settings.place import Server

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_STATES: Mapping[str, str] = {
    "25006": "read-only: it is a standby, or its administrator made it so; name the primary in store.url",
    "28000": "it refuses the role; check store.url and the server's pg_hba.conf",
    "28P01": "it refuses the password; check store.password_file",
    "3D000": "there is no such database; make it with `createdb -O ROLE NAME`",
    "42501": "permission denied; the role must own the database, or its tables and their schema",
    "42P01": "its tables are gone; restore the database from a backup",
    "53100": "disk full; free space on the server",
    "53200": "the server is out of memory",
    "53300": "the server has no connection left; raise its max_connections, or the role's limit",
    "55P03": "another process has held it for too long; see `SELECT * FROM pg_locks` on the server",
    "57014": "the server took too long; see its log and its load",
    "57P01": "the server is shutting down",
    "57P02": "the server crashed and is starting again",
    "57P03": "the server is starting up or shutting down",
    "58030": "input/output error; check the server's disk",
    "XX001": "damaged; restore it from a backup",
    "XX002": "damaged; restore it from a backup, or run REINDEX",
}


def origin(error: Exception) -> Exception:
    """The driver's error, without what SQLAlchemy wraps around it."""
    inner = error.orig if isinstance(error, DBAPIError) else error
    return inner if isinstance(inner, Exception) else error


def explain(server: Server, error: Exception) -> StoreError:
    """Say in one line what a driver's error means for whoever runs the gateway."""
    inner = origin(error)
    state = inner.sqlstate if isinstance(inner, Error) else None
    text = " ".join(str(inner).split())
    if state is not None and state in _STATES:
        return StoreError(f"the store {server}: {_STATES[state]} ({text})")
    if isinstance(inner, OperationalError) and state is None:
        # libpq's own: not reached, not let in, or cut off. It names hosts and roles, never a secret.
        return StoreError(f"the store {server} cannot be reached: {text or 'the connection broke'}")
    return StoreError(f"the store {server}: {text or type(inner).__name__}")
