"""Objects for the tests of the cluster, as kubectl reads them, and what to ask of a pod."""

import json
import time
from collections.abc import Callable
from subprocess import CalledProcessError
from typing import Any

from tests.fixtures.cluster import Cluster

WAIT_S = 120.0


def pod(name: str, image: str, **spec: Any) -> dict[str, Any]:
    """A pod of one container, labelled `app: name`, that ends at once when it is deleted."""
    container = {"name": "app", "image": image, "imagePullPolicy": "Never"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0, **spec},
    }


def deployment(name: str, image: str, replicas: int) -> dict[str, Any]:
    template = pod(name, image)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": template["metadata"], "spec": template["spec"]},
        },
    }


def apply(cluster: Cluster, namespace: str, *things: dict[str, Any]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(things)})
    cluster.kubectl("-n", namespace, "apply", "-f", "-", text=text)


def ready(cluster: Cluster, namespace: str, *pods: str) -> list[str]:
    """Wait until all are ready; their addresses."""
    names = [f"pod/{name}" for name in pods]
    wait = ("wait", "--for=condition=Ready", f"--timeout={WAIT_S:.0f}s")
    cluster.kubectl("-n", namespace, *wait, *names)
    listed = json.loads(cluster.kubectl("-n", namespace, "get", "-o", "json", *names))
    return [item["status"]["podIP"] for item in listed.get("items", [listed])]


def fetched(cluster: Cluster, namespace: str, pod: str, host: str, port: int) -> str | None:
    """The page that the pod gets from a server; None if it cannot reach it.

    By `nc`: the wget of a static busybox crashes when it has to resolve a name.
    """
    ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {host} {port}"
    try:
        answer = cluster.kubectl("-n", namespace, "exec", pod, "--", "sh", "-c", ask)
    except CalledProcessError:
        return None
    return answer.rpartition("\n\n")[2] if "\r" not in answer else answer.rpartition("\r\n\r\n")[2]


def until(what: str, happens: Callable[[], bool], within_s: float = WAIT_S) -> None:
    """Ask again until it is so: firewalls and proxies learn of a pod a moment after it is ready."""
    end = time.monotonic() + within_s
    while not happens():
        assert time.monotonic() < end, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.1)
