"""A sign-in under way: what the gateway has to know again when the browser comes back."""

from dataclasses import dataclass
from typing import Any

import msgspec

from stagedoor.model.units import MINUTE_S
from stagedoor.oidc.request import Attempt

_Encoded = tuple[str, str, str, str, str, float, tuple[float, str | None, str | None, bool] | None]
PENDING_S = 15 * MINUTE_S
"""For a person to sign in at the provider, who may have to find their phone first."""


@dataclass(frozen=True, slots=True)
class LoginPrompt:
    """The person has to prove themselves there once more, after `begun_at`, seconds since the epoch.

    With a `sign_in` (its id, in hexadecimal) it is a step-up: nobody is signed in, and the proof counts for
    that sign-in, which is `user`'s. `forget`: the provider says when only where it is asked, so this one
    proof has to be enough for all later sign-ins.
    """

    begun_at: float
    user: str | None = None
    sign_in: str | None = None
    forget: bool = False


@dataclass(frozen=True, slots=True)
class Pending:
    """`provider` is its name here; `wanted` the path that the person asked for; `ends_at` seconds since the
    epoch. Kept by the browser, sealed: so a stranger who begins sign-ins costs no memory, and any
    gateway that has the key can finish one. `again` is None where any session at the provider will do."""

    provider: str
    attempt: Attempt
    wanted: str
    ends_at: float
    again: LoginPrompt | None = None


def encode(pending: Pending) -> bytes:
    attempt, again = pending.attempt, pending.again
    return msgspec.json.encode(
        [
            pending.provider,
            attempt.state,
            attempt.nonce,
            attempt.verifier,
            pending.wanted,
            pending.ends_at,
            None if again is None else [again.begun_at, again.user, again.sign_in, again.forget],
        ]
    )


def decode(data: bytes, now: float) -> Pending | None:
    """Of what `encode` made; None if its time is over."""
    provider, state, nonce, verifier, wanted, ends_at, again = _fields(data)
    if ends_at <= now:
        return None
    asked = None if again is None else LoginPrompt(*again)
    return Pending(provider, Attempt(state, nonce, verifier), wanted, ends_at, asked)


def _fields(data: bytes) -> Any:
    return msgspec.json.decode(data, type=_Encoded)
