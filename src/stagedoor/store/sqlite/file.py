"""The store in an SQLite file: the file and its mode, the pragmas, and SQLite's errors in plain words."""

import errno
import os
import random
import sqlite3
import stat
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from stagedoor.model.errors import StoreError
from stagedoor.settings.safe_files import hold_open, open_unplanted
from stagedoor.store.adapter import Statement
from stagedoor.store.sqlite.reserve import Reserve

CACHE_KIB = 512
"""The page cache of each connection. Sessions come and go at the end of every B-tree, so more pages would not
be read again; a page that is missing is in the kernel's cache."""

MAX_ROWS = 64
"""The most rows of one statement: logins and ends that share a commit are seldom more."""

_CODES = {
    sqlite3.SQLITE_FULL: "disk full; free space on that file system",
    sqlite3.SQLITE_BUSY: "locked by another process; end whatever holds it (`fuser -v FILE`)",
    sqlite3.SQLITE_LOCKED: "locked by another process; end whatever holds it (`fuser -v FILE`)",
    sqlite3.SQLITE_READONLY: "read-only; make the file, its folder and its file system writable",
    sqlite3.SQLITE_CORRUPT: "damaged; restore it from a backup",
    sqlite3.SQLITE_NOTADB: "not a SQLite database; restore it from a backup or move it away",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; the file, its folder and its file system must be writable",
    sqlite3.SQLITE_PERM: "permission denied; run this as the account that owns the file",
    sqlite3.SQLITE_IOERR: "input/output error; check the disk",
}


class SqliteFile:
    """A store in a file that processes of one machine share. Implements `adapter.Adapter`."""

    shared = False
    errors: tuple[type[Exception], ...] = (sqlite3.Error,)
    hint = "name another folder as data_dir"

    def __init__(self, path: Path, *, create: bool, busy_timeout_s: float) -> None:
        """Open the file, or create it with `create`. Raises StoreError."""
        prepare_file(path, create=create)
        self.name = str(path)
        self.reading: Engine = make_engine(path, busy_timeout_s=busy_timeout_s)
        self.writing: Engine = self.reading.execution_options(stagedoor_writes=True)
        self._path = path
        self._writer = SqliteRowWriter(path, busy_timeout_s=busy_timeout_s)
        self._closed = False
        event.listen(self.reading, "checkin", self._on_checkin)
        opened = path.stat()
        self._inode = (opened.st_dev, opened.st_ino)

    def check_in_place(self) -> None:
        """Raise StoreError if the file was deleted or replaced. SQLite would still write to the old one."""
        try:
            current = self._path.stat()
        except OSError as error:
            raise StoreError(
                f"the store {self._path} is gone: {error.strerror}", "the store is gone"
            ) from error
        if (current.st_dev, current.st_ino) != self._inode:
            raise StoreError(
                f"the store {self._path} was replaced by another file; restart",
                "the store was replaced; the gateway must be restarted",
            )

    def write_rows(self, statements: Iterable[Statement]) -> None:
        """Write all rows in one transaction. Raises sqlite3.Error or StoreError."""
        self._writer.write(statements)

    def explain(self, error: Exception) -> StoreError:
        """Explain an error by SQLite's result code."""
        return explain(self._path, error)

    def close(self) -> None:
        """Close every connection; those that other threads use are closed when they are returned."""
        self._closed = True
        self.reading.dispose()
        self._writer.close()

    def _on_checkin(self, raw: DBAPIConnection | None, _: ConnectionPoolEntry) -> None:
        if self._closed and raw is not None:
            raw.close()


def prepare_file(path: Path, *, create: bool) -> None:
    """Make sure that `path` is a file with mode 0600 that only its owner can replace.

    A missing folder is created with mode 0700. A file that root creates in a folder of the account that runs
    the gateway is given to that account, so that the gateway can open it. Raises StoreError.
    """
    try:
        if create:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif not path.exists():
            raise StoreError(
                f"there is no store at {path}; name the right settings with --config, "
                "or make the store with `stagedoor user add NAME`"
            )
        folder = path.parent.stat()
        if folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not folder.st_mode & stat.S_ISVTX:
            raise StoreError(
                f"the folder {path.parent} is writable for others, who could replace the store; "
                f"run `chmod go-w {path.parent}`"
            )
        if create:
            _create(path, folder)
        _close_to_others(path)
    except OSError as error:
        raise StoreError(f"the store {path} cannot be opened: {error.strerror}") from error


def _close_to_others(path: Path) -> None:
    """Give the store the mode 0600. Raises OSError, also for a link that root must not follow."""
    # With O_PATH: closing another descriptor would release the locks of a store that this process has open.
    with hold_open(open_unplanted(path, os.O_PATH)) as fd:
        seen = os.fstat(fd)
        if not stat.S_ISREG(seen.st_mode):
            raise OSError(errno.EINVAL, "it is not a file", str(path))
        if seen.st_mode & 0o077 and os.geteuid() in (0, seen.st_uid):
            Path(f"/proc/self/fd/{fd}").chmod(0o600)


def _create(path: Path, folder: os.stat_result) -> None:
    try:
        # O_EXCL also refuses a planted symbolic link.
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    with hold_open(fd):
        if os.geteuid() == 0 and folder.st_uid != 0:
            os.fchown(fd, folder.st_uid, folder.st_gid)


def _connect(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    """Open a connection. synchronous=FULL with WAL makes each commit survive a power cut.

    See https://www.sqlite.org/pragma.html#pragma_synchronous.
    """
    # isolation_level None: the driver begins no transaction; this module does.
    raw = sqlite3.connect(
        path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False
    )
    try:
        if raw.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            # If two processes turn on WAL at once, SQLite refuses one of them without waiting.
            _wait_for_lock(raw, "PRAGMA journal_mode = WAL", busy_timeout_s)
        raw.execute("PRAGMA synchronous = FULL")
        raw.execute("PRAGMA foreign_keys = ON")
        raw.execute(f"PRAGMA cache_size = {-CACHE_KIB}")
    except BaseException:
        raw.close()
        raise
    return raw


def make_engine(path: Path, *, busy_timeout_s: float) -> Engine:
    """Return an engine whose transactions begin IMMEDIATE if they write, else DEFERRED."""
    reserve = Reserve(path)
    engine = create_engine(
        "sqlite+pysqlite://",
        creator=lambda: _connect(path, busy_timeout_s),
        poolclass=QueuePool,
        pool_size=4,
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("stagedoor_writes", False):
            raw = connection.connection.driver_connection
            assert isinstance(raw, sqlite3.Connection)
            _begin_immediate(raw, path, busy_timeout_s)
            try:
                reserve.spend() if options.get("stagedoor_revokes", False) else reserve.keep()
            except BaseException:
                raw.execute("ROLLBACK")
                raise
        else:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(busy_timeout_s * 1000)}")
            connection.exec_driver_sql("BEGIN DEFERRED")

    return engine


class SqliteRowWriter:
    """A writer of rows with its own connection, without SQLAlchemy. One thread writes at a time.

    SQLAlchemy takes as much processor time for each transaction as SQLite's own work on a few rows, and every
    login pays for it.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._raw: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._reserve = Reserve(path)

    def write(self, statements: Iterable[Statement]) -> None:
        """Write all rows in one transaction that survives a power cut. Raises sqlite3.Error or StoreError."""
        with self._lock:
            if self._raw is None:
                self._raw = _connect(self._path, self._busy_timeout_s)
            try:
                _begin_immediate(self._raw, self._path, self._busy_timeout_s)
                self._reserve.keep()
                for sql, rows in statements:
                    for many, parameters in _join_rows(sql, rows):
                        self._raw.executemany(many, parameters)
                self._raw.execute("COMMIT")
            except BaseException:
                self._disconnect()  # rolls back, whatever the state of the driver
                raise
        if self._closed:
            self.close()

    def close(self) -> None:
        """Close the connection. A write that hangs on a dead disk closes it when it ends."""
        self._closed = True
        if self._lock.acquire(blocking=False):
            self._disconnect()
            self._lock.release()

    def _disconnect(self) -> None:
        raw, self._raw = self._raw, None
        if raw is not None:
            with suppress(sqlite3.Error):
                raw.close()


def _join_rows(sql: str, rows: Sequence[Sequence[Any]]) -> Iterator[Statement]:
    """Yield the statement with its rows. Rows of an INSERT … SELECT are inserted together.

    The driver gives up Python's lock for each statement that it runs, and gets it back from the event loop by
    a change of threads, which costs more than the row does.
    """
    insert, found, select = sql.partition(" SELECT ")
    if not (found and insert.startswith("INSERT ")):
        yield sql, rows
        return
    at = 0
    while at < len(rows):
        # Powers of two, so that few statements are kept prepared.
        count = 1 << min(MAX_ROWS, len(rows) - at).bit_length() - 1
        yield _repeat(insert, select, count), [tuple(chain(*rows[at : at + count]))]
        at += count


@cache
def _repeat(insert: str, select: str, count: int) -> str:
    return f"{insert} {' UNION ALL '.join([f'SELECT {select}'] * count)}"


def _begin_immediate(raw: sqlite3.Connection, path: Path, busy_timeout_s: float) -> None:
    """Begin a transaction with the write lock, because a reader that begins to write later may have to fail.

    See https://www.sqlite.org/lang_transaction.html#deferred.
    """
    try:
        _wait_for_lock(raw, "BEGIN IMMEDIATE", busy_timeout_s)
    except sqlite3.OperationalError as error:
        raise explain(path, error) from error


def _wait_for_lock(raw: sqlite3.Connection, statement: str, busy_timeout_s: float) -> None:
    """Run a statement as soon as no lock of another connection is in its way.

    SQLite's own handler soon sleeps 100 ms between two attempts, so that a worker with a queue of logins
    starves another (1.3 s; this way: 0.3 s), and is not called if two connections might wait for each other
    (https://www.sqlite.org/c3ref/busy_handler.html). Raises sqlite3.OperationalError if the statement fails,
    or the lock is not free within `busy_timeout_s`.
    """
    raw.execute("PRAGMA busy_timeout = 0")
    deadline = time.monotonic() + busy_timeout_s
    while True:
        try:
            raw.execute(statement)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            # Random, so that two waiting connections do not always try at the same moment.
            time.sleep(random.uniform(0.0002, 0.002))  # noqa: S311 - no secret
        else:
            return


def explain(path: Path, error: Exception) -> StoreError:
    """Return an error that says in one line what a driver's error means for the operator."""
    origin = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(origin, "sqlite_errorcode", None)
    # The low byte is the primary code (https://www.sqlite.org/rescode.html#pve).
    cause = _CODES.get(code & 0xFF) if isinstance(code, int) else None
    return StoreError(f"the store {path}: {cause or origin}", cause or "its log says why")
