"""The names of users and groups."""

import re

FORM = (
    "use 1 to 64 of a-z, 0-9, '_', '.', '@', '+' and '-', not beginning with one of the last four"
)
NAME = r"[a-z0-9_][a-z0-9_.@+-]{0,63}"
_NAME = re.compile(NAME, re.ASCII)


def is_valid_name(text: str) -> bool:
    """Return True if `text` may name a user or a group.

    Such a name needs no quoting in a certificate's principal (no comma), in Basic (no colon, RFC 7617
    §2), in sshd's files or in a file name.
    """
    return bool(_NAME.fullmatch(text))
