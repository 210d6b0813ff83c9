"""The tests that every kind of shell must pass. An adapter's test file gives the fixtures and imports these.

kind        a `Kind`: how to make the adapter, what its apps are, how to see its starts
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.shell import ProgressStep, Shell, ShellState
from stagedoor.model.target import Target
from stagedoor.shells.ports import Shells
from tests.fixtures.people import grant
from tests.shells.host import ignore
from tests.waiting import BOUND_S

NOWHERE = Target("nowhere")


@dataclass
class Kind:
    """`make` gives a new adapter over the same shells, as another worker would have one.

    `starts` counts how often a shell was really started; `broken` makes an adapter whose `target`
    cannot start, None where nothing is started. `starts_on_demand` is False where a shell is just
    there.
    """

    target: Target
    make: Callable[[], Shells]
    starts: Callable[[], int]
    starts_on_demand: bool
    broken: Callable[[], Shells] | None = None


async def banner(shell: Shell) -> bytes:
    """Return what the shell's port says first: an sshd speaks before it is spoken to (RFC 4253 §4.2)."""
    async with asyncio.timeout(BOUND_S):
        reader, writer = await asyncio.open_connection(shell.host, shell.port)
        try:
            return await reader.readline()
        finally:
            writer.close()
            await writer.wait_closed()


async def ensured(shells: Shells, target: Target) -> Shell:
    shell = await shells.ensure(grant(target), ignore)
    assert isinstance(shell, Shell), shell
    return shell


async def test_every_target_is_listed_before_anything_is_started(kind: Kind) -> None:
    shells = kind.make()
    assert kind.target in shells.list_targets()
    assert list(shells.list_targets()) == sorted(shells.list_targets(), key=str)
    assert kind.starts() == 0


async def test_what_was_ensured_is_an_sshd_that_answers(kind: Kind) -> None:
    shell = await ensured(kind.make(), kind.target)
    assert shell.target == kind.target
    assert (await banner(shell)).startswith(b"SSH-2.0-")


async def test_a_shell_that_is_ready_is_the_one_that_ensure_returns(kind: Kind) -> None:
    shells = kind.make()
    before = shells.find_ready(grant(kind.target))
    assert (before is None or not kind.starts_on_demand, kind.starts()) == (True, 0)
    assert shells.find_ready(grant(NOWHERE)) is None
    shell = await ensured(shells, kind.target)
    assert before in (None, shell)
    assert shells.find_ready(grant(kind.target)) in (None, shell)


async def test_ensure_again_from_here_and_from_another_worker_is_the_same_shell(
    kind: Kind,
) -> None:
    one, two = kind.make(), kind.make()
    first = await ensured(one, kind.target)
    assert await ensured(one, kind.target) == first
    assert await ensured(two, kind.target) == first
    assert kind.starts() == (1 if kind.starts_on_demand else 0)


async def test_fifty_who_ask_at_once_cause_one_start(kind: Kind) -> None:
    workers = [kind.make() for _ in range(5)]
    answers = await asyncio.gather(
        *(ensured(shells, kind.target) for shells in workers for _ in range(10))
    )
    assert len(set(answers)) == 1
    assert kind.starts() == (1 if kind.starts_on_demand else 0)


async def test_an_unknown_app_is_a_denial_and_nothing_is_started(kind: Kind) -> None:
    shells = kind.make()
    denial = await shells.ensure(grant(NOWHERE), ignore)
    assert isinstance(denial, Denial)
    assert denial.reason is Reason.NO_APP
    assert "no app nowhere" in denial.message
    assert await shells.resolve(NOWHERE) is None
    assert await shells.observe(NOWHERE) is ShellState.ABSENT
    shells.touch(NOWHERE)
    shells.release(NOWHERE)
    assert kind.starts() == 0


async def test_an_environment_that_an_app_does_not_have_is_unknown(kind: Kind) -> None:
    denial = await kind.make().ensure(grant(Target(kind.target.app, "elsewhere")), ignore)
    assert isinstance(denial, Denial)
    assert denial.reason is Reason.NO_APP
    assert "elsewhere" in denial.message


async def test_looking_starts_nothing(kind: Kind) -> None:
    shells = kind.make()
    before = await shells.resolve(kind.target)
    state = await shells.observe(kind.target)
    assert kind.starts() == 0
    if kind.starts_on_demand:
        assert before is None
        assert state is ShellState.ABSENT
    shell = await ensured(shells, kind.target)
    assert await shells.resolve(kind.target) == shell
    seen = ShellState.READY if kind.starts_on_demand else ShellState.UNKNOWN
    assert await shells.observe(kind.target) is seen


async def test_coming_and_going_leaves_the_shell_up(kind: Kind) -> None:
    shells = kind.make()
    shell = await ensured(shells, kind.target)
    for _ in range(3):
        shells.touch(kind.target)
    for _ in range(3):
        shells.release(kind.target)
    assert await shells.resolve(kind.target) == shell


async def test_a_worker_that_closes_leaves_the_shell_up(kind: Kind) -> None:
    shells = kind.make()
    shell = await ensured(shells, kind.target)
    await shells.stop_watching()
    assert (await banner(shell)).startswith(b"SSH-2.0-")
    assert await kind.make().resolve(kind.target) == shell


async def test_whoever_waits_is_told_how_far_a_start_has_come(kind: Kind) -> None:
    if not kind.starts_on_demand:
        return
    steps: list[ProgressStep] = []
    assert isinstance(await kind.make().ensure(grant(kind.target), steps.append), Shell)
    assert steps
    assert all(step.name for step in steps)


async def test_one_who_gives_up_leaves_the_start_to_go_on(kind: Kind) -> None:
    shells = kind.make()
    begun = asyncio.Event()
    task = asyncio.create_task(shells.ensure(grant(kind.target), lambda _: begun.set()))
    if kind.starts_on_demand:
        async with asyncio.timeout(BOUND_S):
            await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    shell = await ensured(shells, kind.target)
    assert (await banner(shell)).startswith(b"SSH-2.0-")
    assert kind.starts() == (1 if kind.starts_on_demand else 0)


async def test_a_failed_start_names_the_step_and_can_be_tried_again(kind: Kind) -> None:
    if kind.broken is None:
        assert not kind.starts_on_demand
        return
    shells = kind.broken()
    denial = await shells.ensure(grant(kind.target), ignore)
    assert isinstance(denial, Denial)
    assert denial.reason is Reason.SHELL_UNAVAILABLE
    assert denial.retry_after_s
    assert kind.target.shell_name in denial.message
    assert denial.message.isprintable()
    assert await shells.observe(kind.target) is ShellState.FAILED
    assert await shells.resolve(kind.target) is None
    assert isinstance(await kind.make().ensure(grant(kind.target), ignore), Shell)
