"""Stores that cost little, in this process: a new one of SQLite is a copy of one that is made once, and a
statement that was compiled for one store serves for all.

The program has one store in each process; the tests have thousands, and without this a quarter of what the
tests of the commands take. Tests of tests/store that open a new one themselves have it made as the program
does.
"""

import functools
import os
import tempfile
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy.engine import Engine
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.util import LRUCache

from stagedoor.store.database import open_database
from stagedoor.store.sqlite import file

STATEMENTS = 2000

_compiled: LRUCache[Hashable, object] = LRUCache(STATEMENTS)
_make_engine = Engine.__init__
_create = file._create


def install() -> None:
    """From now on, copy new stores and share compiled statements."""
    share_statements()
    file._create = _copy


def share_statements() -> None:
    """From now on, compile each statement once for all stores."""
    # What is compiled is kept by dialect, and each store has its own.
    DefaultDialect.__eq__ = _is_alike  # type: ignore[method-assign,assignment]
    DefaultDialect.__hash__ = _kind  # type: ignore[method-assign,assignment]
    Engine.__init__ = _engine  # type: ignore[method-assign,assignment]


@contextmanager
def made_step_by_step() -> Iterator[None]:
    """Meanwhile a new store is made as the program makes it."""
    before, file._create = file._create, _create
    try:
        yield
    finally:
        file._create = before


def _is_alike(one: DefaultDialect, other: object) -> bool:
    return type(one) is type(other)


def _kind(one: DefaultDialect) -> int:
    return hash(type(one))


def _engine(engine: Engine, *arguments: object, **named: object) -> None:
    _make_engine(engine, *arguments, **named)  # type: ignore[arg-type]
    engine._compiled_cache = _compiled  # type: ignore[assignment]


def _copy(path: Path, folder: os.stat_result) -> None:
    """As `file._create`, but with the tables in it."""
    if path.exists() or path.is_symlink():
        return
    made = path.with_name(f"{path.name}.{os.getpid()}.new")
    _create(made, folder)
    made.write_bytes(_made())
    with suppress(FileExistsError):
        os.link(made, path)
    made.unlink()


@functools.cache
def _made() -> bytes:
    with tempfile.TemporaryDirectory(prefix="stagedoor-") as folder, made_step_by_step():
        made = Path(folder) / "store"
        open_database(made).close()
        return made.read_bytes()
