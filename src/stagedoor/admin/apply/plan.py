"""The changes that make the policy agree with the files of an access set. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from stagedoor.model.access_set import Row, RowKey, RowKind
from stagedoor.model.errors import RefusedError
from stagedoor.model.grant import GrantRule

PRUNE_PERCENT = 20
"""The largest part of a set's rows, in percent, that `ApplyOptions.prunes` removes by default."""


class Action(StrEnum):
    """The kinds of changes."""

    ADD = "add"
    CHANGE = "change"
    ADOPT = "adopt"
    """The set takes the row over, which belonged to no set or to another one."""
    MOVE = "move"
    """Another file of the set declares the row."""
    REMOVE = "remove"
    RELEASE = "release"
    """The row no longer belongs to a set."""


@dataclass(frozen=True, slots=True)
class RowChange:
    """A change of one row. `row` is the new row, or the one that is removed; `before` is the stored one."""

    action: Action
    row: Row
    before: Row | None = None


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """The choices of an administrator.

    `adopts` takes rows over. Rows of the set that the files do not declare are kept, unless `prunes` removes
    them (at most `prune_percent` of the set's rows) or `releases` removes them from the set.
    """

    adopts: bool = False
    prunes: bool = False
    releases: bool = False
    prune_percent: float = PRUNE_PERCENT


@dataclass(frozen=True, slots=True)
class RowProblem:
    """A declared row that cannot be stored, and the reason."""

    row: Row
    text: str


@dataclass(slots=True)
class Plan:
    """The changes for the set `name`, in the order in which they are made.

    `kept` are rows of the set that stay although the files do not declare them.
    """

    name: str
    options: ApplyOptions
    changes: list[RowChange] = field(default_factory=list)
    kept: list[Row] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)

    def add_declared(self, row: Row, stored: Row | None, now: float) -> None:
        """Add the change that makes the row as declared, if there is one."""
        if stored is None:
            if not _has_ended(row, now):
                self.changes.append(RowChange(Action.ADD, row))
            return
        owner = stored.owner
        is_own = owner is not None and owner.set == self.name
        if not is_own and not self.options.adopts:
            holder = "no set" if owner is None else f"the set {owner.set} ({owner.file})"
            text = f"{stored.name} is there already and belongs to {holder}; --adopt takes it over"
            self.problems.append(RowProblem(row, text))
        elif not row.is_same_rule(stored):
            self.changes.append(RowChange(Action.CHANGE, row, stored))
        elif not is_own:
            self.changes.append(RowChange(Action.ADOPT, row, stored))
        elif row.owner != owner:
            self.changes.append(RowChange(Action.MOVE, row, stored))

    def add_absent(self, absent: Sequence[Row], stored: Sequence[Row], own: int) -> None:
        """Add the changes of the `absent` rows, among `own` rows of the set. Raises RefusedError."""
        if self.options.releases:
            self.changes += [RowChange(Action.RELEASE, row, row) for row in absent]
        if not self.options.prunes:
            self.kept += [] if self.options.releases else absent
            return
        if len(absent) * 100 > own * self.options.prune_percent:
            raise RefusedError(
                f"--prune would remove {len(absent)} of the set's {own} rows, and removes at most "
                f"{self.options.prune_percent:g} %; allow more with --prune-at-most"
            )
        gone = {row.key[0] for row in absent if row.kind is RowKind.USER}
        known = {id(row) for row in absent}
        removals = list(absent)
        # The rows of a user are removed with the user.
        for row in stored if gone else ():
            if id(row) in known or gone.isdisjoint(row.named_users):
                continue
            if row.owner is not None and row.owner.set != self.name:
                text = f"{row.name} is in the set {row.owner.set} ({row.owner.file}); remove it there first"
                self.problems.append(RowProblem(row, text))
            elif row.owner is None and not gone.isdisjoint(row.users):
                removals.append(row)
        self.changes += [RowChange(Action.REMOVE, row, row) for row in removals]

    def check_users(self, declared: Iterable[Row], stored: Iterable[Row]) -> None:
        """Add a problem for each declared row about a user who is unknown or removed."""
        names = {row.key[0] for row in stored if row.kind is RowKind.USER}
        names |= {row.key[0] for row in declared if row.kind is RowKind.USER}
        gone = {
            change.row.key[0]
            for change in self.changes
            if change.action is Action.REMOVE and change.row.kind is RowKind.USER
        }
        for row in declared:
            for name in row.named_users:
                if name not in names:
                    self.problems.append(RowProblem(row, f"there is no user {name}"))
                elif name in gone:
                    text = f"the user {name} is in none of the files, and would be removed"
                    self.problems.append(RowProblem(row, text))


def plan_changes(
    name: str, declared: Sequence[Row], stored: Sequence[Row], options: ApplyOptions, now: float
) -> Plan:
    """Return the changes that turn the set `name` into the declared one.

    A declared grant that has expired is not added. Raises RefusedError if too many rows would be removed.
    """
    plan = Plan(name, options)
    by_key = _index(name, stored)
    wanted = {(row.kind, row.key) for row in declared}
    own = [row for row in stored if row.owner is not None and row.owner.set == name]
    absent = [row for row in own if (row.kind, row.key) not in wanted]
    plan.add_absent(absent, stored, len(own))
    for row in declared:
        plan.add_declared(row, by_key.get((row.kind, row.key)), now)
    plan.check_users(declared, stored)
    return plan


def _index(name: str, stored: Iterable[Row]) -> Mapping[tuple[RowKind, RowKey], Row]:
    """Map each key to its row. If administrators have added a rule twice, the set's own row counts."""
    by_key: dict[tuple[RowKind, RowKey], Row] = {}
    for row in stored:
        known = by_key.setdefault((row.kind, row.key), row)
        if known is not row and row.owner is not None and row.owner.set == name:
            by_key[row.kind, row.key] = row
    return by_key


def _has_ended(row: Row, now: float) -> bool:
    return (
        isinstance(row.rule, GrantRule)
        and row.rule.expires_at is not None
        and row.rule.expires_at <= now
    )
