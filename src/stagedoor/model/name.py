"""The names of users and groups, and of runs' locks and sizes."""

import re

FORM = (
    "use 1 to 64 of a-z, 0-9, '_', '.', '@', '+' and '-', not beginning with one of the last four"
)
NAME = r"[a-z0-9_][a-z0-9_.@+-]{0,63}"
_NAME = re.compile(NAME, re.ASCII)
MAX_LOCK_CHARS = 40
_LOCK = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_LOCK_CHARS - 1}}}")


def is_valid_name(text: str) -> bool:
    """Return True if `text` may name a user or a group.

    Such a name needs no quoting in a certificate's principal (no comma), in Basic (no colon, RFC 7617
    §2), in sshd's files or in a file name.
    """
    return bool(_NAME.fullmatch(text))


def is_lock(name: str) -> bool:
    """Return True if `name` may name a lock or a size: letters, digits, and `.`, `_`, `-` after the first."""
    return _LOCK.fullmatch(name) is not None
