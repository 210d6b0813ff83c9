"""What somebody else wrote, on one line that any terminal and database can take. Pure."""


def escaped(text: str) -> str:
    """`text` on one line with nothing left out: what cannot be printed stands as `\\xNN` or `\\uNNNN`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str, limit: int) -> str:
    """`text` in at most `limit` characters; what was cut off leaves an ellipsis.

    A lone surrogate would make an event unwritable for ever, and an escape sequence would speak to the
    terminal that shows it.
    """
    return printable(text if len(text) <= limit else text[: limit - 1] + "…")


def printable(text: str) -> str:
    """`text` with a mark for each character that is not."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def is_word(text: str) -> bool:
    """Whether it can be the name of a row: one that was made up may have what no database takes (a NUL, a
    lone surrogate)."""
    return text.isascii() and text.isprintable()


def folded(text: str) -> str:
    """`text` with a space for all that is between its printable words, line ends among it."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
