"""The names of users and groups."""

import re

FORM = (
    "use 1 to 64 of a-z, 0-9, '_', '.', '@', '+' and '-', not beginning with one of the last four"
)
_NAME = re.compile(r"[a-z0-9_][a-z0-9_.@+-]{0,63}", re.ASCII)


def valid_name(text: str) -> bool:
    """Whether `text` may name a user or a group. Never a colon: Basic separates by it (RFC 7617 §2)."""
    return bool(_NAME.fullmatch(text))
