"""What a kind of database brings to the store: SQLite's is in `sqlite`, PostgreSQL's in `postgresql`."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from sqlalchemy import Engine

from stagedoor.model.errors import StoreError

Statement = tuple[str, Sequence[Sequence[Any]]]
"""SQL, and the rows of parameters for each of which it is run."""


class Adapter(Protocol):
    """What a kind of database brings. Everything else in this package is the same for all."""

    name: str
    """What messages call the store; never with a secret."""
    shared: bool
    """Whether gateways on other machines may use the same store."""
    errors: tuple[type[Exception], ...]
    """What its driver raises, which `explain` knows."""
    hint: str
    """What else to name, where the database turns out to be somebody else's."""
    reading: Engine
    writing: Engine
    """Its transactions run one after the other, whichever process and machine they are of: what
    one has read is still so when it writes, and `seq` grows in the order of the commits. The
    execution option `stagedoor_hasty` lets a commit return before it is on the disk, and
    `stagedoor_revokes` says that rights are taken away, which must work on a full disk."""

    def check_in_place(self) -> None:
        """Raises StoreError if what would be written to is not the store that was opened."""

    def write_rows(self, statements: Iterable[Statement]) -> None:
        """All in one transaction that survives a power cut. Raises one of `errors`, StoreError."""

    def explain(self, error: Exception) -> StoreError:
        """Say in one line what an error means for the operator."""

    def close(self) -> None:
        """Close every connection; a write that hangs is not waited for."""
