"""Passkeys: WebAuthn credentials with which people prove their presence in a browser."""

from dataclasses import dataclass, field
from enum import StrEnum

CHALLENGE_S = 300.0
"""The time that users have to find their phone or security key."""


class ChallengeKind(StrEnum):
    """The purposes of challenges. An answer to one purpose is invalid for another."""

    REGISTER = "register"
    STEP_UP = "step-up"
    SIGN_IN = "sign-in"


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """The relying party that passkeys are created for (WebAuthn Level 3 §4).

    `id` is a host name; the host of `origin` (`https://shell.example.com`) is that name or below it.
    """

    id: str
    origin: str


@dataclass(frozen=True, slots=True)
class PasskeyRecord:
    """A stored passkey.

    `id` is a digest of the credential's own id, and not secret; `name` is the one that its owner gave it.
    `credential` is WebAuthn's attested credential data (§6.5.1), with the public key. `sign_count` is the
    counter of its last signature, 0 for authenticators that do not count. Times are seconds since the epoch;
    `used_at` is None before the first use.
    """

    id: str
    user: str
    name: str
    rp_id: str
    credential: bytes = field(repr=False)
    sign_count: int
    created_at: float
    used_at: float | None = None


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge that was sent to a browser.

    Only `user` with the sign-in `sign_in` may answer it; both are None before sign-in. `step_up` is the
    id of the pending step-up that the proof is for, None for the browser's own sign-in.
    """

    purpose: ChallengeKind
    expires_at: float
    user: str | None = None
    sign_in: bytes | None = field(default=None, repr=False)
    step_up: str | None = None
