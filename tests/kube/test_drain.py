"""A node that is drained, on a real cluster: what developers see, and what their runs say."""

import json
import os
import pty
import subprocess
from collections.abc import Iterator

import pytest

from stagedoor.model.permission import Permission
from tests.cluster import programs, second
from tests.cluster.place import SECOND_TAINT
from tests.fixtures.cluster import WITHIN_S, Cluster, KubeGateway, shared_kube, until
from tests.kube.apps import deployment
from tests.kube.test_runs import find, start

pytestmark = pytest.mark.timeout(400)  # real clocks, on a machine that does other things too


@pytest.fixture
def node(cluster: Cluster, kit: str) -> Iterator[str]:
    """A second node, on which pods run that prefer it."""
    name = second.start(cluster.place, (cluster.image("busybox"), kit))
    try:
        yield name
    finally:
        cluster.kubectl("delete", "node", name, "--wait=false")
        second.stop(cluster.place)


@pytest.fixture
def kube(
    cluster: Cluster, kit: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KubeGateway]:
    with shared_kube(cluster, kit, tmp_path_factory.mktemp("drain")) as kube:
        kube.gateway.permit("user:dev", "app01", Permission.RUN)
        yield kube


def on_node(kube: KubeGateway, name: str) -> dict[str, object]:
    """Return an app whose pods prefer a node."""
    app = deployment(kube.namespace)
    term = {"key": "kubernetes.io/hostname", "operator": "In", "values": [name]}
    preferred = {"weight": 100, "preference": {"matchExpressions": [term]}}
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preferred]}}
    app["spec"]["template"]["spec"] |= {
        "affinity": affinity,
        "tolerations": [{"key": SECOND_TAINT, "operator": "Exists"}],
    }
    return app


@pytest.mark.platform(5)
def test_a_drained_node_gives_sessions_time_and_its_runs_are_lost(
    kube: KubeGateway, node: str
) -> None:
    kube.deploy(on_node(kube, node))
    terminal, far = pty.openpty()
    command = kube.ssh_command("-tt", "app01.ssh", "cat")
    session = subprocess.Popen(command, stdin=far, stdout=subprocess.PIPE, stderr=far)
    os.close(far)
    assert session.stdout is not None
    kubectl = [str(programs.program("kubectl")), f"--kubeconfig={kube.cluster.kubeconfig}"]
    drain = None
    try:
        os.write(terminal, b"here\n")
        assert session.stdout.readline().strip() == b"here"
        run_id = start(kube, "echo begun; sleep 600")
        pods = [*kube.objects("pods"), *kube.objects("pods", "stagedoor.dev/run-of")]
        assert {pod["spec"]["nodeName"] for pod in pods} == {node}, "they prefer it"

        words = ("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force")
        drain = subprocess.Popen(
            [*kubectl, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for line in session.stdout:
            if b"this shell is being stopped" in line:
                break
        assert b"ends in 10 min." in line, "controller.grace_s"
        ended = find(kube, run_id)
        assert (ended["state"], ended["code"]) == ("lost", 76)
        assert kube.must("app01", "echo elsewhere") == "elsewhere\n"
        [pod] = [
            pod for pod in kube.objects("pods") if not pod["metadata"].get("deletionTimestamp")
        ]
        assert pod["spec"]["nodeName"] != node, "the next login is on another node"
        os.write(terminal, b"still here\n")
        until(lambda: b"still here" in session.stdout.readline(), "the open session goes on")
        assert drain.poll() is None, "the drain waits for it"
        session.kill()
        output, _ = drain.communicate(timeout=WITHIN_S)
        assert drain.returncode == 0, output
    finally:
        for process in filter(None, (session, drain)):
            process.kill()
            process.communicate()
        os.close(terminal)
    left = json.loads(kube.kubectl("get", "pods", "-o", "json"))["items"]
    assert not [pod for pod in left if pod["spec"].get("nodeName") == node]
