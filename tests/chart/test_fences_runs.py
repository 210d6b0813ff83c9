"""The ValidatingAdmissionPolicy *runs* against a stolen token of the controller: a run has what its app has.

The legitimate Job is what `run_job` makes, and a gateway's account writes the register.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from stagedoor.model.run import RunOrder
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.derive.compare import find_job_differences
from stagedoor.shells.kubernetes.derive.kit import KitSource
from stagedoor.shells.kubernetes.derive.run import run_job, run_lease
from stagedoor.shells.kubernetes.live.register import identity
from stagedoor.shells.kubernetes.names import REGISTER
from tests.chart.conftest import Fenced
from tests.chart.shops import DEFAULTS, DIGEST, app, denied, enter, numbers
from tests.cluster.asking import Answer, Manifest
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
        self.id = f"{next(numbers):012x}"
        order = RunOrder(Target(shop.name), "id", timeout_s=60)
        self._job = run_job(shop.app, DEFAULTS, shop.derived, self.id, order)

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
    lease = order.fenced.gateway.create(dict(run_lease(order.app, order.id, "gateway-0", 1.0)))
    assert lease.ok, lease.message
    made = order.create()
    assert made.ok, made.message
    assert find_job_differences(order.job, made.body) == ()
    denied(order.resume(), "no gateway has let this run")
    order.approve(identity(made.body))
    resumed = order.resume_once_seen()
    assert resumed.ok, resumed.message


@pytest.mark.platform(5)
def test_a_job_that_is_created_again_is_not_resumed(order: Order) -> None:
    made = order.create()
    order.approve(identity(made.body))
    assert order.resume_once_seen().ok
    order.fenced.admin.merge(order.job, {"metadata": {"finalizers": None}})
    path = f"/apis/batch/v1/namespaces/{order.fenced.apps}/jobs/run-{order.id}"
    options = {"propagationPolicy": "Background"}
    assert order.fenced.controller.request("DELETE", path, options).ok
    wait_until(lambda: not order.fenced.admin.get(order.job).ok, 10.0, "it is deleted")
    assert order.create().ok
    denied(order.resume(), "no gateway has let this run")


def test_a_job_is_resumed_only_as_it_is(order: Order) -> None:
    made = order.create()
    order.approve(identity(made.body))
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


def test_the_gateway_creates_no_job_and_the_controller_writes_no_register(order: Order) -> None:
    assert order.fenced.gateway.create(order.job).status == 403
    register = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": REGISTER, "namespace": order.fenced.apps},
    }
    assert order.fenced.controller.merge(register, {"data": {f"run.{order.id}": "x"}}).status == 403
