"""The single byte range of a request for a file (RFC 9110 §14). Pure."""

import re
from dataclasses import dataclass

_RANGE = re.compile(r"bytes=(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes from `first` to `last`, both included, of `size` bytes."""

    first: int
    last: int
    size: int

    @property
    def length(self) -> int:
        """Return the number of bytes in the range."""
        return self.last - self.first + 1

    @property
    def header(self) -> str:
        """Return the value of Content-Range (§14.4)."""
        return f"bytes {self.first}-{self.last}/{self.size}"


class UnsatisfiableError(ValueError):
    """The range begins after the end of the file (§15.5.17)."""


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Parse `header`, the value of Range, for a file of `size` bytes. None stands for the whole file.

    Other units and lists of several ranges are ignored, as §14.2 allows; no client of ours needs them.
    Raises UnsatisfiableError.
    """
    match = _RANGE.fullmatch((header or "").strip())
    if match is None or (not match["first"] and not match["last"]):
        return None
    if not match["first"]:
        length = int(match["last"])
        if length == 0 or size == 0:
            raise UnsatisfiableError
        return ByteRange(max(0, size - length), size - 1, size)
    first = int(match["first"])
    last = int(match["last"]) if match["last"] else size - 1
    if match["last"] and last < first:
        return None  # §14.1.1: an invalid range is ignored
    if first >= size:
        raise UnsatisfiableError
    return ByteRange(first, min(last, size - 1), size)
