"""One app on an API server, real or in memory, and a controller that works there. There is no kubelet."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from stagedoor.controller.loop import Controller
from stagedoor.controller.shell_writer import ShellWriter
from stagedoor.model.cluster import Kind, Object
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.kit import Kit
from stagedoor.shells.kubernetes.names import SHELL_OF
from tests.waiting import BOUND_S

KINDS = (Kind.DEPLOYMENT, Kind.SERVICE, Kind.CONFIG_MAP, Kind.SECRET, Kind.LEASE)
ALL = {str(kind) for kind in KINDS}
STOPPED = (ALL - {"Deployment"}) | {"stopped"}


class OneApp:
    """The app `app01`, and a clock that a test turns ahead.

    `now` is the time without that, `clock` the controller's monotonic clock.
    """

    def __init__(
        self,
        cluster: Any,
        namespace: str,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.ahead_s = 0.0
        self.app: Object
        self._now = now
        self._clock = clock

    def now(self) -> float:
        return self._now() + self.ahead_s

    async def request_shell(self) -> None:
        with suppress(Exception):
            await self.cluster.delete(Kind.LEASE, self.namespace, "app01-ssh")
        await self.cluster.create(objects.build_lease(self.app, "gateway", self.now()))

    async def here(self) -> set[str]:
        """The kinds of which the shell has an object; a Deployment of no replicas says so."""
        names = set()
        for kind in KINDS:
            for resource in await self.cluster.list(kind, self.namespace, f"{SHELL_OF}=app01"):
                stopped = kind is Kind.DEPLOYMENT and resource["spec"]["replicas"] == 0
                names.add("stopped" if stopped else str(kind))
        return names

    @asynccontextmanager
    async def controller(self, cluster: Any) -> "AsyncIterator[asyncio.Task[None]]":
        """A controller that works; whatever it ends with is no error of the test's."""
        made = Controller(
            cluster,
            {None: self.namespace},
            ShellWriter(
                cluster,
                lambda names: (b"key", "certificate"),
                lambda _: (),
                (),
                "controller",
                now=self.now,
            ),
            Kit("kit:1"),
            on_problem=lambda target, problem, again_s: None,
            now=self.now,
            clock=self._clock,
        )
        task = asyncio.create_task(made.run())
        try:
            yield task
        finally:
            task.cancel()
            with suppress(BaseException):
                await task

    async def until(self, wanted: set[str]) -> None:
        async with asyncio.timeout(BOUND_S):
            while await self.here() != wanted:
                await asyncio.sleep(0.02)


async def brought(one_app: OneApp, wanted: set[str]) -> None:
    """Have a healthy controller bring the shell there."""
    async with one_app.controller(one_app.cluster):
        await one_app.until(wanted)
