"""Who and what: the subject and the targets of a rule. Pure.

A grant has one, by whole names. An entry of the older lists in the settings is one as well, with a few
forms more.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from stagedoor.model.name import NAME
from stagedoor.model.target import Target

EVERYBODY = "everybody"
"""The subject that is each user of this installation."""
FORM = "`app01`, `app*.staging`, `user:NAME`, `group:NAME` or `grant:NUMBER`"
VIEWER_FORM = (
    "`user:NAME` or `group:NAME`, and behind it a space and an app if it is not for all: "
    "`app*.staging`"
)

_TARGET = r"(?P<app>[a-z0-9*?\[\]!-]+)(?:\.(?P<environment>[a-z0-9*?\[\]!-]+))?"
_ENTRY = re.compile(
    rf"(?:(?P<subject>(?:user|group):[^:\s]+|grant:[0-9]{{1,18}})(?: {_TARGET})?)", re.ASCII
)
_BARE = re.compile(_TARGET, re.ASCII)
_WHOLE = re.compile(rf"(?:user|group):{NAME}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Selector:
    """`subject` is `user:NAME`, `group:NAME`, `everybody`, or, from a setting, `grant:NUMBER`: those whom
    enters by that rule. Names may be shell globs there too.

    Patterns are as in `model.grant.GrantRule`.
    """

    subject: str
    app_pattern: str = "*"
    environment_pattern: str = "*"

    @property
    def whole(self) -> bool:
        """Whether the subject is one user or group by name."""
        return _WHOLE.fullmatch(self.subject) is not None

    @property
    def anywhere(self) -> bool:
        """Whether it covers every target, known or not."""
        return self.app_pattern == self.environment_pattern == "*"

    def covers(
        self, name: str, groups: Iterable[str], target: Target | None, rule_id: int | None = None
    ) -> bool:
        """Whether it is about this user, this target, and the rule by which they enter.

        Target None: one that nobody knows any more, which only `anywhere` covers.
        """
        if target is None:
            if not self.anywhere:
                return False
        elif not covers_target(self.app_pattern, self.environment_pattern, target):
            return False
        kind, _, pattern = self.subject.partition(":")
        match kind:
            case "user":
                return fnmatchcase(name, pattern)
            case "group":
                return any(fnmatchcase(group, pattern) for group in groups)
            case "grant":
                return pattern == str(rule_id)
        return self.subject == EVERYBODY


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


def parse_entry(text: str) -> Selector | None:
    """An entry of `ssh.local_forward` and its like: an app, or a subject. None for what is neither."""
    if (bare := _BARE.fullmatch(text)) is not None:
        return _selector(EVERYBODY, bare)
    entry = _ENTRY.fullmatch(text)
    return None if entry is None or entry["app"] else Selector(entry["subject"])


def parse_viewer(text: str) -> Selector | None:
    """An entry of `recording.viewers`: a user or group by name, and an app if it is not for all."""
    entry = _ENTRY.fullmatch(text)
    if entry is None:
        return None
    if not entry["app"]:
        selector = Selector(entry["subject"])
    else:
        selector = _selector(entry["subject"], entry)
        if selector.anywhere:
            # Every app that is known: what nobody knows any more is for those who may play all.
            selector = Selector(selector.subject, "**")
    return selector if selector.whole else None


def _selector(subject: str, found: "re.Match[str]") -> Selector:
    environment = found["environment"] or "*"
    # `**` too covers what names no environment, as it did in these lists.
    return Selector(subject, found["app"], environment if environment.strip("*") else "*")
