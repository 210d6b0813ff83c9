"""The checks inside of a change's transaction: that the row is the one the caller saw, and the dry run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stagedoor.authz.access_difference import AccessDifference, list_differences
from stagedoor.model.policy import Policy
from stagedoor.store.database import Transaction
from stagedoor.store.policy import read_policy, read_policy_version


class PreconditionError(Exception):
    """The row has changed since the caller read it (RFC 9110 §13.1.1)."""


class StalePolicyError(Exception):
    """The policy has changed since the caller's roles were judged, so they are judged again."""


class DryRunError(Exception):
    """The end of a dry run, which undoes the change. `differences` are what it would have done."""

    def __init__(self, differences: Sequence[AccessDifference]) -> None:
        super().__init__("dry run")
        self.differences = differences


@dataclass(slots=True)
class ApiGuard:
    """The guard of one request. It checks the first change alone.

    `version` is the version of the policy by which the caller's roles were judged. `make_tag` returns the
    ETag of the request's row, and `expected` are those that the caller knows, None for any.
    """

    version: int
    expected: Sequence[str] | None
    make_tag: Callable[[Transaction], str | None]
    is_dry_run: bool
    now: float
    _before: Policy | None = field(default=None, init=False)
    _has_begun: bool = field(default=False, init=False)

    def begin(self, transaction: Transaction) -> None:
        """Raise PreconditionError if the row is not the one that the caller saw, or StalePolicyError."""
        if not self._has_begun:
            if read_policy_version(transaction) != self.version:
                raise StalePolicyError
            tag = None if self.expected is None else self.make_tag(transaction)
            if tag is not None and tag not in (self.expected or ()):
                raise PreconditionError
        self._has_begun = True
        if self.is_dry_run:
            self._before = read_policy(transaction)

    def finish(self, transaction: Transaction) -> None:
        """Raise DryRunError if the request is a dry run."""
        if self._before is not None:
            after = read_policy(transaction)
            raise DryRunError(list(list_differences(self._before, after, self.now)))
