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
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
