"""The opened store: transactions to read and to write, and every failure as a StoreError."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, Dialect, func, select
from sqlalchemy.exc import SQLAlchemyError

from stagedoor.model.errors import StoreError
from stagedoor.model.extra import install_extra
from stagedoor.settings.place import Place, Server
from stagedoor.store import schema
from stagedoor.store.adapter import Adapter, Statement
from stagedoor.store.sqlite.file import SqliteFile

BUSY_TIMEOUT_S = 2.0
"""How long a transaction waits for another process's: a commit takes milliseconds, so two seconds
mean that somebody holds the store, and a waiting login is better told so."""

Transaction = Connection
"""What the functions of this package take: an open transaction."""


class Database:
    """One store, used from any thread of one process. Open it after fork, never before.

    Made by `open_database`.
    """

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self.on_transaction: Callable[[str, float, bool], None] = lambda operation, took_s, failed: (
            None
        )
        """Told of each transaction: `read`, `write` or `append`, how long it took, whether it failed."""
        self._errors: tuple[type[Exception], ...] = (SQLAlchemyError, *adapter.errors)
        self._hasty = adapter.writing.execution_options(stagedoor_hasty=True)
        self._revoking = adapter.writing.execution_options(stagedoor_revokes=True)

    @property
    def name(self) -> str:
        """What messages call it: a path or a URL without secrets."""
        return self._adapter.name

    @property
    def shared(self) -> bool:
        """Whether gateways on other machines may use the same store."""
        return self._adapter.shared

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A transaction that sees one moment of the store. Raises StoreError."""
        with self._told("read"), self._adapter.reading.begin() as transaction:
            yield transaction

    @contextmanager
    def write(self, *, hasty: bool = False, revokes: bool = False) -> Iterator[Transaction]:
        """A transaction that is all written, and survives a power cut, or not at all.

        No other transaction that writes runs meanwhile. `hasty`: it need not survive a power cut,
        and where the database allows that costs no wait for a disk. `revokes`: rights are taken away
        and none are given, so it may use what is kept for a full disk.

        Raises StoreError; should the disk or the connection have failed in the commit itself, it
        is unknown whether it was written, and the message says so.
        """
        engine = self._adapter.writing
        if revokes:
            engine = self._revoking
        elif hasty:
            engine = self._hasty
        with self._told("write"), engine.connect() as transaction, transaction.begin() as ending:
            yield transaction
            try:
                ending.commit()
            except self._errors as error:
                why = self._adapter.explain(error)
                raise StoreError(
                    f"{why}; nobody knows whether the change was written: look before you repeat it",
                    why.public,
                ) from error

    @property
    def dialect(self) -> Dialect:
        """What SQL for `write_rows` is compiled for."""
        return self._adapter.reading.dialect

    def write_rows(self, statements: Iterable[Statement]) -> None:
        """What `write` does for those who only insert and update much and often. Raises StoreError."""
        with self._told("append"):
            self._adapter.write_rows(statements)

    def close(self) -> None:
        """Close every connection, and those of transactions that other threads run when these have ended."""
        self._adapter.close()

    @contextmanager
    def _told(self, operation: str) -> Iterator[None]:
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
    place: Place,
    *,
    create: bool = True,
    upgrade: bool = True,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
) -> Database:
    """Open the store at `place`, making folder, file and tables where `create` allows, and
    bringing tables of an older program up to date; without `upgrade` those are a StoreError.

    Any number of processes may do so at once. Raises StoreError: no permission, full disk, locked,
    damaged, not ours, out of reach, or a newer schema.
    """
    adapter = _adapter(place, create, busy_timeout_s)
    database = Database(adapter)
    try:
        found = _version(adapter, database)
        if found == 0 and not create and database.shared:
            raise StoreError(
                f"there is no store in {database.name} yet; start the gateway, "
                "or make the store with `stagedoor user add NAME`"
            )
        if found < schema.SCHEMA_VERSION and not upgrade:
            raise StoreError(
                f"the store {database.name} is of an older Stagedoor (schema {found}, this program has "
                f"{schema.SCHEMA_VERSION}); `stagedoor serve` brings it up to date"
            )
        if found < schema.SCHEMA_VERSION:
            with database.write() as transaction:
                # Another process may have been faster: look again, now that we are alone.
                schema.bring_up(transaction, _check(adapter, transaction))
    except BaseException:
        database.close()
        raise
    return database


def _version(adapter: Adapter, database: Database) -> int:
    """Looks again at what seems foreign: in PostgreSQL a table that another process has just rewritten, to
    bring it up, is empty for a transaction that began before (manual, 13.6)."""
    with suppress(schema.UnknownStoreError), database.read() as transaction:
        return _check(adapter, transaction)
    with database.read() as transaction:
        return _check(adapter, transaction)


def _adapter(place: Place, create: bool, busy_timeout_s: float) -> Adapter:
    if isinstance(place, Path):
        return SqliteFile(place, create=create, busy_timeout_s=busy_timeout_s)
    return _server(place, busy_timeout_s)


def _server(place: Server, busy_timeout_s: float) -> Adapter:
    try:
        # Only here: a gateway on SQLite need not have the driver.
        from stagedoor.store.postgresql.server import PostgresqlServer
    except ImportError as error:
        raise StoreError(
            f"the store {place} needs PostgreSQL's driver, which cannot be loaded ({error}); "
            f"install it with: {install_extra('postgresql')}"
        ) from error
    return PostgresqlServer(place, busy_timeout_s=busy_timeout_s)


def _check(adapter: Adapter, transaction: Transaction) -> int:
    try:
        return schema.check(transaction, adapter.hint)
    except StoreError as error:
        raise type(error)(f"the store {adapter.name} cannot be used: {error}") from error


def server_time(database: Database) -> float | None:
    """Seconds since the epoch; None for a store that is a file on this machine. Raises StoreError."""
    if not database.shared:
        return None
    with database.read() as transaction:
        now = select(func.extract("epoch", func.clock_timestamp()))
        return float(transaction.execute(now).scalar_one())
