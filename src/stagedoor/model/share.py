"""A share: one terminal of somebody's, shown to users who have its link."""

from dataclasses import dataclass, field

from stagedoor.model.identity import Method
from stagedoor.model.target import Target


@dataclass(frozen=True, slots=True)
class Share:
    """As it is stored, but for its secret, of which `secret_hash` is the SHA-256 (32 bytes).

    `id` is public. `host` and what follows are of the identity that shares, as in
    `model.webpass.WebPass`: a share is worth no more than the credential behind it. `typing` lets
    those type who may enter the app themselves. `expires_at` is seconds since the epoch.
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
