"""The rule of entry. Default deny: without a rule that matches now, nobody enters."""

from fnmatch import fnmatchcase

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant, GrantRule
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy, User
from stagedoor.model.target import Target

CONNECT_SCOPE = "connect"


def authorise(policy: Policy, identity: Identity, target: Target, now: float) -> Grant | Denial:
    """Judge by `policy` as it is now, whatever it was when `identity` was proven.

    The user must still exist, and the password, token or registered key that proved the identity,
    and the sign-in that it came by; groups are the policy's, not the identity's. So a live session
    can be judged again at any time. The grant ends with its rule, the token or the sign-in, whichever
    comes first.
    """
    until = known(policy, identity, now)
    if isinstance(until, Denial):
        return until
    user = policy.users[identity.name]
    rule = best_rule(policy.grants, user, target, now)
    if rule is None:
        return Denial(Reason.NO_GRANT, _no_grant(user.name, target))
    if not in_scope(identity.scopes, target):
        return Denial(
            Reason.NO_GRANT,
            f"token {identity.credential_id} of {user.name!r} may not be used to enter "
            f"{_named(target)}: its scopes are {', '.join(identity.scopes or ()) or 'none'}",
        )
    ends = [at for at in (rule.expires_at, until) if at is not None]
    return Grant(identity, target, rule.id, min(ends, default=None))


def known(policy: Policy, identity: Identity, now: float) -> float | Denial | None:
    """When what proved `identity` ends by itself, None for never; or why it proves nothing any more."""
    user = policy.users.get(identity.name)
    if user is None:
        return Denial(Reason.NO_GRANT, f"there is no user {identity.name!r} any more")
    if identity.method is Method.PASSWORD and identity.password_hash != user.password_hash:
        return Denial(Reason.NO_GRANT, f"the password of {identity.name!r} was changed")
    until = _credential_until(policy, identity)
    if not isinstance(until, Denial) and until is not None and until <= now:
        return Denial(
            Reason.NO_GRANT,
            f"token {identity.credential_id} of {user.name!r} has expired; an administrator makes "
            f"a new one with: stagedoor token create {user.name}",
        )
    if isinstance(until, Denial) or identity.sign_in is None:
        return until
    over = policy.sign_in_over(identity.name, identity.sign_in, now)
    if over is not None:
        return Denial(Reason.NO_GRANT, over)
    ends_at = policy.end_of(identity.sign_in)
    return ends_at if until is None else min(until, ends_at)


def covers(rule: GrantRule, user: User, target: Target) -> bool:
    """Whether `rule` speaks of this user and this target, expired or not."""
    kind, _, name = rule.subject.partition(":")
    if not ((kind == "user" and name == user.name) or (kind == "group" and name in user.groups)):
        return False
    return fnmatchcase(target.app, rule.app_pattern) and _environment_matches(
        rule.environment_pattern, target.environment
    )


def in_scope(scopes: tuple[str, ...] | None, target: Target) -> bool:
    """Whether a credential with these scopes may be used to enter `target`.

    `connect` allows every target, `connect:APP` an app in all its environments,
    `connect:APP.ENVIRONMENT` one environment; both parts are patterns. None is no limit.
    """
    if scopes is None:
        return True
    for scope in scopes:
        action, colon, pattern = scope.partition(":")
        if action != CONNECT_SCOPE:
            continue
        app, dot, environment = pattern.partition(".")
        if not colon or (
            fnmatchcase(target.app, app)
            and _environment_matches(environment if dot else "*", target.environment)
        ):
            return True
    return False


def _environment_matches(pattern: str, environment: str | None) -> bool:
    # `*` alone also covers a target that names no environment; any other pattern needs a name.
    if environment is None:
        return pattern == "*"
    return fnmatchcase(environment, pattern)


def best_rule(
    rules: tuple[GrantRule, ...], user: User, target: Target, now: float
) -> GrantRule | None:
    """Of the rules that match now, the one that lasts longest; the oldest of equals."""
    best: GrantRule | None = None
    for rule in rules:
        if rule.expires_at is not None and rule.expires_at <= now:
            continue
        if not covers(rule, user, target):
            continue
        if rule.expires_at is None:
            return rule
        if best is None or best.expires_at is None or rule.expires_at > best.expires_at:
            best = rule
    return best


def _credential_until(policy: Policy, identity: Identity) -> float | Denial | None:
    """When the credential that proved the identity ends, or why it has ended already."""
    shown = identity.credential_id
    if identity.method is Method.TOKEN:
        token = policy.tokens.get(shown or "")
        if token is None or token.user != identity.name:
            return Denial(Reason.NO_GRANT, f"token {shown} of {identity.name!r} was removed")
        return token.expires_at
    if identity.method is Method.PUBLIC_KEY:
        key = policy.keys.get(shown or "")
        if key is None or key.user != identity.name:
            return Denial(Reason.NO_GRANT, f"key {shown} of {identity.name!r} was removed")
    return None


def _named(target: Target) -> str:
    return f"{target.app} in {target.environment}" if target.environment else target.app


def _no_grant(name: str, target: Target) -> str:
    option = f" --environment {target.environment}" if target.environment else ""
    return (
        f"no grant for {name!r} to enter {_named(target)} (an administrator gives one with: "
        f"stagedoor grant add user:{name} {target.app}{option})"
    )
