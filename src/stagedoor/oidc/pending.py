"""Sign-ins in progress: the data that the gateway needs when the browser returns from the provider."""

from dataclasses import dataclass

import msgspec

from stagedoor.model.units import MINUTE_S
from stagedoor.oidc.request import Attempt

PENDING_S = 15 * MINUTE_S
"""The time that a person has to sign in at the provider; they may have to find their phone first."""


@dataclass(frozen=True, slots=True)
class LoginPrompt:
    """A request that the person authenticate again, after `begun_at` (seconds since the epoch).

    With a `sign_in` (its id, in hexadecimal) it is a step-up: it creates no sign-in, and the proof
    counts for that sign-in of `user`. `forget` is True if the provider reports the time of
    authentication only on request; then this one proof has to suffice for all later sign-ins.
    """

    begun_at: float
    user: str | None = None
    sign_in: str | None = None
    forget: bool = False


@dataclass(frozen=True, slots=True)
class Pending:
    """A sign-in in progress.

    `provider` is its name in the settings, `wanted` the path that the person requested, and `ends_at`
    seconds since the epoch. The browser keeps it, sealed: strangers who begin sign-ins use no memory,
    and any gateway with the key can finish one. `prompt` is None if any session at the provider is
    sufficient.
    """

    provider: str
    attempt: Attempt
    wanted: str
    ends_at: float
    prompt: LoginPrompt | None = None


def encode(pending: Pending) -> bytes:
    """Return the bytes of a pending sign-in, for sealing."""
    return msgspec.json.encode(pending)


def decode(data: bytes, now: float) -> Pending | None:
    """Parse bytes from `encode`. Return None if the sign-in has expired."""
    pending = msgspec.json.decode(data, type=Pending)
    return pending if now < pending.ends_at else None
