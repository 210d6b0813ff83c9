"""The checks inside the transaction of a change that was judged by the policy in memory, and the dry run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stagedoor.model.policy import Policy
from stagedoor.store.changes import read_policy_version
from stagedoor.store.database import Transaction
from stagedoor.store.policy import read_changes, read_policy

TRIES = 10
"""How many times a request is judged again because the policy has changed meanwhile."""


class PreconditionError(Exception):
    """The row has changed since the caller read it (RFC 9110 §13.1.1)."""


class StalePolicyError(Exception):
    """Raised if the policy has changed since the caller's roles were judged, to judge them again."""


class DryRunError(Exception):
    """Raised at the end of a dry run to undo the change. `after` is the policy that it would have made."""

    def __init__(self, after: Policy) -> None:
        super().__init__("dry run")
        self.after = after


@dataclass(slots=True)
class PolicyGuard:
    """The checks of one request, made inside its first change.

    `policy` is the one by which the caller's roles were judged, or an older one. `make_tag` returns the
    ETag of the request's row, and `expected` are those that the caller knows, None for any.
    """

    policy: Policy
    expected: Sequence[str] | None = None
    make_tag: Callable[[Transaction], str | None] = lambda transaction: None
    is_dry_run: bool = False
    _has_begun: bool = field(default=False, init=False)

    def begin(self, transaction: Transaction) -> None:
        """Raise PreconditionError if the row has changed since the caller saw it, or StalePolicyError."""
        if not self._has_begun:
            if read_policy_version(transaction) != self.policy.version:
                raise StalePolicyError
            tag = None if self.expected is None else self.make_tag(transaction)
            if tag is not None and tag not in (self.expected or ()):
                raise PreconditionError
        self._has_begun = True

    def finish(self, transaction: Transaction) -> None:
        """Raise DryRunError if the request is a dry run."""
        if self.is_dry_run:
            # Read only what the change has touched, since logins wait for this transaction.
            after = read_changes(transaction, self.policy, self.policy.version + 1)
            raise DryRunError(after or read_policy(transaction))
