"""The rule of recordings: who may play those of an app; and of lists of what there is to see. Pure."""

from stagedoor.authz.decide import matching, permitted
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.policy import Policy
from stagedoor.model.selector import subjects_of
from stagedoor.model.target import Target


def may_replay(
    policy: Policy,
    identity: Identity,
    target: Target | None,
    now: float,
) -> bool:
    """Return whether `identity` may play a recording of `target`; None stands for an unknown target.

    Only a password, or a link for all apps, opens recordings: a token is for entering apps, and is kept in
    scripts.
    """
    user = policy.users.get(identity.name)
    if user is None or not identity.is_person:
        return False
    return Permission.REPLAY in permitted(matching(policy, user, target, now))


def has_somewhere(
    policy: Policy,
    identity: Identity,
    permission: Permission,
    now: float,
) -> bool:
    """Return whether there is any app for which `identity` might have this permission now."""
    user = policy.users.get(identity.name)
    if user is None or (permission is Permission.REPLAY and not identity.is_person):
        return False
    subjects = subjects_of(user.name, user.groups)
    return any(
        rule.subject in subjects
        and permission in rule.permissions
        and (rule.expires_at is None or now < rule.expires_at)
        for rule in policy.grants
    )
