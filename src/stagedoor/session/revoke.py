"""Who has to leave: a live session held against the policy as it is now. Pure."""

from typing import NamedTuple

from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.permission import Permission, not_granted
from stagedoor.model.session import End


class Removal(NamedTuple):
    """Why a session is closed from outside, and the line that its person is told."""

    end: End
    detail: str


def needed(permission: Permission | None, decision: Grant | Denial) -> Grant | Denial:
    """`decision`, unless it does not permit what a session is for; None: being in is enough."""
    if permission is None or isinstance(decision, Denial) or permission in decision.permissions:
        return decision
    return not_granted(permission, decision.identity.name, decision.target)


def removal(grant: Grant, decision: Grant | Denial, now: float) -> Removal | None:
    """None if the session that is in by `grant` may stay.

    `decision` is what authz says of the same identity and target now. A session outlives the rule
    that let it in when another rule covers it: then `decision` is what it is in by from now on.
    """
    if isinstance(decision, Grant):
        return None
    if grant.expires_at is not None and grant.expires_at <= now:
        sign_in = grant.identity.sign_in
        if grant.guest or (sign_in is not None and sign_in.ends_at <= now):
            return Removal(End.EXPIRED, decision.line)
        return Removal(End.EXPIRED, f"the grant to enter {grant.target} has expired")
    return Removal(End.REVOKED, decision.line)
