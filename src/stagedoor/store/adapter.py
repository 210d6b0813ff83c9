"""The interface to a kind of database. SQLite's adapter is in `sqlite`, PostgreSQL's in `postgresql`."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from sqlalchemy import Engine

from stagedoor.model.errors import StoreError

Statement = tuple[str, Sequence[Sequence[Any]]]
"""An SQL statement, and the rows of parameters. It is run once for each row."""


class Adapter(Protocol):
    """The operations that differ between databases. The rest of this package is the same for all."""

    name: str
    """The store's name in messages; never with a secret."""
    shared: bool
    """Whether gateways on other machines may use the same store."""
    errors: tuple[type[Exception], ...]
    """The errors that its driver raises, which `explain` turns into messages."""
    hint: str
    """The advice in the message for a database that is not Stagedoor's."""
    reading: Engine
    writing: Engine
    """The engine for transactions that write. They run one after the other, across all processes and
    machines: rows that one has read do not change before it writes, and `seq` grows in the order of the
    commits. The execution option `stagedoor_hasty` lets a commit return before it is on the disk, and
    `stagedoor_revokes` says that rights are taken away, which must work on a full disk."""

    def check_in_place(self) -> None:
        """Raise StoreError if a write would no longer reach the store that was opened."""

    def write_rows(self, statements: Iterable[Statement]) -> None:
        """Write all rows in one transaction that survives a power cut. Raises one of `errors`, StoreError."""

    def explain(self, error: Exception) -> StoreError:
        """Return an error that says in one line what `error` means to an operator."""

    def close(self) -> None:
        """Close every connection, without waiting for a write that hangs."""
