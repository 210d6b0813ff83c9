"""Dumping a store into one file while gateways use it, and loading it again."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from stagedoor.model.errors import RefusedError, StoreError
from stagedoor.settings.store_location import StoreLocation, StoreServer
from stagedoor.store.sqlite.file import explain, prepare_file

_LIMIT_S = 6 * 3600
"""The time limit for a PostgreSQL program: one that takes longer is considered hung."""


def find_store_kind(location: StoreLocation) -> str:
    """Return `sqlite` or `postgresql`."""
    return "sqlite" if isinstance(location, Path) else "postgresql"


def dump(location: StoreLocation, into: Path) -> None:
    """Write the whole store into a new file with mode 0600. Raises StoreError.

    Raises OSError if the file cannot be created.
    """
    os.close(os.open(into, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    if isinstance(location, Path):
        _copy(location, into)
    else:
        _run("pg_dump", location, ["--format=custom", f"--file={into}"])


def load(location: StoreLocation, file: Path, *, replace: bool) -> None:
    """Load a dump into an empty PostgreSQL database, or with `replace` over an existing store.

    The caller puts the file of a SQLite store in its place. Raises StoreError.
    """
    assert isinstance(location, StoreServer), "a SQLite store is a file"
    options = ["--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"]
    _run(
        "pg_restore",
        location,
        [*options, *(["--clean", "--if-exists"] if replace else []), str(file)],
    )


def _copy(location: Path, into: Path) -> None:
    """Copy a SQLite store with SQLite's backup API, in one step. Writers continue in the write-ahead log.

    `into` is an empty file.
    """
    # This refuses a link that the gateway's account has planted there.
    prepare_file(location, create=False)
    try:
        with (
            closing(sqlite3.connect(f"{location.absolute().as_uri()}?mode=rw", uri=True)) as source,
            closing(sqlite3.connect(into)) as target,
        ):
            source.backup(target)
            # One file without a log beside it. The gateway switches WAL on again.
            target.execute("PRAGMA journal_mode = DELETE")
            state = target.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise explain(location, error) from error
    if state != "ok":
        raise StoreError(
            f"the store {location} is damaged ({state}); restore it from an older backup"
        )


def _run(program: str, server: StoreServer, arguments: Sequence[str]) -> None:
    """Run a program of PostgreSQL. Raises StoreError, and RefusedError if it is not installed."""
    if shutil.which(program) is None:
        raise RefusedError(
            f"{program} is not installed; install PostgreSQL's client programs (Debian: "
            "apt-get install postgresql-client), of the server's version or newer"
        )
    # Imported here, because the driver is an extra.
    from psycopg.conninfo import make_conninfo

    from stagedoor.store.postgresql.link import read_parameters

    keywords = read_parameters(server)
    password = keywords.pop("password", None)
    environment = dict(os.environ) | ({} if password is None else {"PGPASSWORD": password})
    try:
        done = subprocess.run(
            [program, f"--dbname={make_conninfo(**keywords)}", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        raise StoreError(
            f"the store {server}: {program}: it was still running after {_LIMIT_S} s"
        ) from None
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["it does not say why"])[0]
        raise StoreError(f"the store {server}: {program}: {why[:300]}")
