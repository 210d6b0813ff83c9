"""A terminal that waits for its person to prove in a browser that they are there. Pure.

A link that is sent to somebody else is worth nothing: the proof counts for the sign-in that asked, and
takes the letters that its terminal shows (as `model.pending_login`; RFC 8628 §5.4).
"""

import hmac
from dataclasses import dataclass, field, replace

from stagedoor.model.errors import RefusedError
from stagedoor.model.letters import letters_digest
from stagedoor.model.pending_login import PENDING_S as PENDING_S
from stagedoor.model.pending_login import TRIES

OVER = "nothing waits for a proof here any more; connect again"


@dataclass(frozen=True, slots=True)
class PendingStepUp:
    """`id` is in the page's address. `sign_in` is the id of the one that the proof is for, `user`'s.
    `target` is the app that asked first, `label` and `source` (a network) are the machine's. Times are
    seconds since the epoch."""

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


def lasts(step_up: PendingStepUp | None, user: str, now: float) -> bool:
    """Whether it can still be proved, by that user."""
    return (
        step_up is not None
        and step_up.user == user
        and now < step_up.ends_at
        and step_up.tries_left > 0
    )


def try_letters(step_up: PendingStepUp, letters: str) -> tuple[bool, PendingStepUp]:
    """Whether they are right, and with one try less if not. Raises RefusedError where none is left."""
    if step_up.tries_left <= 0:
        raise RefusedError(OVER)
    right = hmac.compare_digest(letters_digest(step_up.id, letters), step_up.letters_hash)
    return right, step_up if right else replace(step_up, tries_left=step_up.tries_left - 1)
