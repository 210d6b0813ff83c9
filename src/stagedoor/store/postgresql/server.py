"""The store on a PostgreSQL server, which gateways on several machines share.

As in SQLite, transactions that write first take one lock (see `adapter.Adapter.writing`). So the same
statements are correct for both, and `seq` never becomes visible out of order. As many logins share one
commit, the lock does not limit the number of logins, only delays them.
"""

import re
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from psycopg import Error, OperationalError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.pool import QueuePool

from stagedoor.model.errors import StoreError, StoreUnavailableError
from stagedoor.settings.store_location import StoreServer
from stagedoor.store.adapter import Statement
from stagedoor.store.postgresql.link import PostgresqlLink, connect, is_stale
from stagedoor.wire.oneline import fold

WRITE_TIMEOUT_S = 5.0
"""The time limit for one statement of a login: as long as a login waits for the disk."""

STATEMENT_TIMEOUT_S = 30.0
"""The time limit for any other statement. Searching a long audit may take a while."""

POOL = 2
"""The connections kept besides that for logins: one for the watch, and one for the rest."""

OVERFLOW = 4

LOCK = 0x5374_6167_6544_6F72
"""The advisory lock of transactions that write: `StageDor` in ASCII, which no other program will use."""

_LOCK = f"SELECT pg_advisory_xact_lock({LOCK})"
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
"""The temporary states during a fail-over, a restart or a rush of connections."""

_FATAL = re.compile(r"failed: [A-Z]{4,}: ")
_IS_TEMPORARY = re.compile(
    r"starting up|shutting down|recovery|too many clients|connection slots|not accept connections"
    r"|read-only"
)


class PostgresqlServer:
    """A store on a server that gateways on many machines share. Implements `adapter.Adapter`."""

    shared = True
    errors: tuple[type[Exception], ...] = (Error,)
    hint = "name another one in store.url"

    def __init__(self, server: StoreServer, *, busy_timeout_s: float) -> None:
        """Keep the parameters. The first use connects."""
        self.name = str(server)
        self._server = server
        engine = _engine(server, busy_timeout_s)
        self._engine = engine
        self.reading: Engine = engine.execution_options(
            # All reads of a transaction are as of one moment
            # (https://www.postgresql.org/docs/current/transaction-iso.html#XACT-REPEATABLE-READ).
            isolation_level="REPEATABLE READ",
            postgresql_readonly=True,
        )
        # Each statement must see the rows that others had written when this transaction got the lock,
        # whatever the role's default is. On any other level it would see those from before its wait.
        self.writing: Engine = engine.execution_options(
            isolation_level="READ COMMITTED", stagedoor_writes=True
        )
        self._writer = PostgresqlRowWriter(server, busy_timeout_s=busy_timeout_s)
        self._closed = False
        event.listen(engine, "checkin", self._checkin)

    def _checkin(self, link: PostgresqlLink | None, _: Any) -> None:
        # returned by a thread that `close` did not wait for; the pool no longer exists
        if self._closed and link is not None:
            link.close()

    def check_in_place(self) -> None:
        """Do nothing: a connection always belongs to one database."""

    def write_rows(self, statements: Iterable[Statement]) -> None:
        """Write all rows in one transaction. Raises psycopg.Error or StoreError."""
        self._writer.write(list(statements))

    def explain(self, error: Exception) -> StoreError:
        """Explain an error by its SQLSTATE."""
        return explain(self._server, error)

    def close(self) -> None:
        """Close every connection; those in use are closed when they are returned."""
        self._closed = True
        self._engine.dispose()
        self._writer.close()


def _engine(server: StoreServer, busy_timeout_s: float) -> Engine:
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: _for_pool(server, busy_timeout_s),
        # By position, so that `write_rows` can bypass SQLAlchemy.
        paramstyle="format",
        poolclass=QueuePool,
        pool_size=POOL,
        max_overflow=OVERFLOW,
        pool_timeout=busy_timeout_s,
        use_native_hstore=False,
    )

    @event.listens_for(engine, "checkout")
    def checkout(link: PostgresqlLink, *_: Any) -> None:
        if is_stale(link):
            raise DisconnectionError  # the pool connects again

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("stagedoor_writes", False):
            connection.exec_driver_sql(_LOCK)
            if options.get("stagedoor_hasty", False):
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")

    return engine


def _for_pool(server: StoreServer, busy_timeout_s: float) -> PostgresqlLink:
    link = connect(server, statement_timeout_s=STATEMENT_TIMEOUT_S, lock_timeout_s=busy_timeout_s)
    link.autocommit = False
    return link


class PostgresqlRowWriter:
    """Writes rows over its own connection, in one round trip and without SQLAlchemy.

    One thread writes at a time.
    """

    def __init__(self, server: StoreServer, *, busy_timeout_s: float) -> None:
        self._server = server
        self._busy_timeout_s = busy_timeout_s
        self._link: PostgresqlLink | None = None
        self._lock = threading.Lock()

    def write(self, statements: list[Statement]) -> None:
        """Write all rows in one transaction that survives a power cut. Raises psycopg.Error or StoreError.

        If the connection breaks, it connects and writes once more, so that a restart of the server makes no
        login fail. The first attempt may have succeeded too; that is harmless, since these rows may be
        repeated (`audit.ledger.Journal`).
        """
        with self._lock:
            try:
                link = self._connection()
                try:
                    self._write(link, statements)
                except Error:
                    if not link.broken:
                        raise
                    self._disconnect()
                    self._write(self._connection(), statements)
            except BaseException:
                self._disconnect()  # rolls back
                raise

    def _connection(self) -> PostgresqlLink:
        if self._link is not None and is_stale(self._link):
            self._disconnect()
        if self._link is None:
            self._link = connect(
                self._server,
                statement_timeout_s=WRITE_TIMEOUT_S,
                lock_timeout_s=self._busy_timeout_s,
            )
        return self._link

    def _write(self, link: PostgresqlLink, statements: list[Statement]) -> None:
        # After a failure the server skips the rest of the pipeline, including the COMMIT
        # (https://www.postgresql.org/docs/current/libpq-pipeline-mode.html#LIBPQ-PIPELINE-ERRORS).
        with link.pipeline(), link.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            cursor.execute(_LOCK)
            for sql, rows in statements:
                cursor.executemany(sql, rows)
            ending = link.execute("COMMIT")
        if ending.statusmessage != "COMMIT":
            raise StoreError(f"the store {self._server}: the transaction was rolled back")

    def close(self) -> None:
        """Close the connection, unless a write hangs on it."""
        if self._lock.acquire(blocking=False):
            self._disconnect()
            self._lock.release()

    def _disconnect(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            with suppress(Error):
                link.close()


def explain(server: StoreServer, error: Exception) -> StoreError:
    """Return an error that says in one line what a driver's error means to an operator."""
    inner = error.orig if isinstance(error, DBAPIError) else error
    state = inner.sqlstate if isinstance(inner, Error) else None
    text = fold(str(inner))
    if state is not None and state in _STATES:
        kind = StoreUnavailableError if state in _TEMPORARY else StoreError
        return kind(f"the store {server}: {_STATES[state]} ({text})", _STATES[state])
    if isinstance(inner, OperationalError) and state is None:
        # An error of libpq: unreachable, refused or cut off. It names hosts and roles, never a secret.
        message = f"the store {server} cannot be reached: {text or 'the connection broke'}"
        kind = StoreError if _is_permanent(text) else StoreUnavailableError
        return kind(message, "the store cannot be reached")
    return StoreError(f"the store {server}: {text or type(inner).__name__}", "its log says why")


def _is_permanent(text: str) -> bool:
    """Return whether the server would refuse again, for example because of a wrong password.

    It goes by the wording, since libpq keeps no SQLSTATE for a refused connection. An answer in an unknown
    language counts as permanent.
    """
    answered = _FATAL.search(text)
    return answered is not None and not _IS_TEMPORARY.search(text)
