"""The settings, the store and the clock that the services of this package share."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from stagedoor.admin.change_rate import ChangeRateLimit, count_change
from stagedoor.admin.service import AdminService
from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity
from stagedoor.model.policy import Policy
from stagedoor.settings.settings import Settings
from stagedoor.store.database import Database
from stagedoor.store.policy import PolicyChange


@dataclass(frozen=True, slots=True)
class SignInContext:
    """The settings, the store and the clock of a worker, and the limit on its users' changes.

    `policy` returns the current policy, `now` seconds since the epoch, and `monotonic` seconds of a clock
    that is never set.
    """

    settings: Settings
    database: Database
    policy: Callable[[], Policy]
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    allowance: ChangeRateLimit = field(default_factory=ChangeRateLimit)

    def service(self, name: str, by: str = "web") -> AdminService:
        """Return a service whose changes the audit records as those of `name`, who acts by `by`."""
        return AdminService(self.database, self.settings.data_dir, f"{name} ({by})", self.now)

    def change(
        self, name: str, action: str, *, by: str = "web", revokes: bool = False
    ) -> AbstractContextManager[PolicyChange]:
        """Begin a change of the policy by `name`, as `service` and `AdminService.change` say."""
        return self.service(name, by).change(action, revokes=revokes)

    def count_change(self, identity: Identity) -> Denial | None:
        """Count a change that gives this user something. Return why it has to wait, or None."""
        return count_change(self.allowance, identity, self.monotonic())
