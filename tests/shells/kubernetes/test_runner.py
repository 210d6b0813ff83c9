"""The gateway's part in the start of a run: the Job that it compares, and the bound of a namespace."""

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from stagedoor.controller.runs import RunReconciler
from stagedoor.model.cluster import Kind, Object
from stagedoor.model.run import Run, RunOrder, RunState
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.derive.annotations import AppSettings
from stagedoor.shells.kubernetes.derive.run import make_run_kit
from stagedoor.shells.kubernetes.live.namespace_directory import NamespaceDirectory
from stagedoor.shells.kubernetes.live.register import DeriveContext
from stagedoor.shells.kubernetes.live.runs import runner as module
from stagedoor.shells.kubernetes.live.runs.runner import KubernetesRunner
from stagedoor.shells.kubernetes.names import REGISTER, make_run_labels
from tests.kube.memory import Key, MemoryCluster
from tests.shells.kubernetes import samples
from tests.virtual_time import in_virtual_time

RUN = "0123456789ab"
APP01 = Target("app01")
ORDER = RunOrder(APP01, "id", timeout_s=60)
Bend = Callable[[dict[str, Any]], object]


class Accounts:
    """A gateway's runner and a controller at one cluster, in which no Job is resumed.

    `bend` changes a Job as it is created.
    """

    def __init__(self, folder: Path, bend: Bend = lambda job: None) -> None:
        self._bend = bend
        self.cluster = MemoryCluster()
        self.cluster.refused["merge Job"] = "the admission policy"
        self.cluster.put(samples.app("plain"))
        head = {"apiVersion": "v1", "kind": "ConfigMap"}
        self.cluster.put({**head, "metadata": {"namespace": "apps", "name": REGISTER}})
        self.registered: list[str] = []
        """Every entry that the register has had."""
        self.cluster.heard.append(self._hear)
        context = DeriveContext(samples.KIT, AppSettings())
        directory = NamespaceDirectory(self.cluster, {None: "apps"})

        async def find_runs(run_id: str) -> list[Run]:
            run = Run(run_id, APP01, "dev", ORDER.command, RunState.STARTING, time.time(), 60)
            return [run]

        self.runner = KubernetesRunner(
            *(cast("Any", self.cluster), directory, lambda _: True, find_runs, folder, "gateway-0"),
            context,
        )

        async def find_order(run_id: str) -> RunOrder:
            return ORDER

        alike = replace(context, kit=make_run_kit(context.kit))
        self._controller = RunReconciler(
            self.cluster, directory, alike, find_order, lambda *_: None, time.time
        )

    def _hear(self, key: Key, found: Object | None) -> None:
        if key[0] is Kind.JOB and found is not None and "selector" not in found["spec"]:
            created = copy.deepcopy(dict(found))
            uid = created["metadata"]["uid"]
            names = {"controller-uid": uid, "job-name": key[2]}
            added = names | {f"batch.kubernetes.io/{name}": text for name, text in names.items()}
            created["spec"]["template"]["metadata"]["labels"] |= added
            selector = {"batch.kubernetes.io/controller-uid": uid}
            created["spec"]["selector"] = {"matchLabels": selector}
            self._bend(created)
            self.cluster.put(created)
        if key == (Kind.CONFIG_MAP, "apps", REGISTER) and found is not None:
            self.registered += (found.get("data") or {}).values()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(work) for work in (self.runner.run(), self._controller.run())]
        yield
        for task in tasks:
            task.cancel()


def _template(job: dict[str, Any]) -> dict[str, Any]:
    return cast("dict[str, Any]", job["spec"]["template"]["spec"])


BENDS: dict[str, tuple[str, Bend]] = {
    "another command": (
        "spec.template.spec.containers",
        lambda job: _template(job)["containers"][0].update(args=["sh", "-c", "steal"]),
    ),
    "another account": (
        "spec.template.spec.serviceAccountName",
        lambda job: _template(job).update(serviceAccountName="admin"),
    ),
    "a second try": ("spec.backoffLimit", lambda job: job["spec"].update(backoffLimit=6)),
}


@pytest.mark.platform(10)
@pytest.mark.parametrize(("path", "bend"), BENDS.values(), ids=BENDS)
@in_virtual_time
async def test_a_job_that_is_not_what_the_app_has_is_not_registered(
    path: str, bend: Bend, tmp_path: Path
) -> None:
    accounts = Accounts(tmp_path, bend)
    async with accounts.run():
        why = await accounts.runner.start(RUN, ORDER)
    assert why is not None
    assert why.startswith("its Job is not what the app has at ")
    assert path in why
    assert accounts.registered == []


@in_virtual_time
async def test_the_job_that_the_app_has_is_registered_until_it_has_started(tmp_path: Path) -> None:
    """Nothing runs the pod here, so the start is given up."""
    accounts = Accounts(tmp_path)
    async with accounts.run():
        why = await accounts.runner.start(RUN, ORDER)
    assert why is not None
    assert "no controller has started its Job" in why
    job = accounts.cluster.objects[Kind.JOB, "apps", f"run-{RUN}"]
    assert accounts.registered == [f"{job['metadata']['uid']} None"]
    assert not accounts.cluster.objects[Kind.CONFIG_MAP, "apps", REGISTER].get("data")


@in_virtual_time
async def test_a_namespace_with_its_most_runs_is_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PER_NAMESPACE", 2)
    accounts = Accounts(tmp_path)

    def put(name: str, **status: object) -> None:
        meta = {"namespace": "apps", "name": name, "labels": make_run_labels("app02")}
        accounts.cluster.put(
            {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": status}
        )

    async with accounts.run():
        put("run-a-1")
        await asyncio.sleep(1)
        assert accounts.runner.find_limit(APP01) is None
        put("run-b-1", phase="Pending")
        await asyncio.sleep(1)
        limit = accounts.runner.find_limit(APP01)
        assert (
            limit == "the namespace of app01 has 2 runs, and more are not started; try again later"
        )
        assert accounts.runner.find_limit(Target("app01", "elsewhere")) is None
