"""The form of tokens: `sdt_<id>_<secret>`.

The prefix lets secret scanners find leaked tokens. The id is public: the audit and `stagedoor token list`
show it. The secret has 256 bits, so a fast hash suffices to store it, and guesses need no throttle.
"""

import re
import secrets
from dataclasses import dataclass, field

from stagedoor.model.secret import hash_secret

PREFIX = "sdt_"
_FORM = re.compile(r"sdt_([a-z0-9]{4,32})_([A-Za-z0-9_-]{32,128})")
_ID_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # without l, o, 0 and 1, which are easily misread


@dataclass(frozen=True, slots=True)
class MintedToken:
    """A new token. `text` is shown to its owner once, and the store keeps `secret_hash`."""

    id: str
    text: str = field(repr=False)
    secret_hash: bytes = field(repr=False)


def parse_token_id(text: str) -> str | None:
    """Return the public id in a token, or None if `text` does not have a token's form."""
    match = _FORM.fullmatch(text)
    return match[1] if match else None


def mint() -> MintedToken:
    """Make a new token."""
    new_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(10))
    text = f"{PREFIX}{new_id}_{secrets.token_urlsafe(32)}"
    return MintedToken(new_id, text, hash_secret(text))
