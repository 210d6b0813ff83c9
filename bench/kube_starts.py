"""The steps of a shell's start on the test cluster, and the time of a login to it."""

import asyncio
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.cluster import lifecycle
from tests.cluster.place import Place, default_state
from tests.fixtures.cluster import Cluster, KubeGateway

from acceptance.kubernetes_tools import find_checkout, kit_image
from kube_node import STEPS as NODE_STEPS
from kube_node import NodeLog
from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.kubeconfig import load
from stagedoor.model.cluster import Kind, Object
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.names import SHELL_OF

WHOLE, PLAIN = "whole", "plain"
STEPS = {
    "knock": "the gateway renews the Lease",
    "controller": "the controller makes Service, ConfigMap, Secret and Deployment",
    "pod made": "Kubernetes makes the Pod",
    "scheduled": "it gets its node",
    "volumes": "the kubelet mounts its volumes",
    "sandbox": "containerd makes the sandbox and its network",
    "kit": "the kit's container starts, and the kit is copied",
    "shell": "the shell's container starts",
    "reported": "the kubelet looks at its containers, and reports the address",
    "banner": "the gateway dials, sshd says its banner",
}
WARM = {
    "none": "the shell's sshd itself, no gateway in between",
    "connect": "through CONNECT (`stagedoor tunnel`)",
    "jump": "through the jump host",
}
WAYS = {
    "sibling": "the kit copied by a container beside",
    "image-volume": "the kit mounted",
    "init": "the kit copied by an init container",
}
"""The values of `controller.kit_way`, with a description of each."""
Series = dict[str, list[float]]
"""Lists of seconds, by the names above."""


def say(text: str) -> None:
    """Print progress on stderr."""
    print(text, file=sys.stderr, flush=True)


def reach(kubeconfig: Path) -> KubeCluster:
    """Return a client of the cluster."""
    return KubeCluster(
        load(kubeconfig),
        field_manager="bench",
        component="stagedoor-bench",
        instance="bench",
        on_problem=lambda what, problem: say(f"{what}: {problem}"),
    )


def measure_starts(folder: Path, kit_ways: Sequence[str], number: int) -> dict[str, Series]:
    """Measure `number` starts for each way of the kit; return each step's times, and those of WHOLE."""
    series = {}
    for kit_way in kit_ways:
        own = folder / kit_way
        own.mkdir()
        with _kube(own, kit_way) as kube:
            say(f"{number} starts, {WAYS[kit_way]}")
            log = NodeLog(_place().log / "containerd.log")
            series[kit_way] = asyncio.run(_starts(kube, log, number))
    return series


def measure_beside(folder: Path, plain: int, warm: int) -> Series:
    """Measure starts of a plain pod, for comparison, and logins to a shell that runs."""
    with _kube(folder, "sibling") as kube:
        return asyncio.run(_plain(kube, plain)) | _warm(kube, warm)


def _place() -> Place:
    place = Place(Path(os.environ.get("STAGEDOOR_CLUSTER_STATE") or default_state()))
    if not lifecycle.is_ready(place):
        raise SystemExit("no cluster runs: script/cluster up")
    return place


@contextlib.contextmanager
def _kube(folder: Path, kit_way: str) -> Iterator[KubeGateway]:
    cluster = Cluster(_place())
    cluster.image("busybox")
    namespace = f"bench-{os.getpid()}-{kit_way}-{folder.name}"
    cluster.kubectl("create", "namespace", namespace)
    options = {"idle_stop_s": 86400, "kit_way": f'"{kit_way}"'}
    kube = KubeGateway(folder, cluster, namespace, kit_image(find_checkout()), **options)
    try:
        kube.start()
        kube.gateway.wait_for(lambda line: line["event"] == "controller leads")
        kube.app()
        kube.must("app01")  # warm up: unpack images, load programs
        yield kube
    finally:
        kube.gateway.stop()
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


class Seen:
    """The times at which watches saw each step of the current start, in seconds since the epoch."""

    def __init__(self, cluster: KubeCluster, namespace: str) -> None:
        self.at: dict[str, float] = {}
        self.pods: set[str] = set()
        self.pod = ""
        self.news = asyncio.Event()
        self._cluster = cluster
        self._namespace = namespace

    async def follow(self, kind: Kind) -> None:
        """Watch the shells' objects of a kind until cancelled."""
        async for change in self._cluster.watch(kind, self._namespace, SHELL_OF):
            for item in change.objects:
                self._record(kind, item, is_deleted=str(change.verb) == "deleted")
            self.news.set()

    def _record(self, kind: Kind, item: Object, *, is_deleted: bool) -> None:
        name = str(item["metadata"]["name"])
        if kind is Kind.LEASE and item["spec"].get("renewTime"):
            self._mark("knock")
        elif kind is Kind.DEPLOYMENT and item["spec"].get("replicas"):
            self._mark("controller")
        elif kind is Kind.POD:
            if is_deleted:
                self.pods.discard(name)
                return
            self.pods.add(name)
            self.pod = name
            self._mark("pod made")
            if item["spec"].get("nodeName"):
                self._mark("scheduled")
            if (item.get("status") or {}).get("podIP"):
                self._mark("reported")

    def _mark(self, step: str) -> None:
        self.at.setdefault(step, time.time())

    async def until(self, true: Any) -> None:
        """Wait until `true()` holds after a change."""
        while not true():
            self.news.clear()
            await self.news.wait()


async def _starts(kube: KubeGateway, log: NodeLog, number: int) -> Series:
    series: Series = {WHOLE: [], **{name: [] for name in STEPS}}
    cluster = reach(kube.cluster.kubeconfig)
    seen = Seen(cluster, kube.namespace)
    kinds = (Kind.LEASE, Kind.DEPLOYMENT, Kind.POD)
    watching = [asyncio.create_task(seen.follow(kind)) for kind in kinds]
    token = (kube.folder / "token").read_text().strip()
    await seen.until(lambda: seen.pods)
    for turn in range(number):
        stop = objects.make_stop_request()
        await cluster.merge(Kind.LEASE, kube.namespace, "app01-ssh", stop)
        await seen.until(lambda: not seen.pods)
        # The kubelet checks once a second, and has just checked; a developer logs in at any moment.
        await asyncio.sleep(random.random())
        seen.at = {}
        began = before = time.time()
        await asyncio.to_thread(banner, kube.gateway.port(), token)
        ended = time.time()
        at = {**seen.at, **log.read(seen.pod), "banner": ended}
        for name in STEPS:
            # Watches may report two simultaneous steps in the wrong order.
            then = max(before, at.get(name, before))
            series[name].append(then - before)
            before = then
        series[WHOLE].append(ended - began)
        say(f"start {turn + 1} of {number}: {series[WHOLE][-1]:.3f} s")
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    await cluster.close_connections()
    assert all(sum(series[step]) > 0 for step in NODE_STEPS), "containerd's log has no start"
    return series


async def _plain(kube: KubeGateway, number: int) -> Series:
    """Measure the app's own pod, from the request for a replica until a watch shows its Ready condition."""
    cluster = reach(kube.cluster.kubeconfig)
    pods: dict[str, Any] = {}
    news = asyncio.Event()

    async def follow() -> None:
        async for change in cluster.watch(Kind.POD, kube.namespace, "app=app01"):
            for pod in change.objects:
                pods[pod["metadata"]["name"]] = pod
                if str(change.verb) == "deleted":
                    pods.pop(pod["metadata"]["name"], None)
            news.set()

    def ready() -> bool:
        return any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for pod in pods.values()
            for condition in (pod.get("status") or {}).get("conditions") or ()
        )

    async def scale(replicas: int) -> float:
        began = time.time()
        change = {"spec": {"replicas": replicas}}
        await cluster.merge(Kind.DEPLOYMENT, kube.namespace, "app01", change)
        while not ready() if replicas else pods:
            news.clear()
            await news.wait()
        return time.time() - began

    watching = asyncio.create_task(follow())
    seconds = []
    for _ in range(number):
        await asyncio.sleep(random.random())
        seconds.append(await scale(1))
        await scale(0)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await cluster.close_connections()
    return {PLAIN: seconds}


def banner(port: int, token: str) -> None:
    """Open a tunnel, and return once sshd's banner came through it."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as sock:
        sock.sendall(
            b"CONNECT app01.ssh:22 HTTP/1.1\r\nHost: app01.ssh:22\r\n"
            b"Proxy-Authorization: Bearer " + token.encode() + b"\r\n\r\n"
        )
        received = b""
        while b"\r\n\r\nSSH-" not in received:
            more = sock.recv(4096)
            if not more:
                raise SystemExit(f"no banner: {received!r}")
            received += more


def _warm(kube: KubeGateway, number: int) -> Series:
    """Measure OpenSSH's whole `ssh … true` to a shell that runs, the ways in turn."""
    kube.must("app01")
    pod = json.loads(kube.kubectl("get", "pod", kube.shell_pod(), "-o", "json"))
    at = [*("-p", "2222", "-o", "HostKeyAlias=app01.ssh"), str(pod["status"]["podIP"])]
    ways = {
        "none": kube.ssh_command(*at, "true", access_method="direct"),
        "connect": kube.ssh_command("app01.ssh", "true"),
        "jump": kube.ssh_command("app01.ssh", "true", access_method="jump"),
    }
    series: Series = {name: [] for name in ways}
    for _ in range(number):
        for name, command in ways.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
            series[name].append(time.perf_counter() - began)
    return series
