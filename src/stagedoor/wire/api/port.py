"""The port by which commands administer a gateway: over its store, or over its API."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, BinaryIO, Protocol

from stagedoor.wire.api.inputs import Input

NOTHING: Mapping[str, str] = MappingProxyType({})


class Administration(Protocol):
    """The operations of a gateway's API, as `wire.api.operations` has them."""

    @property
    def is_shared(self) -> bool:
        """Return whether gateways on several machines share the store."""
        ...

    def call(
        self,
        name: str,
        path: Mapping[str, str] = NOTHING,
        query: Mapping[str, str] = NOTHING,
        body: Input | None = None,
    ) -> Any:
        """Perform an operation and return its answer. Raises StagedoorError.

        A change of a row is made to the row as the last `call` has read it.
        """
        ...

    def open_file(self, name: str, path: Mapping[str, str]) -> BinaryIO:
        """Perform an operation whose answer is a file, and return the file, opened. Raises StagedoorError."""
        ...

    def list_all(
        self, name: str, query: Mapping[str, str] = NOTHING, limit: int | None = None
    ) -> Iterator[Any]:
        """Yield the items of all pages of a list, or the first `limit` of them. Raises StagedoorError."""
        ...
