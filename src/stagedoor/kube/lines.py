"""Bytes to lines, of JSON for each event of a watch. Pure."""

from collections.abc import Iterator

from stagedoor.model.units import MIB

LINE_LIMIT_BYTES = 16 * MIB
"""etcd takes an object of 1.5 MiB by default, and JSON may be some times as long."""


class TooLongError(Exception):
    """A line has no end."""


class Lines:
    """Feed it what comes; it yields each whole line without its end, and keeps the rest."""

    def __init__(self, limit_bytes: int = LINE_LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that `data` ends; empty ones are passed over. Raises TooLongError."""
        if b"\n" not in data:
            self._rest += data
            self._check(len(self._rest))
            return
        first, *others = data.split(b"\n")
        self._rest += first
        self._check(len(self._rest))
        whole = bytes(self._rest)
        self._rest = bytearray(others.pop())
        for line in (whole, *others):
            if line.strip():
                yield line

    def _check(self, length: int) -> None:
        if length > self._limit:
            raise TooLongError(f"a line of more than {self._limit} bytes")
