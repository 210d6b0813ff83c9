"""A controller that dies at any of its requests leaves nothing that the next one does not put right.

A death is a request at which all ends, before the API has it or after: whatever the controller had in
memory is gone, and nothing of its code runs any more. The same with a real process and a real API server,
once for each of what it does, is `tests/kube/api/test_controller_sigkilled.py`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from stagedoor.controller.loop import Controller
from stagedoor.controller.make import ShellWriter
from stagedoor.model.cluster import Change, Kind
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.kit import Kit
from stagedoor.shells.kubernetes.names import SHELL_OF
from tests.kube.apps import deployment
from tests.kube.memory import MemoryCluster
from tests.virtual_time import in_virtual_time

BOUND_S = 60.0
EPOCH_S = 1_800_000_000.0
HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
KINDS = (Kind.DEPLOYMENT, Kind.SERVICE, Kind.CONFIG_MAP, Kind.SECRET, Kind.LEASE)
WRITES = ("apply", "create", "merge", "delete")


class Killed(BaseException):
    """The process is gone."""


class Mortal:
    """A cluster at whose `last`-th write everything ends, `late` after the API has done it."""

    def __init__(self, cluster: MemoryCluster, last: int, late: bool) -> None:
        self._cluster = cluster
        self._left = last
        self._late = late
        self.doomed = False
        """The last write is under way, or was."""
        self.died = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._cluster, name)
        if name == "watch":
            return method

        async def ask(*arguments: Any, **named: Any) -> Any:
            if self.died.is_set():
                raise Killed
            if name not in WRITES:
                return await method(*arguments, **named)
            self._left -= 1
            if self._left > 0:
                return await method(*arguments, **named)
            self.doomed = True
            if self._late:
                await method(*arguments, **named)
            self.died.set()
            raise Killed

        return ask

    def watch(self, kind: Kind, namespace: str, labels: str = "") -> AsyncGenerator[Change, None]:
        return self._cluster.watch(kind, namespace, labels)


class World:
    """One app, and a clock that a test turns."""

    def __init__(self, cluster: MemoryCluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.ahead_s = 0.0
        self.app = cluster.put(deployment(namespace))

    def now(self) -> float:
        return EPOCH_S + asyncio.get_running_loop().time() + self.ahead_s

    async def request_shell(self) -> None:
        with suppress(Exception):
            await self.cluster.delete(Kind.LEASE, self.namespace, "app01-ssh")
        await self.cluster.create(objects.lease(self.app, "gateway", self.now()))

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
            clock=asyncio.get_running_loop().time,
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


ALL = {str(kind) for kind in KINDS}
STOPPED = (ALL - {"Deployment"}) | {"stopped"}


@pytest.fixture
def world() -> World:
    return World(MemoryCluster(), "apps")


async def brought(world: World, wanted: set[str]) -> None:
    """Have a healthy controller bring the shell there."""
    async with world.controller(world.cluster):
        await world.until(wanted)


async def killed_at_each_step(
    world: World,
    before: Callable[[], Any],
    wanted: set[str],
    *,
    late: bool,
) -> int:
    """Kill at the first write, the second, and so on until there are no more; how many there were.

    There may be one more than needed, where the watch had not reported yet what the last one did.
    """
    for last in range(1, 40):
        await before()
        mortal = Mortal(world.cluster, last, late)
        async with world.controller(mortal) as task:
            done = asyncio.create_task(world.until(wanted))
            died = asyncio.create_task(mortal.died.wait())
            await asyncio.wait((done, died), return_when=asyncio.FIRST_COMPLETED)
            # What it did last can be seen before it has heard of it.
            survived = not mortal.doomed
            if not survived:
                with suppress(BaseException):
                    await task
            for process in (done, died):
                process.cancel()
                with suppress(BaseException):
                    await process
        # The next leader: it knows nothing but what the API says.
        await brought(world, wanted)
        if survived:
            return last - 1
    raise AssertionError("it never ends")


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@in_virtual_time
async def test_killed_at_any_step_of_a_start_the_next_one_finishes_it(
    world: World, late: bool
) -> None:
    async def before() -> None:
        world.ahead_s += HOUR_S
        if await world.here():
            await brought(world, STOPPED)
        world.ahead_s += 2 * DAY_S
        await brought(world, set())
        await world.request_shell()

    steps = await killed_at_each_step(world, before, ALL, late=late)
    assert steps >= 4  # Service, ConfigMap, Secret, Deployment; the lease is the gateway's


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@in_virtual_time
async def test_killed_at_any_step_of_a_stop_the_next_one_finishes_it(
    world: World, late: bool
) -> None:
    async def before() -> None:
        await world.request_shell()
        await brought(world, ALL)
        world.ahead_s += HOUR_S

    assert await killed_at_each_step(world, before, STOPPED, late=late) >= 1


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@in_virtual_time
async def test_killed_at_any_step_of_a_deletion_the_next_one_leaves_nothing(
    world: World, late: bool
) -> None:
    async def before() -> None:
        await world.request_shell()
        await brought(world, ALL)
        world.ahead_s += HOUR_S
        await brought(world, STOPPED)
        world.ahead_s += 2 * DAY_S

    steps = await killed_at_each_step(world, before, set(), late=late)
    assert steps >= len(KINDS)


@in_virtual_time
async def test_somebody_who_knocks_while_all_is_deleted_is_not_forgotten(world: World) -> None:
    """The knock falls between any two of the deletions; afterwards there is a shell."""

    class Knocking(Mortal):
        def __init__(self, at: int) -> None:
            super().__init__(world.cluster, 10_000, False)
            self._at = at

        def __getattr__(self, name: str) -> Any:
            method = super().__getattr__(name)
            if name != "delete":
                return method

            async def delete(*arguments: Any, **named: Any) -> Any:
                self._at -= 1
                if self._at == 0:
                    # As a gateway does: it renews the lease that it sees.
                    patch = objects.renewal("gateway", world.now())
                    await world.cluster.merge(Kind.LEASE, world.namespace, "app01-ssh", patch)
                return await method(*arguments, **named)

            return delete

    for at in range(1, len(KINDS) + 1):
        world.ahead_s += DAY_S
        await world.request_shell()
        await brought(world, ALL)
        world.ahead_s += HOUR_S
        await brought(world, STOPPED)
        world.ahead_s += 2 * DAY_S
        async with world.controller(Knocking(at)):
            await world.until(ALL)
