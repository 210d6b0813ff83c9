"""The NetworkPolicy with real packets: a shell's port is open to the gateway's pods, and to no other pod."""

from collections.abc import Callable

import pytest

from tests.chart.chart import of_kind, render
from tests.cluster.asking import Manifest
from tests.cluster.pods import apply, fetched, pod, ready, until
from tests.fixtures.cluster import Cluster

PORT = 8080
"""The port of the test image's web server: the policy's port is changed to it, and nothing else."""

Namespace = Callable[..., str]


def labelled(name: str, image: str, labels: dict[str, str]) -> Manifest:
    made = pod(name, image)
    made["metadata"]["labels"] = labels
    return made


@pytest.mark.timeout(600)
def test_only_the_gateway_s_pods_reach_a_shell(
    cluster: Cluster, fresh_namespace: Namespace
) -> None:
    image = cluster.image("busybox")
    own, apps, other = fresh_namespace(), fresh_namespace(), fresh_namespace()
    objects = render(namespace=own, apps={"namespaces": [{"name": apps}]})
    gateway = {
        "app.kubernetes.io/name": "stagedoor",
        "app.kubernetes.io/instance": "stagedoor",
        "app.kubernetes.io/component": "gateway",
    }
    shell = {"app.kubernetes.io/managed-by": "stagedoor", "stagedoor.dev/shell-of": "app01"}
    people = {
        own: {
            "gateway": gateway,
            "controller": gateway | {"app.kubernetes.io/component": "controller"},
            "stranger": {"app": "stranger"},
        },
        # A user who may label pods in another namespace is not the gateway for that.
        other: {"stranger": {"app": "stranger"}, "impostor": gateway},
        apps: {
            "stranger": {"app": "stranger"},
            "impostor": gateway,
            "neighbour": {**shell, "stagedoor.dev/shell-of": "app02"},
        },
    }
    apply(
        cluster, apps, labelled("shell", image, shell), labelled("app01", image, {"app": "app01"})
    )
    for namespace, those in people.items():
        apply(cluster, namespace, *(labelled(name, image, how) for name, how in those.items()))
    target, app = ready(cluster, apps, "shell", "app01")
    for namespace, those in people.items():
        ready(cluster, namespace, *those)

    def reached(namespace: str, name: str, address: str = target) -> bool:
        return fetched(cluster, namespace, name, address, PORT) == "busybox\n"

    senders = [(namespace, name) for namespace, those in people.items() for name in those]
    for namespace, name in senders:
        until(f"before, {name} gets in", lambda a=namespace, b=name: reached(a, b))
    [policy] = [
        manifest
        for manifest in of_kind(objects, "NetworkPolicy")
        if manifest["metadata"]["namespace"] == apps
    ]
    [rule] = policy["spec"]["ingress"]
    sshd, endpoint = rule["ports"]
    assert sshd == {"protocol": "TCP", "port": 2222}
    assert endpoint == {"protocol": "TCP", "port": 2223}
    sshd["port"] = PORT
    apply(cluster, apps, policy)
    for namespace, name in senders:
        if (namespace, name) != (own, "gateway"):
            until(f"{name} of {namespace} stays out", lambda a=namespace, b=name: not reached(a, b))
    until("the gateway gets in", lambda: reached(own, "gateway"))
    until("the app itself is as open as it was", lambda: reached(apps, "stranger", app))

    sshd["port"] = PORT + 1
    apply(cluster, apps, policy)
    until("the gateway too reaches the shell's own ports only", lambda: not reached(own, "gateway"))

    endpoint["port"] = PORT
    apply(cluster, apps, policy)
    until("the gateway reaches the endpoint of tunnels", lambda: reached(own, "gateway"))
    for namespace, name in senders:
        if (namespace, name) != (own, "gateway"):
            assert not reached(namespace, name), f"{name} of {namespace} reaches the endpoint"
