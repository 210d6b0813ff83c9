"""The splitting of bytes into lines. A watch sends a line of JSON for each event. Pure."""

from collections.abc import Iterator

from stagedoor.model.units import MIB

LINE_LIMIT_BYTES = 16 * MIB
"""The longest line. etcd accepts an object of 1.5 MiB by default, and JSON may be several times as long."""


class TooLongError(Exception):
    """A line is longer than the limit."""


class Lines:
    """A buffer that splits the bytes that it is fed into lines, without line ends, and keeps the rest."""

    def __init__(self, limit_bytes: int = LINE_LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that `data` completes; blank ones are skipped. Raises TooLongError."""
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
