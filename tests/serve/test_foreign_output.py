"""What the supervisor makes of a process of its own that prints other lines, and of a fault of its own."""

import asyncio
import sys
from collections.abc import Sequence

import pytest

from stagedoor.serve.prepare import VerifiedSettings
from stagedoor.serve.supervisor import fleet, side_services, worker_process
from stagedoor.serve.supervisor.control import Sign, Signed, StartMessage, Up
from stagedoor.serve.supervisor.fleet_events import Exited, SpawnFailed, WorkerMessage
from stagedoor.serve.supervisor.side_services import ControllerProcess
from stagedoor.serve.supervisor.worker_process import WorkerProcess
from stagedoor.settings.kubernetes import KubernetesSettings
from stagedoor.settings.settings import Settings
from tests.waiting import BOUND_S

LONG = "x" * 100_000
"""A line beyond asyncio's limit of 64 KiB."""


def prints(*lines: str) -> object:
    """Return a `start_module` whose process prints these lines."""

    async def start_module(name: str, fds: Sequence[int] = ()) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "import sys; print(*sys.argv[1:], sep='\\n')", *lines),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )

    return start_module


async def never(request: Sign) -> Signed:
    raise AssertionError(request)


async def test_a_worker_that_prints_other_lines_is_still_followed_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        worker_process, "start_module", prints("a warning", LONG, '{"type":"up"}', LONG)
    )
    reported: list[SpawnFailed | WorkerMessage | Exited] = []
    process = WorkerProcess(7, "one", reported.append, never)
    async with asyncio.timeout(BOUND_S):
        await process.run(lambda: StartMessage("", "", "one", ()))
    assert reported == [WorkerMessage(7, Up()), Exited(7, 0)]


async def test_a_controller_that_prints_other_lines_still_says_why_it_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        side_services, "start_module", prints(LONG, '{"type":"failed","message":"no Lease"}')
    )
    async with asyncio.timeout(BOUND_S):
        checked = VerifiedSettings(Settings(), "", "")
        assert await side_services._run_once(checked) == "no Lease"


async def test_the_controller_is_started_again_whatever_went_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starts = asyncio.Semaphore(0)

    async def fails(name: str, fds: Sequence[int] = ()) -> asyncio.subprocess.Process:
        starts.release()
        raise ValueError("a bug")

    monkeypatch.setattr(side_services, "start_module", fails)
    monkeypatch.setattr(fleet, "choose_delay_s", lambda deaths: 0)
    settings = Settings(kubernetes=KubernetesSettings(leaving=("apps",), controller=True))
    controller = ControllerProcess()
    async with asyncio.timeout(BOUND_S):
        await controller.apply_settings(VerifiedSettings(settings, "", ""))
        for _ in range(2):
            await starts.acquire()
        await controller.stop()
