"""A controller that dies at any of its requests leaves nothing that the next one does not put right.

A death is a request at which all ends, before the API has it or after: whatever the controller had in
memory is gone, and nothing of its code runs any more. The same with a real process and a real API server,
once for each of what it does, is `tests/kube/api/test_controller_sigkilled.py`.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

import pytest

from stagedoor.model.cluster import Change, Kind
from stagedoor.shells.kubernetes.derive import objects
from tests.kube.api.one_app import ALL, KINDS, STOPPED, OneApp, brought
from tests.kube.apps import deployment
from tests.kube.memory import MemoryCluster
from tests.virtual_time import in_virtual_time

EPOCH_S = 1_800_000_000.0
HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
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

    def watch(
        self, kind: Kind, namespace: str, labels: str = "", **named: Any
    ) -> AsyncGenerator[Change, None]:
        return self._cluster.watch(kind, namespace, labels, **named)


@pytest.fixture
def one_app() -> OneApp:
    cluster = MemoryCluster()

    def elapsed_s() -> float:
        return asyncio.get_running_loop().time()

    new = OneApp(cluster, "apps", lambda: EPOCH_S + elapsed_s(), elapsed_s)
    new.app = cluster.put(deployment("apps"))
    return new


async def killed_at_each_step(
    one_app: OneApp,
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
        mortal = Mortal(one_app.cluster, last, late)
        async with one_app.controller(mortal) as task:
            done = asyncio.create_task(one_app.until(wanted))
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
        await brought(one_app, wanted)
        if survived:
            return last - 1
    raise AssertionError("it never ends")


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@in_virtual_time
async def test_killed_at_any_step_of_a_start_the_next_one_finishes_it(
    one_app: OneApp, late: bool
) -> None:
    async def before() -> None:
        one_app.ahead_s += HOUR_S
        if await one_app.here():
            await brought(one_app, STOPPED)
        one_app.ahead_s += 2 * DAY_S
        await brought(one_app, set())
        await one_app.request_shell()

    steps = await killed_at_each_step(one_app, before, ALL, late=late)
    assert steps >= 4  # Service, ConfigMap, Secret, Deployment; the lease is the gateway's


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@in_virtual_time
async def test_killed_at_any_step_of_a_stop_the_next_one_finishes_it(
    one_app: OneApp, late: bool
) -> None:
    async def before() -> None:
        await one_app.request_shell()
        await brought(one_app, ALL)
        one_app.ahead_s += HOUR_S

    assert await killed_at_each_step(one_app, before, STOPPED, late=late) >= 1


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@in_virtual_time
async def test_killed_at_any_step_of_a_deletion_the_next_one_leaves_nothing(
    one_app: OneApp, late: bool
) -> None:
    async def before() -> None:
        await one_app.request_shell()
        await brought(one_app, ALL)
        one_app.ahead_s += HOUR_S
        await brought(one_app, STOPPED)
        one_app.ahead_s += 2 * DAY_S

    steps = await killed_at_each_step(one_app, before, set(), late=late)
    assert steps >= len(KINDS)


@in_virtual_time
async def test_somebody_who_knocks_while_all_is_deleted_is_not_forgotten(one_app: OneApp) -> None:
    """The knock falls between any two of the deletions; afterwards there is a shell."""

    class Knocking(Mortal):
        def __init__(self, at: int) -> None:
            super().__init__(one_app.cluster, 10_000, False)
            self._at = at

        def __getattr__(self, name: str) -> Any:
            method = super().__getattr__(name)
            if name != "delete":
                return method

            async def delete(*arguments: Any, **named: Any) -> Any:
                self._at -= 1
                if self._at == 0:
                    # As a gateway does: it renews the lease that it sees.
                    patch = objects.make_renewal("gateway", one_app.now())
                    await one_app.cluster.merge(Kind.LEASE, one_app.namespace, "app01-ssh", patch)
                return await method(*arguments, **named)

            return delete

    for at in range(1, len(KINDS) + 1):
        one_app.ahead_s += DAY_S
        await one_app.request_shell()
        await brought(one_app, ALL)
        one_app.ahead_s += HOUR_S
        await brought(one_app, STOPPED)
        one_app.ahead_s += 2 * DAY_S
        async with one_app.controller(Knocking(at)):
            await one_app.until(ALL)
