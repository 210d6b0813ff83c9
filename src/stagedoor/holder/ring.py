"""The last bytes of a stream, by their offsets from its first byte."""


class Ring:
    """A buffer of the bytes from offset `start` to offset `end`. `keep` drops the oldest."""

    __slots__ = ("_bytes", "start")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.start = 0

    @property
    def end(self) -> int:
        """The offset after the last byte."""
        return self.start + len(self._bytes)

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        self._bytes += data

    def read(self, at: int, most: int) -> bytes:
        """Return at most `most` bytes from offset `at` on. Raises IndexError if they are not kept."""
        if not self.start <= at <= self.end:
            raise IndexError(f"{at} is not within {self.start} to {self.end}")
        begin = at - self.start
        return bytes(self._bytes[begin : begin + most])

    def keep(self, most: int, needed: int) -> None:
        """Drop what is older than the last `most` bytes, but nothing from offset `needed` on."""
        first = max(min(self.end - most, needed), self.start)
        # A bytearray drops its beginning without copying the rest.
        del self._bytes[: first - self.start]
        self.start = first
