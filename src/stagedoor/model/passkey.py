"""Passkeys: WebAuthn credentials, by which people prove in a browser that they are there."""

from dataclasses import dataclass, field
from enum import StrEnum

CHALLENGE_S = 300.0
"""For a person to find their phone or security key."""


class ChallengeKind(StrEnum):
    """What a challenge is for. The answer to one is worth nothing for another."""

    REGISTER = "register"
    STEP_UP = "step-up"
    SIGN_IN = "sign-in"


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """Whom passkeys are made for (WebAuthn Level 3 §4): `id` is a host name, at which or below which `origin`
    is (`https://shell.example.com`)."""

    id: str
    origin: str


@dataclass(frozen=True, slots=True)
class PasskeyRecord:
    """A passkey as it is stored. `id` is a digest of the credential's own id, and no secret; `name` is what
    its person calls it. `credential` is WebAuthn's attested credential data (§6.5.1), with the public key;
    `sign_count` is the counter of its last signature, 0 for authenticators that do not count. Times are
    seconds since the epoch; `used_at` is None before the first use.
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
    """A question that was put to a browser: `user` and `sign_in` are whose answer counts, None where nobody
    has signed in yet. `step_up` is the id of the wait that the proof is for, None for the browser's own
    sign-in."""

    purpose: ChallengeKind
    expires_at: float
    user: str | None = None
    sign_in: bytes | None = field(default=None, repr=False)
    step_up: str | None = None
