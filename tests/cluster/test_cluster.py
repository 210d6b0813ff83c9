"""The cluster does what a cluster does: workloads, Services, names, policies proven with packets."""

import http.server
import json
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.images import PORT
from tests.cluster.pods import WAIT_S, apply, deployment, fetched, pod, ready, until
from tests.fixtures.cluster import Cluster

Namespaces = Callable[..., str]
pytestmark = pytest.mark.timeout(600)  # other tests use the node meanwhile


@pytest.fixture
def namespace(fresh_namespace: Namespaces) -> str:
    return fresh_namespace()


@pytest.fixture
def image(cluster: Cluster) -> str:
    return cluster.image("busybox")


def page(address: str, port: int) -> str | None:
    """Return the answer of a server to this machine."""
    try:
        with urllib.request.urlopen(f"http://{address}:{port}/", timeout=10) as answer:
            return str(answer.read().decode())
    except OSError:
        return None


def service(name: str, kind: str = "ClusterIP") -> dict[str, Any]:
    ports = [{"port": 80, "targetPort": PORT}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"type": kind, "selector": {"app": name}, "ports": ports},
    }


def test_a_deployment_goes_from_none_to_one_and_back(
    cluster: Cluster, namespace: str, image: str
) -> None:
    apply(cluster, namespace, deployment("web", image, 0))
    assert cluster.kubectl("-n", namespace, "get", "pods", "-o", "name") == ""
    cluster.kubectl("-n", namespace, "scale", "deployment", "web", "--replicas=1")
    cluster.kubectl(
        "-n", namespace, "rollout", "status", "deployment/web", f"--timeout={WAIT_S:.0f}s"
    )
    log = cluster.kubectl(
        "-n", namespace, "exec", "deployment/web", "--", "cat", "/app/www/index.html"
    )
    assert log == "busybox\n"
    cluster.kubectl("-n", namespace, "scale", "deployment", "web", "--replicas=0")
    gone = ("wait", "--for=delete", "pod", "-l", "app=web", f"--timeout={WAIT_S:.0f}s")
    cluster.kubectl("-n", namespace, *gone)


def test_a_service_is_reached_by_address_and_by_name_from_pods_and_from_here(
    cluster: Cluster, namespace: str, image: str
) -> None:
    apply(cluster, namespace, pod("web", image), pod("asker", image), service("web", "NodePort"))
    web, _ = ready(cluster, namespace, "web", "asker")
    reply = json.loads(cluster.kubectl("-n", namespace, "get", "service", "web", "-o", "json"))
    address, node_port = reply["spec"]["clusterIP"], reply["spec"]["ports"][0]["nodePort"]

    def from_pod(host: str, port: int) -> bool:
        return fetched(cluster, namespace, "asker", host, port) == "busybox\n"

    until("the Service from a pod", lambda: from_pod(address, 80))
    until("the Service by its name", lambda: from_pod(f"web.{namespace}.svc.cluster.local", 80))
    until("the Service by its short name", lambda: from_pod("web", 80))
    until("the NodePort from a pod", lambda: from_pod(cluster.node_address, node_port))
    for host, port in ((web, PORT), (address, 80), (cluster.node_address, node_port)):
        until(
            f"{host}:{port} from here",
            lambda host=host, port=port: page(host, port) == "busybox\n",  # type: ignore[misc]
        )
    assert not from_pod("web.no-such-namespace.svc.cluster.local", 80)


def test_a_policy_lets_in_whom_it_names_and_nobody_else(
    cluster: Cluster, namespace: str, image: str
) -> None:
    names = ("web", "friend", "stranger")
    apply(cluster, namespace, *(pod(name, image) for name in names))
    web, *_ = ready(cluster, namespace, *names)

    def reached(by: str) -> bool:
        return fetched(cluster, namespace, by, web, PORT) == "busybox\n"

    until("without a policy all get in", lambda: reached("friend") and reached("stranger"))
    allowed = {"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}]}
    spec = {"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [allowed]}
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "friends"},
        "spec": spec,
    }
    apply(cluster, namespace, policy)
    until("the stranger stays out", lambda: not reached("stranger"))
    until("the friend gets in", lambda: reached("friend"))
    # This machine counts as the node, which policies let in.
    until("this machine gets in", lambda: page(web, PORT) == "busybox\n")
    cluster.kubectl("-n", namespace, "delete", "networkpolicy", "friends")
    until("the stranger is back in", lambda: reached("stranger"))


def test_a_policy_for_the_way_out_holds_too(cluster: Cluster, namespace: str, image: str) -> None:
    apply(cluster, namespace, pod("web", image), pod("prisoner", image))
    web, _ = ready(cluster, namespace, "web", "prisoner")
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "nowhere"},
        "spec": {"podSelector": {"matchLabels": {"app": "prisoner"}}, "policyTypes": ["Egress"]},
    }
    until("open", lambda: fetched(cluster, namespace, "prisoner", web, PORT) is not None)
    apply(cluster, namespace, policy)
    until("shut", lambda: fetched(cluster, namespace, "prisoner", web, PORT) is None)


@pytest.fixture
def server_here(cluster: Cluster) -> Iterator[int]:
    """The port of a web server among the tests."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"from here\n")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((cluster.host_address, 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_pods_reach_a_server_here_and_the_api(
    cluster: Cluster, namespace: str, image: str, server_here: int
) -> None:
    apply(cluster, namespace, pod("asker", image))
    ready(cluster, namespace, "asker")

    def fetch(host: str, port: int) -> str:
        return fetched(cluster, namespace, "asker", host, port) or ""

    until("here", lambda: fetch(cluster.host_address, server_here) == "from here\n")
    # It speaks TLS; to plain text it says so, which shows who is there.
    for name in ("10.96.0.1", "kubernetes.default.svc.cluster.local"):
        until(name, lambda name=name: "HTTPS server" in fetch(name, 443))  # type: ignore[misc]
    with socket.create_connection((cluster.node_address, 6443), timeout=60):
        pass


def test_a_program_of_the_node_can_be_stopped_and_started(cluster: Cluster) -> None:
    """Tests of an outage need this. It stops the scheduler, since the other tests need the API server."""
    cluster.order("stop", "kube-scheduler")
    cluster.order("start", "kube-scheduler")
    with pytest.raises(Exception, match="no program 'nonsense'"):
        cluster.order("stop", "nonsense")
