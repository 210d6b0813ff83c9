"""A step-up, for which a terminal waits while its user proves their presence in a browser. Pure.

A link sent to another person is useless: the proof counts for the sign-in that needs it, and requires
the letters that its terminal shows (as in `model.pending_login`; RFC 8628 §5.4).
"""

import hmac
from dataclasses import dataclass, field, replace

from stagedoor.model.errors import RefusedError
from stagedoor.model.letters import hash_letters
from stagedoor.model.pending_login import LOGIN_PENDING_S, TRIES

STEP_UP_PENDING_S = LOGIN_PENDING_S
STEP_UP_OVER = "nothing waits for a confirmation here any more; connect again"


@dataclass(frozen=True, slots=True)
class PendingStepUp:
    """A step-up before it is completed, as the store keeps it.

    `id` is part of the page's address. The proof is for the sign-in with the id `sign_in`, which is `user`'s.
    `target` is the first app that required it; `label` and `source` (a network) describe the machine. Times
    are seconds since the epoch.
    """

    id: str
    sign_in: bytes = field(repr=False)
    user: str
    target: str
    label: str
    source: str
    letters_hash: bytes = field(repr=False)
    created_at: float
    ends_at: float
    tries_left: int = TRIES


def is_open(step_up: PendingStepUp | None, user: str, now: float) -> bool:
    """Return True if `user` can still complete the step-up."""
    return (
        step_up is not None
        and step_up.user == user
        and now < step_up.ends_at
        and step_up.tries_left > 0
    )


def try_letters(step_up: PendingStepUp, letters: str) -> tuple[bool, PendingStepUp]:
    """Check letters, and return whether they are right, with the step-up, which loses a try if not.

    Raises RefusedError if no try is left.
    """
    if step_up.tries_left <= 0:
        raise RefusedError(STEP_UP_OVER)
    right = hmac.compare_digest(hash_letters(step_up.id, letters), step_up.letters_hash)
    return right, step_up if right else replace(step_up, tries_left=step_up.tries_left - 1)
