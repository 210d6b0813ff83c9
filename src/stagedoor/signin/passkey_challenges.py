"""The gateway's challenges to passkeys.

Each answer is to a challenge, which the answer uses up. A challenge is bound to its purpose, the user, and
the browser's sign-in, so an answer that was overheard, or given for something else, is refused.
"""

import secrets

from stagedoor.admin.blocking import call_blocking
from stagedoor.admin.context import WorkerContext
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.passkey import CHALLENGE_S, Challenge, ChallengeKind
from stagedoor.model.pending_step_up import PendingStepUp
from stagedoor.store.database import Transaction
from stagedoor.store.sign_in import passkeys as stored

MAX_CHALLENGES = 10_000
MAX_STRANGERS = 1000
"""Challenges for signing in, counted apart so that strangers take no room from users who are signed in. One
more replaces the oldest. At 20 a second, from 100 addresses or 25 IPv6 /48s (`START_RATE`), a challenge waits
for 50 s before it is the oldest."""
_CHALLENGE_BYTES = 32
_NO_SIGN_IN = Denial(
    Reason.NO_GRANT,
    "only a person who has signed in on the WebShell's page can use a passkey there",
)


async def create_challenge(
    context: WorkerContext,
    purpose: ChallengeKind,
    identity: Identity,
    waiting: PendingStepUp | None = None,
) -> bytes | Denial:
    """Create a challenge (32 bytes) for a person who is signed in. A store that fails is a Denial.

    With `waiting`, its answer proves the sign-in of that step-up's terminal.
    """
    if (denial := context.count_change(identity)) is not None:
        return denial
    if (denial := check_passkey_user(identity)) is not None:
        return denial
    assert identity.sign_in is not None, "it is a person's"
    step_up = None if waiting is None else waiting.id
    expires_at = context.now() + CHALLENGE_S
    record = Challenge(purpose, expires_at, identity.name, identity.sign_in.id, step_up)
    return await _store(context, record, MAX_CHALLENGES)


async def create_challenge_for_stranger(context: WorkerContext) -> bytes | Denial:
    """Create a challenge (32 bytes) with which a user who is not known yet signs in."""
    record = Challenge(ChallengeKind.SIGN_IN, context.now() + CHALLENGE_S)
    return await _store(context, record, MAX_STRANGERS)


async def _store(context: WorkerContext, record: Challenge, most: int) -> bytes | Denial:
    challenge, now = secrets.token_bytes(_CHALLENGE_BYTES), context.now()
    add = stored.add_challenge
    return await call_blocking(add, context.database, challenge, record, now, most) or challenge


def take_challenge(
    transaction: Transaction,
    challenge: bytes,
    purpose: ChallengeKind,
    identity: Identity,
    now: float,
) -> Challenge | None:
    """Use up a challenge and return it, so that it cannot be answered again.

    Return None if it is not for this sign-in or this purpose, or if it was answered before.
    """
    pending = stored.find_challenge(transaction, challenge, now)
    own = None if identity.sign_in is None else identity.sign_in.id
    if pending is None or pending.purpose is not purpose:
        return None
    if pending.user != identity.name or pending.sign_in is None or pending.sign_in != own:
        return None
    return pending if stored.take_challenge(transaction, challenge) else None


def check_passkey_user(identity: Identity) -> Denial | None:
    """Return why the identity of a token or a program may use no passkey; None for a person's sign-in."""
    return None if identity.is_person and identity.sign_in is not None else _NO_SIGN_IN
