"""The last bytes of an endless stream, by their offsets."""


class Ring:
    """Keeps the bytes from `start` to `end`. `release` and `limit` let the oldest go."""

    __slots__ = ("_bytes", "start")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.start = 0

    @property
    def end(self) -> int:
        return self.start + len(self._bytes)

    def append(self, data: bytes) -> None:
        self._bytes += data

    def read(self, at: int, most: int) -> bytes:
        """At most `most` bytes from offset `at` on. Raises IndexError where they are not kept."""
        if not self.start <= at <= self.end:
            raise IndexError(f"{at} is not within {self.start} to {self.end}")
        begin = at - self.start
        return bytes(self._bytes[begin : begin + most])

    def keep(self, most: int, needed: int) -> None:
        """Let go of what is older than the last `most` bytes, but of nothing from `needed` on."""
        first = max(min(self.end - most, needed), self.start)
        # A bytearray gives up its beginning without copying the rest.
        del self._bytes[: first - self.start]
        self.start = first
