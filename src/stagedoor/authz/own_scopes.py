"""The scopes that a user may give a token of their own, which must not exceed the user's grants. Pure."""

from collections.abc import Sequence

from stagedoor.authz.decide import CONNECT_SCOPE, drop_expired
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import GrantRule
from stagedoor.model.permission import Permission
from stagedoor.model.policy import Policy, User
from stagedoor.model.selector import has_match
from stagedoor.wire.target import MAX_SHOWN_CHARS, parse_login

MAX_SCOPES = 20
_SHOWN_RULES = 10


def restrict_scopes(
    policy: Policy, user: User, wanted: Sequence[str], now: float
) -> tuple[str, ...] | Denial:
    """Return the scopes for `wanted`: apps (`app01`, `app01.staging`), or patterns of the user's grants.

    A pattern is accepted only if a grant has the same pattern; whether one pattern includes another is not
    computed. A scope without an environment is for all of them (`authz.decide.is_in_scope`), and so needs a
    grant that is.
    """
    if len(wanted) > MAX_SCOPES:
        return Denial(Reason.BAD_REQUEST, f"a token may name {MAX_SCOPES} apps at most")
    rules = [
        rule
        for rule in drop_expired(policy.find_grants(user.subjects), now)
        if Permission.ENTER in rule.permissions
    ]
    scopes = []
    for word in wanted:
        name = _covered(word, rules)
        if name is None:
            return _make_scope_denial(word, user, rules)
        scopes.append(f"{CONNECT_SCOPE}:{name}")
    return tuple(dict.fromkeys(scopes))


def _covered(word: str, rules: Sequence[GrantRule]) -> str | None:
    """Return the scope for `word` if one of the rules covers all of it, else None."""
    target = parse_login(word)
    if target is None:
        return word if word in map(_format_pattern, rules) else None
    if any(has_match(rule.app_pattern, rule.environment_pattern, target) for rule in rules):
        return target.login_name
    return None


def _format_pattern(rule: GrantRule) -> str:
    return rule.app_pattern + (
        "" if rule.environment_pattern == "*" else f".{rule.environment_pattern}"
    )


def _make_scope_denial(word: str, user: User, rules: Sequence[GrantRule]) -> Denial:
    names = list(dict.fromkeys(map(_format_pattern, rules)))
    more = " and others" if len(names) > _SHOWN_RULES else ""
    within = f"within: {', '.join(names[:_SHOWN_RULES])}{more}" if names else "none yet"
    return Denial(
        Reason.NO_GRANT,
        f"{word[:MAX_SHOWN_CHARS]!r} is not within what {user.name} may enter ({within}); "
        "name an app as the home page does, or a pattern just as a grant has it",
    )
