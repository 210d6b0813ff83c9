"""The last output of a terminal: its bytes by their offsets, and how they are prepared to be shown again.

A terminal answers queries as if its user had typed the answer. If old output contained queries, the terminal
of a later client would answer them again, to whatever program runs by then.

Sources: ECMA-48 §8.3; "XTerm Control Sequences" (ctlseqs).
"""

import re


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
        """Append bytes."""
        self._bytes += data

    def read(self, at: int, most: int) -> bytes:
        """Return up to `most` bytes from the offset `at` on. Raises IndexError if they are not kept."""
        if not self.start <= at <= self.end:
            raise IndexError(f"{at} is not within {self.start} to {self.end}")
        begin = at - self.start
        return bytes(self._bytes[begin : begin + most])

    def keep(self, most: int, needed: int) -> None:
        """Drop what is older than the last `most` bytes, but nothing from the offset `needed` on."""
        first = max(min(self.end - most, needed), self.start)
        # A bytearray drops its beginning without copying the rest.
        del self._bytes[: first - self.start]
        self.start = first


_QUERY = re.compile(
    rb"\x1b(?:"
    rb"\[[?>=<]?[0-9;:]*[ -/]*[cntx]"  # DA, DSR, XTWINOPS, DECREQTPARM
    rb"|\[[?>=<]?[0-9;:]*\$p"  # DECRQM
    rb"|\[>[0-9;]*q"  # XTVERSION
    rb"|\[\?u"  # the keyboard's flags
    rb"|\](?!8;)[^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC except links: titles, colours, the clipboard
    rb"|(?:P(?![0-9;]*q)|[_^X])[^\x1b]*\x1b\\"  # DCS except sixel pictures, APC, PM, SOS
    rb"|Z"  # DECID
    rb")|\x05"  # ENQ
)


def drop_queries(data: bytes) -> bytes:
    """Return `data` without queries, clipboard writes, titles, and device strings except sixel pictures."""
    return _QUERY.sub(b"", data)


def drop_partial_line(data: bytes) -> bytes:
    """Return `data` after its first newline, or nothing if there is none.

    The result does not begin in the middle of a character or control sequence.
    """
    return data[data.find(b"\n") + 1 :] if b"\n" in data else b""
