"""Counts a gateway's sessions in shells, and renews these shells' leases while there are any."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from stagedoor.model.cluster import ClusterError
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.live.environment import Environment, Environments
from stagedoor.shells.kubernetes.live.lifecycle import RENEW_S
from stagedoor.tasks import Tasks

REQUEST_S = 3.0
"""The longest that a login to a running shell waits for a cluster that does not answer."""


class SessionLeases:
    """The leases that this gateway renews. It belongs to the event loop in which it is created.

    `has_target` returns whether an app offers a shell now. `on_problem` is called after each round: with one
    line if a lease could not be renewed, else with None.
    """

    def __init__(
        self,
        environments: Environments,
        has_target: Callable[[Target], bool],
        tasks: Tasks,
        on_problem: Callable[[str | None], None],
    ) -> None:
        self._environments = environments
        self._has_target = has_target
        self._tasks = tasks
        self._on_problem = on_problem
        self._loop = asyncio.get_running_loop()

    def count_later(self, target: Target, by: int) -> None:
        """Add `by` to the number of sessions, in the event loop. May be called in any thread."""
        with suppress(RuntimeError):  # the loop is closed, so leases are no longer renewed
            self._loop.call_soon_threadsafe(self._count, target, by)

    async def renew(self, environment: Environment, app: str) -> None:
        """Renew the lease of a running shell. If the cluster does not answer, the login still continues."""
        with suppress(ClusterError, TimeoutError):
            async with asyncio.timeout(REQUEST_S):
                await environment.leases.renew(app)

    def _count(self, target: Target, by: int) -> None:
        environment = self._environments.find(target, ends=by < 0)
        if environment is None:
            return
        # The end of a session is counted even if the app no longer offers a shell, or its lease would be
        # renewed for ever.
        environment.leases.count(target.app, by)
        if by < 0 and self._has_target(target):
            # The idle time begins at the end of the last session.
            self._tasks.start(self.renew(environment, target.app))

    async def run(self) -> None:
        """Renew the leases of all shells with sessions again and again, until cancelled."""
        while True:
            await asyncio.sleep(RENEW_S)
            failed = [
                f"{app}: {error}"
                for environment in self._environments.list_in_use()
                for app, error in await environment.leases.renew_all()
            ]
            self._on_problem(f"leases cannot be renewed ({failed[0]})" if failed else None)
