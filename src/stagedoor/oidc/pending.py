"""A sign-in under way: what the gateway has to know again when the browser comes back."""

from dataclasses import dataclass
from typing import Any

import msgspec

from stagedoor.model.units import MINUTE_S
from stagedoor.oidc.request import Attempt

PENDING_S = 15 * MINUTE_S
"""For a person to sign in at the provider, who may have to find their phone first."""


@dataclass(frozen=True, slots=True)
class Pending:
    """`provider` is its name here; `wanted` the path that the person asked for; `ends_at` seconds since the
    epoch. Kept by the browser, sealed: so a stranger who begins sign-ins costs no memory, and any
    gateway that has the key can finish one."""

    provider: str
    attempt: Attempt
    wanted: str
    ends_at: float


def encode(pending: Pending) -> bytes:
    attempt = pending.attempt
    return msgspec.json.encode(
        [
            pending.provider,
            attempt.state,
            attempt.nonce,
            attempt.verifier,
            pending.wanted,
            pending.ends_at,
        ]
    )


def decode(data: bytes, now: float) -> Pending | None:
    """Of what `encode` made; None if its time is over."""
    provider, state, nonce, verifier, wanted, ends_at = _fields(data)
    if ends_at <= now:
        return None
    return Pending(provider, Attempt(state, nonce, verifier), wanted, ends_at)


def _fields(data: bytes) -> Any:
    return msgspec.json.decode(data, type=tuple[str, str, str, str, str, float])
