"""Foreign text on one line that any terminal and database accepts. Pure."""


def escape(text: str) -> str:
    r"""Return `text` on one line and complete: unprintable characters become `\xNN` or `\uNNNN`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def to_one_line(text: str, limit: int) -> str:
    """Return `text` in at most `limit` characters, ending in an ellipsis if it was cut.

    Unprintable characters are replaced: a lone surrogate could never be written to the audit, and an
    escape sequence would control the terminal that shows it.
    """
    return replace_unprintable(text if len(text) <= limit else text[: limit - 1] + "…")


def replace_unprintable(text: str, kept: str = "") -> str:
    """Return `text` with U+FFFD in place of each unprintable character that is not in `kept`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else "\N{REPLACEMENT CHARACTER}" for c in text)


def clean_lines(text: str) -> str:
    """Return lines of foreign text for a terminal: only their ends and tabs are kept as they are."""
    return replace_unprintable(text.replace("\r\n", "\n"), kept="\n\t")


def is_word(text: str) -> bool:
    """Return True if `text` can be the name of a row.

    A made-up name may contain characters that no database accepts (a NUL, a lone surrogate).
    """
    return text.isascii() and text.isprintable()


def fold(text: str) -> str:
    """Return `text` with a single space for each run of white space, line ends and unprintable characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
