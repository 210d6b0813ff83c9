"""Which sessions a setting covers, as a list of short patterns."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from stagedoor.model.grant import Grant

FORM = "`app01`, `app*.staging`, `user:NAME`, `group:NAME` or `grant:NUMBER`"
_SUBJECT = re.compile(r"(?:user|group):[^:\s]+|grant:[0-9]{1,18}", re.ASCII)
_TARGET = re.compile(r"[a-z0-9*?\[\]!-]+(?:\.[a-z0-9*?\[\]!-]+)?", re.ASCII)


def valid_scope(pattern: str) -> bool:
    """Whether `pattern` is one that `covers` understands."""
    return bool(_SUBJECT.fullmatch(pattern) or _TARGET.fullmatch(pattern))


def covers(patterns: Iterable[str], grant: Grant) -> bool:
    """Whether one of `patterns` holds for whoever enters by `grant`.

    A pattern is an app with or without an environment (shell globs; without one it holds for
    all environments), a user, a group, or the number of the rule that let somebody in.
    """
    return any(_covers(pattern, grant) for pattern in patterns)


def _covers(pattern: str, grant: Grant) -> bool:
    kind, colon, name = pattern.partition(":")
    if colon:
        match kind:
            case "user":
                return fnmatchcase(grant.identity.name, name)
            case "group":
                return any(fnmatchcase(group, name) for group in grant.identity.groups)
            case "grant":
                return name == str(grant.rule_id)
        return False
    app, dot, environment = pattern.partition(".")
    if not fnmatchcase(grant.target.app, app):
        return False
    return not dot or fnmatchcase(grant.target.environment or "", environment)
