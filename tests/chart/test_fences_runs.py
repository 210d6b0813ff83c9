"""The ValidatingAdmissionPolicy *runs* against a stolen token of the controller: a run has what its app has.

The legitimate Job is what `build_run_job` makes, and a gateway's account writes the register.
"""

import asyncio
import copy
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stagedoor.controller.runs import RunReconciler
from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.kubeconfig import load
from stagedoor.model.run import Run, RunOrder
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.derive.compare import find_job_differences
from stagedoor.shells.kubernetes.derive.kit import Kit, KitSource
from stagedoor.shells.kubernetes.derive.run import (
    build_run_input,
    build_run_job,
    build_run_lease,
    make_run_kit,
)
from stagedoor.shells.kubernetes.live.namespace_directory import NamespaceDirectory
from stagedoor.shells.kubernetes.live.register import DeriveContext, identify_shell
from stagedoor.shells.kubernetes.live.runs.runner import KubernetesRunner
from stagedoor.shells.kubernetes.names import REGISTER, make_shell_labels
from tests.chart.conftest import KIT, Fenced
from tests.chart.shops import DEFAULTS, DIGEST, app, denied, enter, numbers
from tests.cluster.asking import Answer, Asker, Manifest
from tests.kube.api.lone import LoneApi
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.timeout(300),  # the first of a process starts an API server
    pytest.mark.platform(10),
]
RESUME = {"spec": {"suspend": False}}


class Order:
    """A run that is to start, with its Job as the controller creates it."""

    def __init__(self, fenced: Fenced) -> None:
        self.fenced = fenced
        shop = enter(fenced, app(f"shop{next(numbers)}"), kit=KitSource.INIT, web=DIGEST)
        self.app = shop.app
        self.target = Target(shop.name)
        self.id = f"{next(numbers):012x}"
        order = RunOrder(self.target, "id", timeout_s=60)
        self._job = build_run_job(shop.app, shop.derived, self.id, order)

    @property
    def job(self) -> Manifest:
        return copy.deepcopy(dict(self._job))

    def create(self, job: Manifest | None = None) -> Answer:
        return self.fenced.controller.create(job or self.job)

    def approve(self, entry: str) -> None:
        register = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": REGISTER, "namespace": self.fenced.apps},
        }
        written = self.fenced.gateway.merge(register, {"data": {f"run.{self.id}": entry}})
        assert written.ok, written.message

    def resume(self, patch: Manifest = RESUME) -> Answer:
        return self.fenced.controller.merge(self.job, patch)

    def resume_once_seen(self) -> Answer:
        """Resume it when the API server's admission has seen the register."""
        answers: list[Answer] = []

        def is_seen() -> bool:
            answers.append(self.resume())
            return "nothing is written" not in answers[-1].message

        wait_until(is_seen, 10.0, "the register is seen")
        return answers[-1]


@pytest.fixture
def order(fenced: Fenced) -> Order:
    return Order(fenced)


def test_a_job_is_created_suspended_and_resumed_as_it_was_approved(order: Order) -> None:
    lease = order.fenced.gateway.create(
        dict(build_run_lease(order.app, order.id, "gateway-0", 1.0))
    )
    assert lease.ok, lease.message
    made = order.create()
    assert made.ok, made.message
    assert find_job_differences(order.job, made.body) == ()
    denied(order.resume(), "no gateway has let this run")
    order.approve(identify_shell(made.body))
    resumed = order.resume_once_seen()
    assert resumed.ok, resumed.message


@pytest.mark.platform(5)
def test_a_job_that_is_created_again_is_not_resumed(order: Order) -> None:
    made = order.create()
    order.approve(identify_shell(made.body))
    assert order.resume_once_seen().ok
    order.fenced.admin.merge(order.job, {"metadata": {"finalizers": None}})
    path = f"/apis/batch/v1/namespaces/{order.fenced.apps}/jobs/run-{order.id}"
    options = {"propagationPolicy": "Background"}
    assert order.fenced.controller.request("DELETE", path, options).ok
    wait_until(lambda: not order.fenced.admin.get(order.job).ok, 10.0, "it is deleted")
    assert order.create().ok
    denied(order.resume(), "no gateway has let this run")


@pytest.mark.platform(5)
async def test_gateway_and_controller_start_a_run_by_their_own_accounts(
    lone: LoneApi, order: Order, tmp_path: Path
) -> None:
    """Nothing runs the pod here, so the start ends when the Job is resumed."""
    fenced, wanted = order.fenced, RunOrder(order.target, "id", timeout_s=60)

    def connect(asker: Asker, component: str) -> KubeCluster:
        return KubeCluster(
            load(lone.kubeconfig(token=asker.token)),
            field_manager="stagedoor",
            component=component,
            instance=f"{component}-0",
            on_problem=lambda what, problem: None,
        )

    async def find_order(run_id: str) -> RunOrder:
        return wanted

    gateway, controller = (
        connect(fenced.gateway, "gateway"),
        connect(fenced.controller, "controller"),
    )
    context = DeriveContext(Kit(KIT), DEFAULTS)
    directory = NamespaceDirectory(gateway, {None: fenced.apps})

    async def find_runs(run_id: str) -> list[Run]:
        return []

    runner = KubernetesRunner(
        gateway, directory, lambda _: True, find_runs, tmp_path / "runs", "gateway-0", context
    )
    derived_alike = replace(context, kit=make_run_kit(context.kit))
    problems: list[str] = []
    reconciler = RunReconciler(
        controller,
        NamespaceDirectory(controller, {None: fenced.apps}),
        derived_alike,
        find_order,
        lambda _, problem, again_s: problems.append(problem),
        time.time,
    )
    working = [asyncio.create_task(work) for work in (runner.run(), reconciler.run())]
    starting = asyncio.create_task(runner.start(order.id, wanted))
    try:
        async with asyncio.timeout(30):
            while fenced.admin.get(order.job).body.get("spec", {}).get("suspend", True):
                assert not starting.done(), (starting.result(), problems)
                await asyncio.sleep(0.1)  # each look is a request
    finally:
        for task in (*working, starting):
            task.cancel()
        await asyncio.gather(*working, starting, return_exceptions=True)
        for client in (gateway, controller):
            await client.close_connections()


def test_a_job_is_resumed_only_as_it_is(order: Order) -> None:
    made = order.create()
    order.approve(identify_shell(made.body))
    assert order.resume_once_seen().ok
    for patch in ({"spec": {"activeDeadlineSeconds": 5}}, {"metadata": {"labels": {"x": "y"}}}):
        assert not order.resume(patch).ok


Bend = Callable[[Manifest], object]


def _pod(job: Manifest) -> Manifest:
    pod: Manifest = job["spec"]["template"]["spec"]
    return pod


def in_spec(**fields: Any) -> Bend:
    return lambda job: job["spec"].update(fields)


def in_pod(**fields: Any) -> Bend:
    return lambda job: _pod(job).update(fields)


BENDS: dict[str, Bend] = {
    "not suspended": in_spec(suspend=False),
    "many pods": in_spec(parallelism=2, completions=2),
    "tried again": in_spec(backoffLimit=3),
    "for ever": lambda job: job["spec"].pop("activeDeadlineSeconds"),
    "replaced at once": in_spec(podReplacementPolicy="TerminatingOrFailed"),
    "restarted": in_pod(restartPolicy="OnFailure"),
    "network of the node": in_pod(hostNetwork=True),
    "processes of the node": in_pod(hostPID=True),
    "a node": in_pod(nodeName="node"),
    "priority": in_pod(priorityClassName="system-node-critical"),
    "privileged": lambda job: _pod(job)["containers"][0].update(
        securityContext={"privileged": True}
    ),
    "label of the app's pods": lambda job: job["spec"]["template"]["metadata"]["labels"].update(
        app="shop"
    ),
    "label of a shell": lambda job: job["metadata"]["labels"].update(
        {"stagedoor.dev/shell-of": "shop"}
    ),
    "annotation of the pod": lambda job: job["spec"]["template"]["metadata"].update(
        annotations={"x.example/y": "z"}
    ),
    "another name": lambda job: job["metadata"].update(name="cronjob-1"),
    "no owner": lambda job: job["metadata"].update(ownerReferences=[]),
    "no run": lambda job: job["metadata"].update(labels={}),
}


@pytest.mark.parametrize("bend", BENDS.values(), ids=BENDS)
def test_another_job_is_refused_at_its_creation(order: Order, bend: Bend) -> None:
    bent = order.job
    bend(bent)
    denied(order.create(bent))


def test_a_job_that_is_no_run_is_left_alone_where_there_is_no_register(fenced: Fenced) -> None:
    (policy,) = (
        manifest
        for manifest in fenced.objects
        if manifest["kind"] == "ValidatingAdmissionPolicy"
        and manifest["metadata"]["name"].startswith("runs.")
    )
    # By label the policy is bound to every namespace, and a missing register refuses all that it matches.
    assert policy["spec"]["matchConstraints"]["objectSelector"] == {
        "matchExpressions": [{"key": "stagedoor.dev/run-of", "operator": "Exists"}]
    }


@pytest.mark.platform(8)
def test_the_input_of_a_run_is_written_once_and_by_the_gateway(order: Order) -> None:
    made = order.create()
    assert made.ok, made.message
    secret = dict(build_run_input(order.app, made.body, order.id, b"select 1;"))
    denied(order.fenced.controller.create(secret), "once, by the gateway")
    bends: dict[str, Bend] = {
        "can be changed": lambda it: it.update(immutable=False),
        "stays": lambda it: it["metadata"].update(
            ownerReferences=order.job["metadata"]["ownerReferences"]
        ),
        "another name": lambda it: it["metadata"].update(name="app-token"),
        "another run's": lambda it: it["metadata"].update(name="run-0123"),
        "of a shell": lambda it: it["metadata"].update(labels=make_shell_labels(order.target.app)),
        "another type": lambda it: it.update(type="example.com/token"),
        "of no run": lambda it: it["metadata"].update(labels={}),
    }
    for what, bend in bends.items():
        bent = copy.deepcopy(secret)
        bend(bent)
        assert order.fenced.gateway.create(bent).status == 403, what
    written = order.fenced.gateway.create(secret)
    assert written.ok, written.message
    other = {"data": {"input": "c2VsZWN0IDI7"}}
    for account in (order.fenced.controller, order.fenced.gateway):
        assert not account.merge(secret, other).ok
        assert account.delete(secret).status == 403


def test_the_gateway_creates_no_job_and_the_controller_writes_no_register(order: Order) -> None:
    assert order.fenced.gateway.create(order.job).status == 403
    register = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": REGISTER, "namespace": order.fenced.apps},
    }
    assert order.fenced.controller.merge(register, {"data": {f"run.{order.id}": "x"}}).status == 403
