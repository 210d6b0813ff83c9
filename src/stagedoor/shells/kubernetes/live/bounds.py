"""The bounds on the shells that run at the same time, for each user and for each namespace.

Each gateway counts by its own mirrors, so simultaneous logins at two gateways may exceed a bound by one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from stagedoor.model.denial import Denial
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.derive.objects import read_failure_cause
from stagedoor.shells.kubernetes.live.mirror import find_shell_app
from stagedoor.shells.kubernetes.live.namespace_cache import NamespaceCache
from stagedoor.shells.kubernetes.live.start import RETRY_AFTER_CAUSE_S
from stagedoor.shells.kubernetes.names import IDLE_SINCE, REQUESTED_BY
from stagedoor.shells.starts import make_start_denial


@dataclass(frozen=True, slots=True)
class ShellBounds:
    """The most shells that may run at the same time."""

    per_user: int = 20
    per_namespace: int = 500

    def check_start(
        self,
        target: Target,
        user: str,
        caches: Mapping[str | None, NamespaceCache],
        requesters: Mapping[Target, str],
    ) -> Denial | None:
        """Return a denial if a start for `user` would exceed a bound; None if it may start or runs already.

        `caches` are by environment; `requesters` maps each shell that a login at this gateway is requesting
        to the login's user. A shell that no login requested counts only for its namespace.
        """
        if target in requesters or _occupies(caches[target.environment], target.app):
            return None
        running = {
            Target(app, environment): str(
                (lease["metadata"].get("annotations") or {}).get(REQUESTED_BY)
            )
            for environment, cache in caches.items()
            for lease in cache.leases.list_objects(cache.namespace).values()
            if (app := find_shell_app(lease)) is not None and _occupies(cache, app)
        } | dict(requesters)
        in_namespace = sum(shell.environment == target.environment for shell in running)
        if in_namespace >= self.per_namespace:
            why = (
                f"its namespace has {in_namespace} running shells, which is the limit: try again when one "
                "of them has stopped"
            )
            return make_start_denial(target, why, RETRY_AFTER_CAUSE_S)
        of_user = sum(requester == user for requester in running.values())
        if of_user >= self.per_user:
            why = (
                f"you have {of_user} running shells, which is the limit: log out of one, wait until it "
                "stops, and try again"
            )
            return make_start_denial(target, why, RETRY_AFTER_CAUSE_S)
        return None


DEFAULT_BOUNDS = ShellBounds()


def _occupies(cache: NamespaceCache, app: str) -> bool:
    """Return whether a shell runs or is about to run."""
    lease, shell = cache.find_lease(app), cache.find_shell(app)
    if shell is None:
        return lease is not None and read_failure_cause(lease) is None
    is_stopped = IDLE_SINCE in (shell["metadata"].get("annotations") or {})
    return bool(shell["spec"].get("replicas", 1)) or not is_stopped
