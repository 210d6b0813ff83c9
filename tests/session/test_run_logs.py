"""The bound of all runs' logs on a disk: which output goes first, and what a reader gets instead."""

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stagedoor.holder import run_folder
from stagedoor.holder.run_folder import LogWriter, RunFolder, RunStatus
from stagedoor.model.run import Output, Run, RunLog, RunState
from stagedoor.model.target import Target
from stagedoor.session.run_reader import RunReader
from stagedoor.session.run_watch import RunWatch
from stagedoor.shells.run_folders import RunFolders
from tests.waiting import until


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "SEGMENT_BYTES", 100)
    monkeypatch.setattr(run_folder, "SEGMENTS", 1000)


@pytest.fixture
def folders(tmp_path: Path) -> RunFolders:
    return RunFolders(tmp_path, lambda: 1000.0)


def write(folders: RunFolders, run_id: str, size: int, ended_at: float | None = None) -> LogWriter:
    """Make a run with `size` bytes of output, in pieces of 10."""
    folder = RunFolder(folders._folder / run_id)
    folder.folder.mkdir()
    log = LogWriter(folder)
    for _ in range(size // 10):
        log.append(b"123456789\n", is_error=False, at=0)
    if ended_at is not None:
        log.close_files()
        folder.write_status(RunStatus("exited", 1, 0, ended_at, "", size))
        os.utime(folder.folder, (ended_at, ended_at))
    return log


def test_the_logs_of_the_oldest_ended_runs_go_first(folders: RunFolders) -> None:
    for number, run_id in enumerate(("old", "middle", "young")):
        write(folders, run_id, 500, ended_at=number)
    write(folders, "running", 500)
    ended = {"old", "middle", "young"}
    folders.remove_excess(ended, 10_000)
    assert all(folders.measure(run_id) == (0, 500) for run_id in folders.list_ids())
    folders.remove_excess(ended, 1300)  # with their indexes the four have more than 2,000
    assert folders.measure("old") == folders.measure("middle") == (0, 0)
    assert folders.measure("young") == folders.measure("running") == (0, 500)
    assert folders.list_ids() == {*ended, "running"}, "an ended run is not copied again"


def test_of_the_runs_that_go_on_the_largest_loses_its_beginning(folders: RunFolders) -> None:
    log = write(folders, "flood", 1000)
    write(folders, "small", 300)
    folders.remove_excess((), 900)
    first, size = folders.measure("flood")
    assert (first % 100, size) == (0, 1000)
    assert 300 <= first <= 700
    assert folders.measure("small") == (0, 300)
    log.append(b"more", is_error=False, at=0)
    assert folders.read("flood", 0, 100)[0].start == first, "a reader sees where the gap ends"
    assert folders.measure("flood") == (first, 1004)
    folders.remove_excess((), 0)
    assert folders.measure("flood") == (1000, 1004), "what is being written stays"


class Records:
    """Records of one run that has ended."""

    def __init__(self, run: Run, log: RunLog) -> None:
        self.run, self.log = run, log

    async def read_log(self, run_id: str) -> RunLog:
        return self.log

    async def end(self, run_id: str, end: object, log: RunLog) -> Run | None:
        self.log = log
        return None

    async def find_lost(self) -> list[object]:
        return []

    async def forget_old(self) -> set[str]:
        return {self.run.id}


async def test_of_a_log_that_was_removed_the_store_has_the_end(
    folders: RunFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folders, "old", 500, ended_at=1.0)
    run = Run(
        "old",
        Target("app01"),
        "dev",
        "seq",
        RunState.EXITED,
        0.0,
        60,
        ended_at=1.0,
        code=0,
        size=500,
    )
    records: Any = Records(run, RunLog())
    runner: Any = SimpleNamespace(
        list_ids=folders.list_ids,
        observe=lambda run_id: folders._make_end(
            cast(RunStatus, folders.find(run_id).read_status())
        ),
        measure=folders.measure,
        read=folders.read,
        remove_excess=lambda ended: folders.remove_excess(ended, 0),
    )
    watching = asyncio.create_task(
        RunWatch(records, runner, lambda run, output: None, lambda problem: None).run()
    )
    await until(lambda: folders.measure("old") == (0, 0))
    watching.cancel()
    records.log = RunLog(records.log.tail[-100:], 500)
    nothing: Any = None
    reader = RunReader(nothing, records, runner, nothing)
    end = [Output(400, b"123456789\n" * 10)]
    assert await reader.read(run, 0) == end
    assert await reader.read(run, 500) == []
    assert await reader.read_end(run, 1000) == end


async def test_a_run_that_fails_does_not_hide_the_ends_of_others(folders: RunFolders) -> None:
    write(folders, "old", 500, ended_at=1.0)
    run: Any = SimpleNamespace(id="old")
    records: Any = Records(run, RunLog())

    def observe(run_id: str) -> object:
        if run_id != "old":
            raise OSError("the API refuses it")
        return folders._make_end(cast(RunStatus, folders.find(run_id).read_status()))

    runner: Any = SimpleNamespace(
        list_ids=lambda: {"old", *(f"failing{number}" for number in range(20))},
        observe=observe,
        measure=folders.measure,
        read=folders.read,
        remove_excess=lambda ended: None,
    )
    problems: list[str | None] = []
    watching = asyncio.create_task(
        RunWatch(records, runner, lambda run, output: None, problems.append).run()
    )
    await until(lambda: bool(problems))
    watching.cancel()
    assert records.log.size == 500
    assert problems == ["OSError: the API refuses it"]
