"""Who may play recordings, as a list of short rules. Default deny."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from stagedoor.model.identity import Identity, Method
from stagedoor.model.target import Target

FORM = "`user:NAME` or `group:NAME`, and behind it a space and an app if it is not for all: `app*.staging`"
_RULE = re.compile(
    r"(?P<kind>user|group):(?P<name>[a-z0-9_][a-z0-9_.@+-]{0,63})"
    r"(?: (?P<app>[a-z0-9*?\[\]!-]+)(?:\.(?P<environment>[a-z0-9*?\[\]!-]+))?)?",
    re.ASCII,
)


def valid_viewer(rule: str) -> bool:
    """Whether `rule` is one that `may_view` understands."""
    return _RULE.fullmatch(rule) is not None


def views_some(rules: Iterable[str], identity: Identity) -> bool:
    """Whether there is any recording that `identity` might play."""
    return any(_of(rule, identity) for rule in rules)


def may_view(rules: Iterable[str], identity: Identity, target: Target | None) -> bool:
    """Whether `identity` may play a recording of `target`, None where nobody knows whose it is.

    Names are whole, not patterns; apps and environments are shell globs. Only a password, or a link
    for all apps, opens recordings: a token is for entering apps, and lies in scripts.
    """
    for rule in rules:
        found = _of(rule, identity)
        if found is None:
            continue
        app, environment = found["app"], found["environment"]
        if app is None:
            return True
        if target is None or not fnmatchcase(target.app, app):
            continue
        if environment is None or fnmatchcase(target.environment or "", environment):
            return True
    return False


def _of(rule: str, identity: Identity) -> "re.Match[str] | None":
    """The rule, if it speaks of this identity."""
    found = _RULE.fullmatch(rule)
    if found is None or identity.method is not Method.PASSWORD or identity.scopes is not None:
        return None
    mine = (identity.name,) if found["kind"] == "user" else identity.groups
    return found if found["name"] in mine else None
