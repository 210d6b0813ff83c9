"""The rule of guests: whether a user may watch another user's terminal, and type there. Pure.

A share is valid until its end, as long as its host may enter the app with the credential that the host shared
it with. A grant to watch is valid for the users that it names. Neither permits entry, and a guest has no
other permission. If the host's grants or the guest's own require recording, the guest's terminal is recorded.
Guests do not start the clock of an access request, so a request whose time has not begun does not count here.
"""

from dataclasses import replace

from stagedoor.authz.decide import (
    authorise,
    combine_permissions,
    find_earlier_end,
    find_earliest,
    find_longest,
    is_in_scope,
    list_matching,
)
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant, Guest
from stagedoor.model.identity import Identity, Method
from stagedoor.model.permission import Permission, make_permission_denial
from stagedoor.model.policy import Policy
from stagedoor.model.share import Share
from stagedoor.model.target import Target
from stagedoor.model.webpass import hash_password_mark

RECORDED = frozenset({Permission.RECORD})
"""The only permission that a guest's grant may have."""
SHARE_OVER = Denial(
    Reason.NO_GRANT,
    "this share has ended; ask the person who shared the terminal for a new link",
)


def authorise_share(
    policy: Policy, identity: Identity, share_id: str, now: float
) -> Grant | Denial:
    """Return what the share `share_id` permits `identity` now, or a denial.

    A share that has ended and one that never existed are refused in the same words.
    """
    until = policy.check_credential(identity, now)
    if isinstance(until, Denial):
        return until
    share = policy.shares.get(share_id)
    if share is None or share.expires_at <= now:
        return SHARE_OVER
    host = identify_host(policy, share)
    basis = (
        host
        if isinstance(host, Denial)
        else authorise(policy, host, share.target, now, includes_unbegun=False)
    )
    if isinstance(basis, Denial):
        return Denial(Reason.NO_GRANT, f"{share.host} may no longer share this terminal")
    if not is_in_scope(identity.scopes, share.target):
        return _out_of_scope(identity)
    own = (
        authorise(policy, identity, share.target, now, includes_unbegun=False)
        if share.typing
        else None
    )
    may_type = isinstance(own, Grant)
    ends_at = find_earliest(
        share.expires_at,
        basis.expires_at,
        until,
        own.expires_at if isinstance(own, Grant) else None,
    )
    user = policy.users[identity.name]
    rules = (
        *list_matching(policy, policy.users[share.host], share.target, now, includes_unbegun=False),
        *list_matching(policy, user, share.target, now, includes_unbegun=False),
    )
    return Grant(
        identity,
        share.target,
        basis.rule_id,
        ends_at,
        Guest(share.terminal, share.host, share.id, may_type),
        combine_permissions(rules) & RECORDED,
        find_earlier_end(rules, ends_at),
    )


def authorise_watching(
    policy: Policy,
    identity: Identity,
    target: Target,
    terminal: str,
    host: str,
    now: float,
) -> Grant | Denial:
    """Return a grant if a rule permits `identity` to watch this terminal, which belongs to `host`."""
    until = policy.check_credential(identity, now)
    if isinstance(until, Denial):
        return until
    user = policy.users[identity.name]
    rules = list_matching(policy, user, target, now, includes_unbegun=False)
    rule = find_longest(rules, Permission.WATCH)
    if rule is None:
        return make_permission_denial(Permission.WATCH, user.name, target)
    if not is_in_scope(identity.scopes, target):
        return _out_of_scope(identity)
    ends_at = find_earliest(rule.expires_at, until)
    return Grant(
        identity,
        target,
        rule.id,
        ends_at,
        Guest(terminal, host, None),
        combine_permissions(rules) & RECORDED,
        find_earlier_end(rules, ends_at),
    )


def judge_again(policy: Policy, grant: Grant, now: float) -> Grant | Denial:
    """Return a new grant if the reason to admit this guest still holds, else a denial."""
    guest = grant.guest
    if guest is None:
        return authorise(policy, grant.identity, grant.target, now)
    if guest.share is None:
        at = (grant.target, guest.terminal, guest.host)
        return authorise_watching(policy, grant.identity, *at, now)
    verdict = authorise_share(policy, grant.identity, guest.share, now)
    if isinstance(verdict, Grant) and verdict.guest != guest:
        if guest.may_type:
            return Denial(
                Reason.NO_GRANT, "you may no longer type here; open the terminal again to watch"
            )
        # The guest may type by now, but came to watch, and continues watching.
        return replace(verdict, guest=guest)
    return verdict


def identify_host(policy: Policy, share: Share) -> Identity | Denial:
    """Return the identity with which the host shared. A changed password ends the share."""
    user, by_password = policy.users.get(share.host), share.method is Method.PASSWORD
    if user is None or (
        by_password and hash_password_mark(user.password_hash) != share.password_mark
    ):
        return SHARE_OVER
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
    return Denial(Reason.NO_GRANT, f"this app is outside your scopes ({shown})")
