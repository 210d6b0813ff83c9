"""The one range of bytes that is asked for of a file (RFC 9110 §14). Pure."""

import re
from dataclasses import dataclass

_RANGE = re.compile(r"bytes=(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`first` to `last`, both of them in it, of `size` bytes."""

    first: int
    last: int
    size: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1

    @property
    def header(self) -> str:
        """The value of Content-Range (§14.4)."""
        return f"bytes {self.first}-{self.last}/{self.size}"


class UnsatisfiableError(ValueError):
    """The range begins behind the end (§15.5.17)."""


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """What `header`, the value of Range, asks for of `size` bytes; None for all of it.

    What we do not understand counts as not said, as §14.2 allows: other units, and several ranges in
    one, which nobody needs. Raises UnsatisfiableError.
    """
    found = _RANGE.fullmatch((header or "").strip())
    if found is None or (not found["first"] and not found["last"]):
        return None
    if not found["first"]:
        length = int(found["last"])
        if length == 0 or size == 0:
            raise UnsatisfiableError
        return ByteRange(max(0, size - length), size - 1, size)
    first = int(found["first"])
    last = int(found["last"]) if found["last"] else size - 1
    if found["last"] and last < first:
        return None  # §14.1.1: not a valid range, so not said
    if first >= size:
        raise UnsatisfiableError
    return ByteRange(first, min(last, size - 1), size)
