"""What a namespace's apps have, in a ConfigMap that the cluster's own fence looks into.

A ValidatingAdmissionPolicy holds whoever has the controller's token to shells of apps that there
are, with what these have. It can look at one object beside the request: this one. The gateway,
another account, writes it (docs/decisions/0023-fences.md).
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.shells.kubernetes.names import REGISTER
from stagedoor.shells.kubernetes.ports import Cluster
from stagedoor.shells.kubernetes.sight import Sight

AGAIN_S = 2.0
"""How long until the next try, where it could not be written."""
REPEAT_S = 300.0
"""How often all is written anew: another gateway, of an older version, may have been the last."""
WAIT_S = 2.0
"""How long a knock waits for its app to be written down."""

OnProblem = Callable[[str | None], None]
"""Told in one line why it cannot be written, and None when it can again."""


class Register:
    """Keeps the ConfigMap REGISTER of one namespace: `facts_of` each app that offers a shell.

    The ConfigMap is there already (the chart makes it): a right to make some cannot be bound to a
    name. Several gateways write the same, each after what it saw last.
    """

    def __init__(self, cluster: Cluster, sight: Sight, on_problem: OnProblem) -> None:
        self._cluster = cluster
        self._sight = sight
        self._on_problem = on_problem
        self._written: Mapping[str, str] = {}
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Write at the start, at every change and now and then, until cancelled."""
        loop = asyncio.get_running_loop()
        failing, whole_at = False, 0.0
        for mirror in self._sight.mirrors:
            await mirror.synced.wait()
        while True:
            pulse = self._sight.pulse
            wanted = self._sight.facts()
            whole = loop.time() >= whole_at
            if whole or wanted != self._written:
                try:
                    await self._write(wanted, {} if whole else self._written)
                except ClusterError as error:
                    if not failing:
                        self._on_problem(error.message)
                    failing = True
                    await asyncio.sleep(AGAIN_S)
                    continue
                if failing:
                    self._on_problem(None)
                failing, self._written = False, wanted
                whole_at = loop.time() + REPEAT_S if whole else whole_at
                news, self._news = self._news, asyncio.Event()
                news.set()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(whole_at):
                    await pulse.wait()

    async def has(self, app: str) -> None:
        """Return when what the app has now is written down, or after WAIT_S: then the controller is
        told that it is not."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                while self._written.get(app, "") != self._sight.facts().get(app):
                    await self._news.wait()

    async def _write(self, wanted: Mapping[str, str], before: Mapping[str, str]) -> None:
        changed = {app: facts for app, facts in wanted.items() if before.get(app) != facts}
        gone = before.keys() - wanted.keys()
        found = await self._merge({**dict.fromkeys(gone), **changed})
        # What stood there before us: of apps that have gone meanwhile.
        ghosts = (found.get("data") or {}).keys() - wanted.keys()
        if ghosts:
            await self._merge(dict.fromkeys(ghosts))

    async def _merge(self, entries: Mapping[str, str | None]) -> Object:
        return await self._cluster.merge(
            Kind.CONFIG_MAP, self._sight.namespace, REGISTER, {"data": entries}
        )
