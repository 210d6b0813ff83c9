"""The settings, the store and the clocks of a worker, which its services share."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from stagedoor.admin.service import AdminService, ChangeGuard
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.policy import Policy
from stagedoor.model.rate import Rate, SourceRates
from stagedoor.settings.settings import Settings
from stagedoor.store.administration.roles import SignInRules
from stagedoor.store.database import Database
from stagedoor.store.policy import PolicyChange

CHANGES = Rate(burst=60, interval_s=1.0)
"""The changes of one user: many in a row for a script or for a browser with many tabs. A worker looks for
changes twice a second."""


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """The settings, the store and the clocks of a worker, and the limit on its users' changes.

    `policy` returns the current policy, `now` seconds since the epoch, and `monotonic` seconds of a clock
    that is never set.
    """

    settings: Settings
    database: Database
    policy: Callable[[], Policy]
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    allowance: SourceRates = field(default_factory=lambda: SourceRates(CHANGES))

    def make_service(
        self, name: str, by: str = "web", guard: ChangeGuard | None = None
    ) -> AdminService:
        """Return a service whose changes the audit records as those of `name (by)`."""
        actor = f"{name} ({by})"
        issuers = frozenset(provider.issuer for provider in self.settings.sso)
        rules = SignInRules(self.settings.accounts.passwords_for, issuers)
        return AdminService(self.database, self.settings.data_dir, actor, self.now, guard, rules)

    def change(
        self, name: str, action: str, *, by: str = "web", revokes: bool = False
    ) -> AbstractContextManager[PolicyChange]:
        """Begin a change of the policy by `name`, as `make_service` and `AdminService.change` say."""
        return self.make_service(name, by).change(action, revokes=revokes)

    def count_change(self, identity: Identity) -> Denial | None:
        """Count a change that gives this user something. Return why it has to wait, or None.

        Each change makes every worker read the policy and check every session again. Changes that take
        something away are not counted, because they must always work. Each worker counts separately.
        """
        name, now = identity.name, self.monotonic()
        if self.allowance.take(name, now) is not None:
            return None
        seconds = math.ceil(self.allowance.wait_s(name, now))
        return Denial(
            Reason.THROTTLED,
            f"{name} has made {CHANGES.burst} changes (passwords, tokens, keys, shares, sign-ins) in a row; "
            f"try again in {seconds} s",
            seconds,
        )
