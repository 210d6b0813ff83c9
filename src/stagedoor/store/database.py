"""The opened store: transactions for reading and writing. Every failure is a StoreError."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, Dialect, func, select
from sqlalchemy.exc import SQLAlchemyError

from stagedoor.model.errors import StoreError, install_extra
from stagedoor.settings.store_location import StoreLocation
from stagedoor.store import schema
from stagedoor.store.adapter import Adapter, Statement
from stagedoor.store.sqlite.file import SqliteFile

BUSY_TIMEOUT_S = 2.0
"""How long a transaction waits for that of another process. A commit takes milliseconds; after two seconds
some other program must be holding the store, and a login is refused with this reason."""

Transaction = Connection
"""An open transaction, which the functions of this package take."""


class Database:
    """An opened store, for any thread of one process. Use `open_database`, after fork and never before."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self.on_transaction: Callable[[str, float, bool], None] = lambda operation, took_s, failed: (
            None
        )
        """Called after each transaction with its kind (`read`, `write` or `append`), its time in seconds, and
        whether it failed."""
        self._errors: tuple[type[Exception], ...] = (SQLAlchemyError, *adapter.errors)
        self._hasty = adapter.writing.execution_options(stagedoor_hasty=True)
        self._revoking = adapter.writing.execution_options(stagedoor_revokes=True)

    @property
    def name(self) -> str:
        """The store's name in messages: a path or a URL without secrets."""
        return self._adapter.name

    @property
    def shared(self) -> bool:
        """Return whether gateways on other machines may use the same store."""
        return self._adapter.shared

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Begin a transaction that sees the store as it was at one moment. Raises StoreError."""
        with self._measured("read"), self._adapter.reading.begin() as transaction:
            yield transaction

    @contextmanager
    def write(self, *, hasty: bool = False, revokes: bool = False) -> Iterator[Transaction]:
        """Begin a transaction that writes all or nothing. Once committed, it survives a power cut.

        No other transaction that writes runs meanwhile. A `hasty` one need not survive a power cut and, if
        the database allows, waits for no disk. One that `revokes` only takes rights away, and may use the
        space that is reserved for a full disk.

        Raises StoreError, which says so if the disk or the connection failed during the commit and the change
        may have been written.
        """
        engine = self._adapter.writing
        if revokes:
            engine = self._revoking
        elif hasty:
            engine = self._hasty
        with (
            self._measured("write"),
            engine.connect() as transaction,
            transaction.begin() as ending,
        ):
            yield transaction
            try:
                ending.commit()
            except self._errors as error:
                why = self._adapter.explain(error)
                raise StoreError(
                    f"{why}; the change may have been written or not: check before you repeat it",
                    why.public,
                ) from error

    @property
    def dialect(self) -> Dialect:
        """The dialect for the SQL of `write_rows`."""
        return self._adapter.reading.dialect

    def write_rows(self, statements: Iterable[Statement]) -> None:
        """Write rows in one transaction, faster than `write` for frequent inserts. Raises StoreError."""
        with self._measured("append"):
            self._adapter.write_rows(statements)

    def close(self) -> None:
        """Close every connection; those of transactions in other threads are closed when these end."""
        self._adapter.close()

    @contextmanager
    def _measured(self, operation: str) -> Iterator[None]:
        began, failed = time.monotonic(), False
        try:
            self._adapter.check_in_place()
            yield
        except self._errors as error:
            failed = True
            raise self._adapter.explain(error) from error
        except StoreError:
            failed = True
            raise
        finally:
            self.on_transaction(operation, time.monotonic() - began, failed)


def open_database(
    location: StoreLocation,
    *,
    create: bool = True,
    upgrade: bool = True,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
) -> Database:
    """Open the store at `location`.

    `create` creates its folder, file and tables if they are missing. Tables of an older program are upgraded;
    without `upgrade` they are a StoreError. Any number of processes may open a store at once. Raises
    StoreError: no permission, full disk, locked, damaged, not a Stagedoor store, out of reach, or a newer
    schema.
    """
    adapter = _adapter(location, create, busy_timeout_s)
    database = Database(adapter)
    try:
        version = _version(adapter, database)
        if version == 0 and not create and database.shared:
            raise StoreError(
                f"there is no store in {database.name} yet; start the gateway, "
                "or make the store with `stagedoor user add NAME`"
            )
        if version < schema.SCHEMA_VERSION and not upgrade:
            raise StoreError(
                f"the store {database.name} is of an older Stagedoor (schema {version}, this program has "
                f"{schema.SCHEMA_VERSION}); `stagedoor serve` brings it up to date"
            )
        if version < schema.SCHEMA_VERSION:
            with database.write() as transaction:
                # Check again under the write lock: another process may have been faster.
                schema.upgrade(transaction, _check(adapter, transaction))
    except BaseException:
        database.close()
        raise
    return database


def _version(adapter: Adapter, database: Database) -> int:
    """Return the schema version of the store. Check a store that seems foreign a second time.

    In PostgreSQL, a table that another process has just rewritten for an upgrade is empty for a transaction
    that began earlier (manual, 13.6).
    """
    with suppress(schema.UnknownStoreError), database.read() as transaction:
        return _check(adapter, transaction)
    with database.read() as transaction:
        return _check(adapter, transaction)


def _adapter(location: StoreLocation, create: bool, busy_timeout_s: float) -> Adapter:
    if isinstance(location, Path):
        return SqliteFile(location, create=create, busy_timeout_s=busy_timeout_s)
    try:
        # Imported here, because a gateway on SQLite need not have the driver.
        from stagedoor.store.postgresql.server import PostgresqlServer
    except ImportError as error:
        raise StoreError(
            f"the store {location} needs PostgreSQL's driver, which cannot be loaded ({error}); "
            f"install it with: {install_extra('postgresql')}"
        ) from error
    return PostgresqlServer(location, busy_timeout_s=busy_timeout_s)


def _check(adapter: Adapter, transaction: Transaction) -> int:
    try:
        return schema.check(transaction, adapter.hint)
    except StoreError as error:
        raise type(error)(f"the store {adapter.name} cannot be used: {error}") from error


def read_server_time(database: Database) -> float | None:
    """Return the server's time in seconds since the epoch, or None for a file on this machine.

    Raises StoreError.
    """
    if not database.shared:
        return None
    with database.read() as transaction:
        now = select(func.extract("epoch", func.clock_timestamp()))
        return float(transaction.execute(now).scalar_one())
