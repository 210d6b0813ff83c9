"""The subject and the targets of a rule. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from stagedoor.model.target import Target

EVERYBODY = "everybody"
"""The subject that is each user of this installation."""

_TARGET = re.compile(
    r"(?P<app>[a-z0-9*?\[\]!-]+)(?:\.(?P<environment>[a-z0-9*?\[\]!-]+))?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class TargetPattern:
    """Apps and environments by shell globs, as in `model.grant.GrantRule`."""

    app: str
    environment: str = "*"

    def covers(self, target: Target) -> bool:
        """Return whether `target` is among them."""
        return covers_target(self.app, self.environment, target)


def covers_target(app_pattern: str, environment_pattern: str, target: Target) -> bool:
    """Environment `*` alone also covers a target that names none; any other pattern needs a name."""
    if not fnmatchcase(target.app, app_pattern):
        return False
    if target.environment is None:
        return environment_pattern == "*"
    return fnmatchcase(target.environment, environment_pattern)


def subjects_of(name: str, groups: Iterable[str]) -> frozenset[str]:
    """The subjects of grants that are about this user."""
    return frozenset({EVERYBODY, f"user:{name}", *(f"group:{group}" for group in groups)})


def parse_target_pattern(text: str) -> TargetPattern | None:
    """Parse `APP` or `APP.ENVIRONMENT`, as in `step_up.targets`. Return None for anything else."""
    match = _TARGET.fullmatch(text)
    if match is None:
        return None
    environment = match["environment"] or "*"
    # `**` too covers a target that names no environment.
    return TargetPattern(match["app"], environment if environment.strip("*") else "*")
