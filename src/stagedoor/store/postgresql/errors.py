"""PostgreSQL's errors in plain words."""

import re
from collections.abc import Mapping

from psycopg import Error, OperationalError
from sqlalchemy.exc import DBAPIError

from stagedoor.model.errors import StoreError, StoreUnavailableError
from stagedoor.settings.place import Server
from stagedoor.wire.oneline import fold

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

_TEMPORARY = frozenset({"25006", "53300", "57P01", "57P02", "57P03"})
"""The states that a fail-over, a restart or a rush causes, and that pass."""

_FATAL = re.compile(r"failed: [A-Z]{4,}: ")
_IS_TEMPORARY = re.compile(
    r"starting up|shutting down|recovery|too many clients|connection slots|not accept connections"
    r"|read-only"
)


def find_origin(error: Exception) -> Exception:
    """Return the driver's error from inside SQLAlchemy's."""
    inner = error.orig if isinstance(error, DBAPIError) else error
    return inner if isinstance(inner, Exception) else error


def explain(server: Server, error: Exception) -> StoreError:
    """Return an error that says in one line what a driver's error means for the operator."""
    inner = find_origin(error)
    state = inner.sqlstate if isinstance(inner, Error) else None
    text = fold(str(inner))
    if state is not None and state in _STATES:
        kind = StoreUnavailableError if state in _TEMPORARY else StoreError
        return kind(f"the store {server}: {_STATES[state]} ({text})", _STATES[state])
    if isinstance(inner, OperationalError) and state is None:
        # An error of libpq: not reached, refused, or cut off. It names hosts and roles, never a secret.
        message = f"the store {server} cannot be reached: {text or 'the connection broke'}"
        kind = StoreError if _is_permanent(text) else StoreUnavailableError
        return kind(message, "the store cannot be reached")
    return StoreError(f"the store {server}: {text or type(inner).__name__}", "its log says why")


def _is_permanent(text: str) -> bool:
    """Return whether the server refused and will do so again, as for a wrong password or an unknown database.

    It goes by the words, since libpq keeps no SQLSTATE for a connection that was refused. In an unknown
    language each answer counts as permanent.
    """
    answered = _FATAL.search(text)
    return answered is not None and not _IS_TEMPORARY.search(text)
