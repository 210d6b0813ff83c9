"""What the controller does about a run, by its lease and its Job."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest

from stagedoor.controller.runs import (
    CANCELLED_LEASE_KEPT_S,
    RESUME_WITHIN_S,
    RunReconciler,
    RunStep,
    decide_run,
)
from stagedoor.model.cluster import Change, Kind
from stagedoor.model.run import RunOrder
from stagedoor.shells.kubernetes.live.namespace_directory import NamespaceDirectory
from stagedoor.shells.kubernetes.names import FAILURE, RUN_CANCELLED, RUN_JOB, make_run_labels
from stagedoor.wire.rfc3339 import show_time
from tests.controller.test_namespaces_by_label import SELECTOR
from tests.kube.memory import MemoryCluster
from tests.virtual_time import in_virtual_time

NOW = 1_700_000_000.0


def lease(age_s: float = 1.0, **annotations: str) -> dict[str, Any]:
    names = {"job": RUN_JOB, "cancelled": RUN_CANCELLED, "failure": FAILURE}
    marks = {names[key]: value for key, value in annotations.items()}
    return {
        "metadata": {"annotations": marks},
        "spec": {"renewTime": show_time(NOW - age_s, micro=True)},
    }


def job(*, suspend: bool = False, ended: str = "") -> dict[str, Any]:
    conditions = [{"type": ended, "status": "True"}] if ended else []
    return {
        "metadata": {"uid": "u-1"},
        "spec": {"suspend": suspend},
        "status": {"conditions": conditions},
    }


LATE = RESUME_WITHIN_S + 1
CANCELLED = show_time(NOW - 1)
FAILED = '{"step": "x", "message": "y"}'


@pytest.mark.platform(5)
@pytest.mark.parametrize(
    ("lease", "job", "step"),
    [
        (lease(), None, RunStep.CREATE),
        (lease(failure=FAILED), None, RunStep.NOTHING),
        (lease(), job(suspend=True), RunStep.MARK),
        (lease(job="u-1"), job(suspend=True), RunStep.RESUME),
        (lease(job="u-1"), job(), RunStep.NOTHING),
        (lease(LATE, job="u-1"), job(), RunStep.NOTHING),
        (lease(LATE, job="u-1"), job(ended="Complete"), RunStep.DELETE_LEASE),
        (lease(job="u-1"), job(ended="Failed"), RunStep.DELETE_LEASE),
        # A Job is created once, and one of another client is left alone.
        (lease(job="u-1"), None, RunStep.DELETE_LEASE),
        (lease(job="u-2"), job(suspend=True), RunStep.NOTHING),
        # No gateway waits any more.
        (lease(LATE), None, RunStep.DELETE_LEASE),
        (lease(LATE, job="u-1"), job(suspend=True), RunStep.DELETE_JOB),
        (None, job(suspend=True), RunStep.DELETE_JOB),
        (None, job(), RunStep.NOTHING),
        # The lease of a cancelled run says a while that it was cancelled.
        (lease(job="u-1", cancelled=CANCELLED), job(), RunStep.DELETE_JOB),
        (lease(job="u-1", cancelled=CANCELLED), None, RunStep.NOTHING),
        (lease(cancelled=CANCELLED), None, RunStep.NOTHING),
        (lease(cancelled=show_time(NOW - CANCELLED_LEASE_KEPT_S - 1)), None, RunStep.DELETE_LEASE),
        (None, None, RunStep.NOTHING),
    ],
)
def test_the_next_step_of_a_run(
    lease: dict[str, Any] | None, job: dict[str, Any] | None, step: RunStep
) -> None:
    assert decide_run(lease, job, NOW) is step


class LateJobs(MemoryCluster):
    """A cluster whose Jobs are listed a second after its leases."""

    async def watch(self, kind: Kind, *how: Any, **options: Any) -> AsyncGenerator[Change, None]:
        if kind is Kind.JOB:
            await asyncio.sleep(1)
        async for change in super().watch(kind, *how, **options):
            yield change


@in_virtual_time
async def test_a_lease_that_is_seen_before_the_jobs_are_waits_for_them_alone() -> None:
    """The first run after a start took ten seconds more: until the next look at all runs."""
    cluster = LateJobs()
    asked = asyncio.Event()

    async def find_order(_: str) -> RunOrder | None:
        asked.set()
        return None

    directory = NamespaceDirectory(cluster, {None: "team"})
    runs = RunReconciler(
        cluster, directory, cast("Any", None), find_order, lambda *_: None, lambda: NOW
    )
    meta = {"namespace": "team", "name": "run-a", "labels": make_run_labels("app01")}
    cluster.put({"apiVersion": "v1", "kind": "Lease", **lease(), "metadata": meta})
    working = asyncio.create_task(runs.run())
    try:
        async with asyncio.timeout(2):
            await asked.wait()
    finally:
        working.cancel()


@pytest.mark.platform(29)
@in_virtual_time
async def test_without_its_label_a_namespace_starts_no_run_and_ends_those_that_have_begun() -> None:
    """In a namespace where this account may not delete Jobs, a run is another installation's."""
    cluster = MemoryCluster()

    def put(kind: str, namespace: str, name: str, item: dict[str, Any]) -> None:
        meta = {"namespace": namespace, "name": name, "labels": make_run_labels("app01")}
        metadata = {**item["metadata"], **meta}
        cluster.put({"apiVersion": "v1", "kind": kind, **item, "metadata": metadata})

    for namespace in ("team", "foreign"):
        put("Lease", namespace, "run-a", lease())
        for name, suspend in (("run-b", True), ("run-c", False)):
            put("Job", namespace, name, job(suspend=suspend))
            uid = cluster.objects[Kind.JOB, namespace, name]["metadata"]["uid"]
            put("Lease", namespace, name, lease(job=uid))
    cluster.close_namespace("foreign")
    directory = NamespaceDirectory(cluster, SELECTOR)

    async def find_order(_: str) -> RunOrder | None:
        raise AssertionError("no run starts")

    runs = RunReconciler(
        cluster, directory, cast("Any", None), find_order, lambda *_: None, lambda: NOW
    )
    tasks = [asyncio.create_task(work) for work in (*directory.list_coroutines(), runs.run())]
    await asyncio.sleep(60)
    for task in tasks:
        task.cancel()
    left = {key for key in cluster.objects if key[1] == "team"}
    assert left == {(Kind.LEASE, "team", "run-c"), (Kind.JOB, "team", "run-c")}
    assert len(cluster.objects) == 2 + 5
