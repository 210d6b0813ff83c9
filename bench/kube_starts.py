"""One shell on the test cluster: where the time of its start goes, and what a login to it takes."""

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
from tests.cluster.fixtures import Cluster
from tests.cluster.place import Place, default_state
from tests.kube.house import House

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
"""`controller.kit_way`, and what it is."""
Series = dict[str, list[float]]
"""Seconds, by the names above."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def reach(kubeconfig: Path) -> KubeCluster:
    return KubeCluster(
        load(kubeconfig),
        field_manager="bench",
        component="stagedoor-bench",
        instance="bench",
        on_problem=lambda what, problem: say(f"{what}: {problem}"),
    )


def measure_starts(folder: Path, ways: Sequence[str], number: int) -> dict[str, Series]:
    """By the way that the kit comes: each step of so many starts, and the WHOLE of them."""
    found = {}
    for way in ways:
        own = folder / way
        own.mkdir()
        with _house(own, way) as house:
            say(f"{number} starts, {WAYS[way]}")
            log = NodeLog(_place().log / "containerd.log")
            found[way] = asyncio.run(_starts(house, log, number))
    return found


def measure_beside(folder: Path, plain: int, warm: int) -> Series:
    """What a start is held against, and logins to a shell that runs."""
    with _house(folder, "sibling") as house:
        return asyncio.run(_plain(house, plain)) | _warm(house, warm)


def _place() -> Place:
    place = Place(Path(os.environ.get("STAGEDOOR_CLUSTER_STATE") or default_state()))
    if not lifecycle.is_ready(place):
        raise SystemExit("no cluster runs: script/cluster up")
    return place


@contextlib.contextmanager
def _house(folder: Path, kit_way: str) -> Iterator[House]:
    cluster = Cluster(_place())
    cluster.image("busybox")
    namespace = f"bench-{os.getpid()}-{kit_way}-{folder.name}"
    cluster.kubectl("create", "namespace", namespace)
    way = {"idle_stop_s": 86400, "kit_way": f'"{kit_way}"'}
    house = House(folder, cluster, namespace, kit_image(find_checkout()), **way)
    try:
        house.start()
        house.gateway.wait_for(lambda line: line["event"] == "controller leads")
        house.app()
        house.must("app01")  # the images are unpacked, the programs are in memory
        yield house
    finally:
        house.gateway.stop()
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


class Seen:
    """When the watches saw each step of the start that is under way, seconds since the epoch."""

    def __init__(self, cluster: KubeCluster, namespace: str) -> None:
        self.at: dict[str, float] = {}
        self.pods: set[str] = set()
        self.pod = ""
        self.news = asyncio.Event()
        self._cluster = cluster
        self._namespace = namespace

    async def follow(self, kind: Kind) -> None:
        async for change in self._cluster.watch(kind, self._namespace, SHELL_OF):
            for one in change.objects:
                self._saw(kind, one, gone=str(change.verb) == "deleted")
            self.news.set()

    def _saw(self, kind: Kind, one: Object, *, gone: bool) -> None:
        name = str(one["metadata"]["name"])
        if kind is Kind.LEASE and one["spec"].get("renewTime"):
            self._mark("knock")
        elif kind is Kind.DEPLOYMENT and one["spec"].get("replicas"):
            self._mark("controller")
        elif kind is Kind.POD:
            if gone:
                self.pods.discard(name)
                return
            self.pods.add(name)
            self.pod = name
            self._mark("pod made")
            if one["spec"].get("nodeName"):
                self._mark("scheduled")
            if (one.get("status") or {}).get("podIP"):
                self._mark("reported")

    def _mark(self, step: str) -> None:
        self.at.setdefault(step, time.time())

    async def until(self, true: Any) -> None:
        while not true():
            self.news.clear()
            await self.news.wait()


async def _starts(house: House, log: NodeLog, number: int) -> Series:
    found: Series = {WHOLE: [], **{name: [] for name in STEPS}}
    cluster = reach(house.cluster.kubeconfig)
    seen = Seen(cluster, house.namespace)
    kinds = (Kind.LEASE, Kind.DEPLOYMENT, Kind.POD)
    watching = [asyncio.create_task(seen.follow(kind)) for kind in kinds]
    token = (house.folder / "token").read_text().strip()
    await seen.until(lambda: seen.pods)
    for turn in range(number):
        stop = objects.stop_request()
        await cluster.merge(Kind.LEASE, house.namespace, "app01-ssh", stop)
        await seen.until(lambda: not seen.pods)
        # The kubelet looks once a second, and has just looked: a developer comes at any moment.
        await asyncio.sleep(random.random())
        seen.at = {}
        began = before = time.time()
        await asyncio.to_thread(banner, house.gateway.port(), token)
        ended = time.time()
        at = {**seen.at, **log.read(seen.pod), "banner": ended}
        for name in STEPS:
            # A watch may bring a later step first, when two came in one moment.
            then = max(before, at.get(name, before))
            found[name].append(then - before)
            before = then
        found[WHOLE].append(ended - began)
        say(f"start {turn + 1} of {number}: {found[WHOLE][-1]:.3f} s")
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    await cluster.close()
    assert all(sum(found[step]) > 0 for step in NODE_STEPS), "containerd's log tells of no start"
    return found


async def _plain(house: House, number: int) -> Series:
    """The app's own pod, from the request for a replica to its Ready condition as a watch sees it."""
    cluster = reach(house.cluster.kubeconfig)
    pods: dict[str, Any] = {}
    news = asyncio.Event()

    async def follow() -> None:
        async for change in cluster.watch(Kind.POD, house.namespace, "app=app01"):
            for one in change.objects:
                pods[one["metadata"]["name"]] = one
                if str(change.verb) == "deleted":
                    pods.pop(one["metadata"]["name"], None)
            news.set()

    def ready() -> bool:
        return any(
            each["type"] == "Ready" and each["status"] == "True"
            for pod in pods.values()
            for each in (pod.get("status") or {}).get("conditions") or ()
        )

    async def scaled(replicas: int) -> float:
        began = time.time()
        change = {"spec": {"replicas": replicas}}
        await cluster.merge(Kind.DEPLOYMENT, house.namespace, "app01", change)
        while not ready() if replicas else pods:
            news.clear()
            await news.wait()
        return time.time() - began

    watching = asyncio.create_task(follow())
    found = []
    for _ in range(number):
        await asyncio.sleep(random.random())
        found.append(await scaled(1))
        await scaled(0)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await cluster.close()
    return {PLAIN: found}


def banner(port: int, token: str) -> None:
    """Open a tunnel, and return once sshd has said its banner through it."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as sock:
        sock.sendall(
            b"CONNECT app01.ssh:22 HTTP/1.1\r\nHost: app01.ssh:22\r\n"
            b"Proxy-Authorization: Bearer " + token.encode() + b"\r\n\r\n"
        )
        got = b""
        while b"\r\n\r\nSSH-" not in got:
            more = sock.recv(4096)
            if not more:
                raise SystemExit(f"no banner: {got!r}")
            got += more


def _warm(house: House, number: int) -> Series:
    """OpenSSH's `ssh … true`, whole, with the shell up; the ways in turn."""
    house.must("app01")
    pod = json.loads(house.kubectl("get", "pod", house.shell_pod(), "-o", "json"))
    at = [*("-p", "2222", "-o", "HostKeyAlias=app01.ssh"), str(pod["status"]["podIP"])]
    ways = {
        "none": house.ssh_command(*at, "true", way="none"),
        "connect": house.ssh_command("app01.ssh", "true"),
        "jump": house.ssh_command("app01.ssh", "true", way="jump"),
    }
    found: Series = {name: [] for name in ways}
    for _ in range(number):
        for name, command in ways.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
            found[name].append(time.perf_counter() - began)
    return found
