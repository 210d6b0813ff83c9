"""The subjects and target patterns of rules. Pure."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from msgspec import Struct

from stagedoor.model.target import Target

ALL_USERS = "everybody"
"""The subject that stands for every user of this installation."""

_TARGET = re.compile(
    r"(?P<app>[a-z0-9*?\[\]!-]+)(?:\.(?P<environment>[a-z0-9*?\[\]!-]+))?", re.ASCII
)


class TargetPattern(Struct, frozen=True):
    """A pattern of apps and environments, shell globs as in `model.grant.GrantRule`."""

    app: str
    environment: str = "*"

    @property
    def login_name(self) -> str | None:
        """Return the name of the app, as its users write it, or None for a pattern with a wildcard."""
        name = self.app if self.environment == "*" else f"{self.app}.{self.environment}"
        return None if is_glob(name) else name

    def covers(self, target: Target) -> bool:
        """Return True if the pattern matches `target`."""
        return has_match(self.app, self.environment, target)

    def has_all_of(self, other: "TargetPattern") -> bool:
        """Return True if this pattern certainly matches every target that `other` matches."""
        return _includes(self.app, other.app) and _includes(self.environment, other.environment)

    def may_overlap(self, other: "TargetPattern") -> bool:
        """Return False if certainly no target matches both patterns."""
        return _may_meet(self.app, other.app) and _may_meet(self.environment, other.environment)


EVERYWHERE = TargetPattern("*")
"""The pattern of all apps."""
_WILD = frozenset("*?[")
_HEAD = re.compile(r"[^*?\[]*")


def _includes(outer: str, inner: str) -> bool:
    """Return True if `outer` certainly matches all names that the pattern `inner` matches.

    It handles equal patterns, names, and patterns such as `app*`, and returns False for all others.
    """
    if outer in ("*", inner):
        return True
    if not is_glob(inner):
        return has_name(outer, inner)
    head = outer.removesuffix("*")
    return outer == f"{head}*" and not is_glob(head) and inner.startswith(head)


def _may_meet(one: str, other: str) -> bool:
    """Return False if certainly no name matches both patterns. Of two globs, it compares the beginnings."""
    for pattern, name in ((one, other), (other, one)):
        if not is_glob(name):
            return has_name(pattern, name)
    heads = [match[0] for pattern in (one, other) if (match := _HEAD.match(pattern))]
    return heads[0].startswith(heads[1]) or heads[1].startswith(heads[0])


def is_glob(pattern: str) -> bool:
    """Return True if a pattern has a wildcard: otherwise it is a name."""
    return not _WILD.isdisjoint(pattern)


def has_name(pattern: str, name: str) -> bool:
    """Return True if a shell glob matches `name`.

    A plain name is compared, since fnmatch would compile thousands of different globs again and again.
    """
    return fnmatchcase(name, pattern) if is_glob(pattern) else name == pattern


def has_match(app_pattern: str, environment_pattern: str, target: Target) -> bool:
    """Return True if the patterns match `target`.

    Only the environment pattern `*` matches a target without an environment.
    """
    if not has_name(app_pattern, target.app):
        return False
    if target.environment is None:
        return environment_pattern == "*"
    return has_name(environment_pattern, target.environment)


def list_subjects(name: str, groups: Iterable[str]) -> frozenset[str]:
    """Return all subjects of grants that apply to the user `name` in `groups`."""
    return frozenset({ALL_USERS, f"user:{name}", *(f"group:{group}" for group in groups)})


def list_named_users(subjects: Iterable[str]) -> list[str]:
    """Return the names of the users among `subjects`: `alice` for `user:alice`."""
    return [s.removeprefix("user:") for s in subjects if s.startswith("user:")]


def parse_target_pattern(text: str) -> TargetPattern | None:
    """Parse `APP` or `APP.ENVIRONMENT`, as in `step_up.targets`. Return None for anything else."""
    match = _TARGET.fullmatch(text)
    if match is None:
        return None
    environment = match["environment"] or "*"
    # `**` also covers a target without an environment.
    return TargetPattern(match["app"], environment if environment.strip("*") else "*")
