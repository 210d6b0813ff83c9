"""The rule of guests: who may look at a terminal of somebody else's, and who may type there. Pure.

A share holds while it lasts and its host may enter the app himself, by the credential that he shared
with. A rule of watching holds for whom it names. Neither is ever a right to enter.
"""

from dataclasses import replace

from stagedoor.authz.decide import authorise, best_rule, in_scope, known
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant, Guest
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy
from stagedoor.model.share import Share
from stagedoor.model.target import Target
from stagedoor.model.webpass import password_mark

OVER = "this share has ended; ask whoever shared the terminal for a new link"


def by_share(policy: Policy, identity: Identity, share_id: str, now: float) -> Grant | Denial:
    """What the share `share_id` lets `identity` do now.

    A share that is not there any more and one that never was are refused in the same words.
    """
    until = known(policy, identity, now)
    if isinstance(until, Denial):
        return until
    share = policy.shares.get(share_id)
    if share is None or share.expires_at <= now:
        return Denial(Reason.NO_GRANT, OVER)
    host = host_of(policy, share)
    basis = host if isinstance(host, Denial) else authorise(policy, host, share.target, now)
    if isinstance(basis, Denial):
        return Denial(Reason.NO_GRANT, f"{share.host} may not share this terminal any more")
    if not in_scope(identity.scopes, share.target):
        return _out_of_scope(identity)
    ends = [share.expires_at, basis.expires_at, until]
    own = authorise(policy, identity, share.target, now) if share.typing else None
    if isinstance(own, Grant):
        ends.append(own.expires_at)
    return Grant(
        identity,
        share.target,
        basis.rule_id,
        min(at for at in ends if at is not None),
        Guest(share.terminal, share.host, share.id, isinstance(own, Grant)),
    )


def by_rule(
    policy: Policy, identity: Identity, target: Target, terminal: str, host: str, now: float
) -> Grant | Denial:
    """Whether a rule of watching lets `identity` look at this terminal, which is reached as `host`."""
    until = known(policy, identity, now)
    if isinstance(until, Denial):
        return until
    user = policy.users[identity.name]
    rule = best_rule(policy.watch_rules, user, target, now)
    if rule is None:
        return Denial(
            Reason.NO_GRANT,
            f"no grant for {user.name!r} to watch {target} (an administrator gives one with: "
            f"stagedoor grant add user:{user.name} {target.app} --watch)",
        )
    if not in_scope(identity.scopes, target):
        return _out_of_scope(identity)
    ends = [at for at in (rule.expires_at, until) if at is not None]
    return Grant(identity, target, rule.id, min(ends, default=None), Guest(terminal, host, None))


def again(policy: Policy, grant: Grant, now: float) -> Grant | Denial:
    """Judge somebody who is in, by what let him in."""
    guest = grant.guest
    if guest is None:
        return authorise(policy, grant.identity, grant.target, now)
    if guest.share is None:
        return by_rule(policy, grant.identity, grant.target, guest.terminal, guest.host, now)
    verdict = by_share(policy, grant.identity, guest.share, now)
    if isinstance(verdict, Grant) and verdict.guest != guest:
        if guest.may_type:
            return Denial(Reason.NO_GRANT, "you may not type here any more; you may look again")
        # He could type now; he came to look, and goes on looking.
        return replace(verdict, guest=guest)
    return verdict


def host_of(policy: Policy, share: Share) -> Identity | Denial:
    """Who shares, by what he had shown then; refused if the password is another by now."""
    user = policy.users.get(share.host)
    if user is None:
        return Denial(Reason.NO_GRANT, OVER)
    by_password = share.method is Method.PASSWORD
    if by_password and password_mark(user.password_hash) != share.password_mark:
        return Denial(Reason.NO_GRANT, OVER)
    return Identity(
        user.name,
        user.groups,
        share.method,
        share.credential_id,
        share.scopes,
        user.password_hash if by_password else None,
    )


def _out_of_scope(identity: Identity) -> Denial:
    shown = ", ".join(identity.scopes or ()) or "none"
    return Denial(
        Reason.NO_GRANT, f"this is another app's than you may come to now (scopes: {shown})"
    )
