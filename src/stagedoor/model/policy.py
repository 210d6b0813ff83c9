"""The whole policy at one moment, as it is held in memory by every worker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from stagedoor.model.grant import GrantRule
from stagedoor.model.share import Share


@dataclass(frozen=True, slots=True)
class User:
    """`password_hash` is an argon2 PHC string; None where the user has no password."""

    name: str
    groups: frozenset[str] = frozenset()
    password_hash: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token as stored: `id` is public, `secret_hash` is SHA-256 of the whole token (32 bytes)."""

    id: str
    user: str
    secret_hash: bytes = field(repr=False)
    scopes: tuple[str, ...] | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A registered public key: `public_key` is `type base64` without options or comment."""

    user: str
    fingerprint: str
    public_key: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """Users by name, tokens by id, keys by fingerprint (`SHA256:…`), shares by id; rules in order of id.

    `grants` let somebody enter; `watch_rules` let somebody look at terminals, and never enter.
    `signed_out` are the sign-ins (`model.identity.SignIn`) that were ended before their time.
    """

    version: int = 0
    users: Mapping[str, User] = field(default_factory=lambda: MappingProxyType({}))
    tokens: Mapping[str, TokenRecord] = field(default_factory=lambda: MappingProxyType({}))
    keys: Mapping[str, KeyRecord] = field(default_factory=lambda: MappingProxyType({}))
    grants: tuple[GrantRule, ...] = ()
    shares: Mapping[str, Share] = field(default_factory=lambda: MappingProxyType({}))
    watch_rules: tuple[GrantRule, ...] = ()
    signed_out: frozenset[bytes] = frozenset()
