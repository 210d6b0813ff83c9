"""A queue of bytes for one direction of a tunnel.

This module is part of the one-file client: standard library only, Python 3.8 or later.
"""

from __future__ import annotations

from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_BYTES = 64 * 1024
# Once a block of this size was freed, glibc keeps as much free memory (M_TRIM_THRESHOLD in mallopt(3)).
# Otherwise it returns memory to the system, and using it again costs page faults. The block is never touched.
bytes(2 * 1024 * 1024)


class ByteQueue:
    """Bytes that are added at the end and dropped at the beginning, in chunks that never change.

    Neither operation moves the other bytes; a bytearray would copy its 2 MiB after every few chunks. Two
    neighbours have more than CHUNK_BYTES together, so many small additions make few chunks.
    """

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._dropped = 0
        """How many bytes of the first chunk are dropped."""
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, data: bytes | memoryview) -> None:
        """Add bytes at the end."""
        chunks = self._chunks
        self._length += len(data)
        if chunks and len(chunks[-1]) + len(data) <= CHUNK_BYTES:
            chunks[-1] += data
        elif len(data) <= CHUNK_BYTES:
            chunks.append(bytes(data))
        else:
            for at in range(0, len(data), CHUNK_BYTES):
                chunks.append(bytes(data[at : at + CHUNK_BYTES]))

    def drop(self, count: int) -> None:
        """Drop the first `count` bytes."""
        self._length -= count
        self._dropped += count
        while self._chunks and self._dropped >= len(self._chunks[0]):
            self._dropped -= len(self._chunks.popleft())

    def peek(self) -> memoryview:
        """Return the first bytes, at most CHUNK_BYTES, and none of an empty queue."""
        return memoryview(self._chunks[0] if self._chunks else b"")[self._dropped :]

    def read(self, start: int, stop: int) -> Iterator[memoryview]:
        """Yield the bytes from `start` to `stop`, counted from the first one, in parts."""
        start, stop = start + self._dropped, stop + self._dropped
        for chunk in self._chunks:
            if stop <= 0:
                break
            if start < len(chunk):
                yield memoryview(chunk)[max(0, start) : stop]
            start, stop = start - len(chunk), stop - len(chunk)
