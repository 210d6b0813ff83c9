"""Shares: access to one terminal for users who have its link."""

from dataclasses import dataclass, field

from stagedoor.model.identity import Method
from stagedoor.model.target import Target


@dataclass(frozen=True, slots=True)
class Share:
    """A stored share, without its secret: `secret_hash` is the secret's SHA-256 (32 bytes).

    `id` is public. `host` and the other fields of the identity are those of the user who shares, as in
    `model.webpass.WebPass`, so a share gives no more than the credential behind it. With `typing`, guests who
    may enter the app themselves can type. `expires_at` is seconds since the epoch.
    """

    id: str
    secret_hash: bytes = field(repr=False)
    host: str
    method: Method
    target: Target
    terminal: str
    typing: bool
    expires_at: float
    credential_id: str | None = None
    scopes: tuple[str, ...] | None = None
    password_mark: bytes | None = field(default=None, repr=False)
