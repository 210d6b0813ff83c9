"""A second node, for tests of what a drain of a node does.

It has a kubelet and a containerd of its own, and shares the first node's network namespace, bridge of pods,
kube-proxy and kube-router: to Kubernetes it is a node like any other. Pods must tolerate its taint.
"""

from collections.abc import Iterable
from dataclasses import replace

from tests.cluster import control, load, wait
from tests.cluster.commands import SECOND
from tests.cluster.place import SANDBOX_IMAGE, Place

START_TIMEOUT_S = 120.0


def start(place: Place, images: Iterable[str]) -> str:
    """Start the second node with these images of the first one, and return its name once it is ready."""
    own = replace(place, node="2")
    containerd, kubelet = SECOND
    control.order(place, f"start {containerd}")
    wait.until("the second containerd", lambda: load.answers(own), START_TIMEOUT_S)
    load.copy(place, own, (SANDBOX_IMAGE, *images))
    control.order(place, f"start {kubelet}")
    api = wait.Api(place)
    wait.until("the second node", lambda: api.node_ready(own.node_name), START_TIMEOUT_S)
    return own.node_name


def stop(place: Place) -> None:
    """Stop the second node. The test has removed its pods."""
    for name in reversed(SECOND):
        control.order(place, f"stop {name}")
