"""The copy of a run's log in the gateway's folder, from a container's log that breaks off."""

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import pytest

from stagedoor.holder.run_folder import RunStatus
from stagedoor.model.cluster import ClusterError
from stagedoor.model.run import START_WITHIN_S, Output, Run, RunState
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.live.namespace_directory import (
    NamespaceDirectory,
    NamespaceSelector,
)
from stagedoor.shells.kubernetes.live.runs.folder import ClusterRunFolders, RunApp
from stagedoor.shells.kubernetes.live.runs.log_copies import CHECK_S, RunLogCopies, RunLogCopy
from stagedoor.shells.kubernetes.live.runs.runner import KubernetesRunner
from stagedoor.shells.kubernetes.names import make_run_labels
from tests.kube.memory import MemoryCluster
from tests.shells.kubernetes.test_run import kit_message, terminated
from tests.virtual_time import in_virtual_time

RUN = "0123456789ab"


class Log:
    """A container's log: what each reading of it yields. None breaks off."""

    def __init__(self, *readings: list[bytes | None]) -> None:
        self._readings = list(readings)

    async def follow_log(
        self, namespace: str, pod: str, container: str
    ) -> AsyncGenerator[bytes, None]:
        for piece in self._readings.pop(0) if self._readings else []:
            if piece is None:
                raise ClusterError("broken", status=None, reason="NoAnswer", retry=True)
            yield piece


def pod(state: dict[str, Any], **metadata: str) -> dict[str, Any]:
    return {"metadata": {"name": "run-x", **metadata}, **state}


RUNNING = pod({"status": {"containerStatuses": [{"name": "shell", "state": {"running": {}}}]}})


def ended(code: int, size: int, state: str = "exited") -> dict[str, Any]:
    return pod(terminated({**kit_message(state, code), "size": size}))


class House:
    """A run's folder, and its pod as it is at each look."""

    def __init__(self, folder: Path) -> None:
        self.folders = ClusterRunFolders(folder, lambda: 1000.0)

    async def copy(
        self, log: Log, *pods: dict[str, Any] | None, cancelled: bool = False, now: float = 1000.0
    ) -> None:
        looks = list(pods)

        async def wait(within_s: float) -> None:
            return

        async def was_cancelled() -> bool:
            return cancelled

        await RunLogCopy(
            log,  # type: ignore[arg-type]  # only its log is asked for
            self.folders.make(RUN, RunApp("apps", "app01")),
            "apps",
            lambda: looks.pop(0) if len(looks) > 1 else looks[0],
            wait,
            was_cancelled,
            lambda: now,
        ).follow()

    def log(self) -> bytes:
        log = b""
        while pieces := self.folders.read(RUN, len(log), 1000):
            log += b"".join(piece.data for piece in pieces)
        return log

    def end(self) -> tuple[RunState, int, str]:
        end = self.folders.observe(RUN)
        assert not isinstance(end, RunState)
        return end.state, end.code, end.detail


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "runs")


@pytest.mark.platform(2, 3)
async def test_a_log_that_breaks_off_is_read_again_and_no_byte_twice(house: House) -> None:
    first = b"1970-01-01T00:01:40Z o 0 ab\\n\n"
    log = Log([first + b"1970-01-01T00:01:41Z e 3 c", None], [first, b"e 3 cd\n"], [])
    await house.copy(log, RUNNING, RUNNING, ended(0, 5))
    assert house.log() == b"ab\ncd"
    assert house.end() == (RunState.EXITED, 0, "")
    assert house.folders.read(RUN, 0, 1000) == [
        Output(0, b"ab\n", False, 100.0),
        Output(3, b"cd", True, 1000.0),
    ]


async def test_a_worker_goes_on_where_another_was_killed(house: House) -> None:
    with pytest.raises(KeyError):
        await house.copy(Log([b"o 0 abc\n"]), RUNNING, {})
    await house.copy(Log([b"o 0 abc\n", b"o 3 def\n"]), ended(0, 6))
    assert house.log() == b"abcdef"


@in_virtual_time
async def test_output_is_found_after_the_node_could_not_read_it_for_seconds(house: House) -> None:
    """Other pods change meanwhile, so `wait` returns at once."""
    await house.copy(Log([], [None], [None], [None], [b"o 0 abcd\n"]), RUNNING, ended(0, 4))
    assert house.log() == b"abcd"
    assert house.end() == (RunState.EXITED, 0, "")


@in_virtual_time
async def test_an_end_that_was_seen_counts_though_the_pod_is_deleted_then(house: House) -> None:
    await house.copy(Log([b"o 0 ab\n"]), ended(7, 4), None)
    state, code, detail = house.end()
    assert (state, code) == (RunState.EXITED, 7)
    assert "the last 2 bytes of its output were lost" in detail


@in_virtual_time
async def test_what_was_lost_is_a_gap_and_is_named(house: House) -> None:
    await house.copy(Log([b"o 4 ef\n"]), ended(0, 10))
    assert house.folders.measure(RUN) == (4, 6)
    state, code, detail = house.end()
    assert (state, code) == (RunState.EXITED, 0)
    assert "the last 4 bytes of its output were lost" in detail


async def test_a_gap_that_a_rotation_left_is_named(house: House) -> None:
    await house.copy(Log([b"o 0 ab\n", b"o 4 ef\n"]), ended(0, 6))
    assert house.folders.read(RUN, 1, 100)[0].data == b"b"
    assert house.folders.read(RUN, 2, 100)[0].start == 4
    state, code, detail = house.end()
    assert (state, code) == (RunState.EXITED, 0)
    assert detail == "2 bytes of its output were lost as the node began a new log file"


@pytest.mark.platform(5)
@pytest.mark.parametrize(
    ("pods", "cancelled", "state"),
    [
        ((RUNNING, None), False, RunState.LOST),
        ((RUNNING, None), True, RunState.CANCELLED),
        ((ended(143, 0, "stopped"),), False, RunState.LOST),
        ((ended(143, 0, "stopped"),), True, RunState.CANCELLED),
        ((ended(0, 0),), True, RunState.EXITED),
        (
            (pod({"status": RUNNING["status"]}, deletionTimestamp="1970-01-01T00:00:01Z"),),
            False,
            RunState.LOST,
        ),
    ],
)
async def test_who_ended_a_run(
    house: House, pods: tuple[dict[str, Any] | None, ...], cancelled: bool, state: RunState
) -> None:
    await house.copy(Log(), *pods, cancelled=cancelled)
    assert house.end()[0] is state


async def test_one_worker_copies_a_run(house: House) -> None:
    folder = house.folders.make(RUN, RunApp("apps", "app01"))
    folder.show_life()
    await house.copy(Log(), None)
    assert house.folders.observe(RUN) is RunState.STARTING


async def find_run_app(run_id: str) -> RunApp | None:
    """Return the app of the run RUN, the only one in the store."""
    return RunApp("apps", "app01") if run_id == RUN else None


class CountedFolders(ClusterRunFolders):
    """Folders that count how often the app of a run is read."""

    reads = 0

    def read_run_app(self, run_id: str) -> RunApp:
        self.reads += 1
        return super().read_run_app(run_id)


@in_virtual_time
async def test_the_folder_of_an_ended_run_is_not_read_again(tmp_path: Path) -> None:
    """Runs are kept for days, and a look follows each change of a pod."""
    folders = CountedFolders(tmp_path, lambda: time.time() + 2 * START_WITHIN_S)
    folder = folders.make(RUN, RunApp("apps", "app01"))
    folder.write_status(RunStatus("exited", 1, 0, 1.0))
    copies = RunLogCopies(cast("Any", MemoryCluster()), None, folders, find_run_app, time.time)
    following = asyncio.create_task(copies.run())
    await asyncio.sleep(5 * CHECK_S)
    following.cancel()
    assert folders.reads == 3, "before the pods were listed, and twice after it"


class CopiedPods(MemoryCluster):
    """A cluster in which each run's log is empty, and the pods whose logs were read are known."""

    def __init__(self) -> None:
        super().__init__()
        self.copied: set[str] = set()

    async def follow_log(
        self, namespace: str, pod: str, container: str
    ) -> AsyncGenerator[bytes, None]:
        self.copied.add(f"{namespace}/{pod}")
        return
        yield

    def put_pod(self, namespace: str, run_id: str, code: int | None) -> None:
        """Put the pod of a run, which runs, or has ended with a code."""
        state = RUNNING if code is None else ended(code, 0)
        owner = {"kind": "Job", "name": f"run-{run_id}", "uid": run_id, "controller": True}
        metadata = {"name": f"run-{run_id}-x", "namespace": namespace, "ownerReferences": [owner]}
        metadata["labels"] = make_run_labels("app01")
        self.put({"apiVersion": "v1", "kind": "Pod", **state, "metadata": metadata})


@in_virtual_time
async def test_a_run_whose_namespace_is_not_known_yet_is_copied_once_it_is(tmp_path: Path) -> None:
    """A gateway that starts may see pods before namespaces, and the store may be out of reach."""
    cluster = CopiedPods()
    cluster.put_pod("team", RUN, None)
    directory = NamespaceDirectory(cluster, NamespaceSelector("stagedoor.dev/shells=true"))
    target = Target("app01", "team")

    async def find_runs(run_id: str) -> list[Run]:
        return [Run(run_id, target, "dev", "true", RunState.RUNNING, 0.0, 60)]

    runner = KubernetesRunner(
        *(cast("Any", cluster), directory, lambda _: True, find_runs, tmp_path, "gateway-0")
    )
    tasks = [asyncio.create_task(work) for work in (runner.run(), *directory.list_coroutines())]
    await asyncio.sleep(3 * CHECK_S)
    assert runner.list_ids() == set()
    labels = {"stagedoor.dev/shells": "true"}
    cluster.put(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team", "labels": labels}}
    )
    await asyncio.sleep(3 * CHECK_S)
    for task in tasks:
        task.cancel()
    assert runner.observe(RUN) is RunState.RUNNING


@in_virtual_time
async def test_a_pod_in_another_namespace_is_not_that_of_a_run(tmp_path: Path) -> None:
    """A tenant who may create pods can give one the id of another tenant's run, and any end."""
    cluster, folders = CopiedPods(), ClusterRunFolders(tmp_path, time.time)
    cluster.put_pod("evil", RUN, 0)
    copies = RunLogCopies(cast("Any", cluster), None, folders, find_run_app, time.time)
    following = asyncio.create_task(copies.run())
    await asyncio.sleep(CHECK_S)
    cluster.put_pod("apps", RUN, None)
    cluster.put_pod("elsewhere", "ba9876543210", None)  # of another installation
    await asyncio.sleep(5 * CHECK_S)
    assert cluster.copied == {f"apps/run-{RUN}-x"}
    assert folders.list_ids() == {RUN}
    assert folders.observe(RUN) is RunState.RUNNING
    followed = copies.find_pod("apps", RUN)
    assert followed is not None
    assert followed["metadata"]["namespace"] == "apps"
    cluster.put_pod("apps", RUN, 7)
    await asyncio.sleep(5 * CHECK_S)
    following.cancel()
    end = folders.observe(RUN)
    assert not isinstance(end, RunState)
    assert end.code == 7
