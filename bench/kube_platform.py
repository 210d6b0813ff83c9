"""The controller and a gateway of a platform with thousands of namespaces: memory, time, CPU.

    python bench/kube_platform.py [--namespaces N] [--apps N] [--pods N] [--shells N] [--by list|label]

etcd and kube-apiserver are real (`tests/kube/api/lone.py`); there is no kubelet, so pods are API objects
alone. The apps and their pods are written into etcd, and the controller makes the shells. Then it is
started again and measured, and what a gateway's worker sees beside it: with the namespaces in a list, and
selected by their label, with the binder. The report is JSON, with the load of the machine before and
after: other work makes every time longer.
"""

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.kube.api.lone import LoneApi
from tests.kube.apps import deployment
from tests.listeners.wire import bearer, head
from tests.ports import free_port

import kube_many
from kube_starts import reach, say
from stagedoor.controller.binder import ROUND_S
from stagedoor.kube.api_client import encode_json
from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.http import HttpRequest
from stagedoor.kube.paths import build_item_path
from stagedoor.model.cluster import Kind, Object
from stagedoor.shells.kubernetes.adapter import KubernetesShells
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.live.namespace_directory import Namespaces, NamespaceSelector
from stagedoor.shells.kubernetes.names import CONTAINER, REGISTER, SHELL_OF, make_shell_name

SINCE = "2026-01-01T00:00:00Z"
CHANGES_PER_S, CHANGES_S = 20, 60
OWN = "stagedoor"
"""The namespace of the installation."""
BINDER = f"binder.{OWN}"
LABEL = "stagedoor.dev/shells"
FORMS = BY_LIST, BY_LABEL = "list", "label"
"""How the settings name the namespaces with apps."""
Report = dict[str, Any]


def main() -> int:
    """Run the benchmark, or one of its processes; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--namespaces", type=int, default=1_000)
    parser.add_argument("--apps", type=int, default=50_000)
    parser.add_argument("--pods", type=int, default=150_000)
    parser.add_argument("--shells", type=int, default=2_000)
    parser.add_argument("--change", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--follow", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--by", choices=FORMS, help="measure namespaces of this form alone")
    wanted = parser.parse_args()
    size = (wanted.namespaces, wanted.apps, wanted.pods, wanted.shells)
    if wanted.change or wanted.follow:
        platform = Platform(*size)
        asyncio.run(
            platform.change(wanted.change)
            if wanted.change
            else platform.follow(wanted.follow, wanted.by)
        )
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "lone").mkdir()
        api, report = LoneApi(folder / "lone"), Report()
        try:
            forms = FORMS if wanted.by is None else (wanted.by,)
            Measurement(Platform(*size), api, folder, report).measure(forms)
        finally:
            print(json.dumps(report, indent=1))  # what there is, if a measurement breaks off
            api.close()
    return 0


class Platform:
    """A platform of so many namespaces, apps, pods of apps, and shells."""

    def __init__(self, namespaces: int, apps: int, pods: int, shells: int) -> None:
        self.namespaces = [f"team-{number:04}" for number in range(namespaces)]
        self.apps, self.pods, self.shells = apps, pods, shells

    def arguments(self) -> list[str]:
        """Return the arguments of a process of the same platform."""
        sizes = {"pods": self.pods, "apps": self.apps, "shells": self.shells}
        sizes["namespaces"] = len(self.namespaces)
        return [f"--{name}={size}" for name, size in sizes.items()]

    def app(self, number: int) -> tuple[str, str]:
        """Return the namespace and name of an app."""
        return self.namespaces[number % len(self.namespaces)], f"app{number:05}"

    def objects(self) -> Iterator[tuple[str, Object]]:
        """Yield namespaces, apps and their pods, each with its key in etcd."""
        for namespace in (OWN, *self.namespaces):
            metadata = {"name": namespace, "labels": {} if namespace == OWN else {LABEL: "true"}}
            item = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
            yield f"namespaces/{namespace}", item | {"status": {"phase": "Active"}}
        for number in range(self.apps):
            namespace, name = self.app(number)
            env = {f"SETTING_{n}": "x" * 40 for n in range(10)}
            yield (
                f"deployments/{namespace}/{name}",
                deployment(namespace, name, replicas=1, env=env),
            )
        for number in range(self.pods):
            namespace, app = self.app(number % self.apps)
            name = f"{app}-6c9f4d8b5f-{number:06}"
            yield f"pods/{namespace}/{name}", pod(namespace, name, {"app": app})

    async def change(self, kubeconfig: Path) -> None:
        """Change an app's status CHANGES_PER_S times a second until killed."""
        chance = random.Random()  # the same changes again would be none
        async with client(kubeconfig) as cluster:
            at = time.monotonic()
            for number in range(10**9):
                namespace, name = self.app(chance.randrange(self.apps))
                status = {"status": {"replicas": number % 3, "updatedReplicas": number % 3}}
                path = build_item_path(Kind.DEPLOYMENT, namespace, name, "status")
                body, content_type = encode_json(status), "application/merge-patch+json"
                await cluster.http.send(HttpRequest("PATCH", path, body, content_type), 15)
                at += 1 / CHANGES_PER_S
                await asyncio.sleep(max(0.0, at - time.monotonic()))

    async def follow(self, kubeconfig: Path, by: str) -> None:
        """See the cluster as a gateway's worker does, and print how long the first sight took."""
        namespaces: Namespaces = {name: name for name in self.namespaces}
        if by == BY_LABEL:
            namespaces = NamespaceSelector(f"{LABEL}=true", OWN)
        async with client(kubeconfig) as cluster:
            began = time.monotonic()
            shells = KubernetesShells(cluster, namespaces, "bench")
            shells.start()
            assert await shells.wait_until_synced(600)
            print(round(time.monotonic() - began, 1), flush=True)
            assert len(shells.list_targets()) == self.apps
            await asyncio.sleep(3600)


class Measurement:
    """The measurement of a platform on an API server; it works in `folder`, and fills `report`."""

    def __init__(self, platform: Platform, api: LoneApi, folder: Path, report: Report) -> None:
        self._platform = platform
        self._api = api
        self._folder = folder
        self._report = report

    def measure(self, forms: Sequence[str]) -> None:
        """Fill the cluster, and measure."""
        platform, report = self._platform, self._report
        report["load before"] = os.getloadavg()
        report["platform"] = " ".join(platform.arguments())
        began = time.monotonic()
        # While the API server is away: it reads JSON too.
        self._api.kill()
        self._put(platform.objects())
        self._api.start()
        say(f"filled in {time.monotonic() - began:.0f} s")
        with self._controller(forms[0]) as running:
            self._until_ready(running)
            asyncio.run(self._request_shells())
            took_s = running.until(lambda metrics: metrics["shells"] >= platform.shells)
            say(f"{platform.shells} shells are there {took_s:.0f} s after it began to lead")
        self._put(asyncio.run(self._children()))
        if BY_LABEL in forms:
            report["binder"] = self._bind()
        for number, by in enumerate(forms):
            self._measure(by, 2 * number, report.setdefault(f"by {by}", Report()))
            say(f"namespaces by {by}: {report[f'by {by}']}")
        report["load after"] = os.getloadavg()

    def _measure(self, by: str, started: int, report: Report) -> None:
        """Measure a controller and a worker's view. `started` shells were started while it was measured."""
        platform = self._platform
        with self._controller(by) as running:
            began = time.monotonic()
            report["ready after a restart, s"] = self._until_ready(running)
            report["a shell then, s"] = asyncio.run(self._start_one(started + 1))
            running.until(lambda metrics: metrics.get("Keep", 0) >= platform.shells)
            report["all shells looked at, s"] = round(time.monotonic() - began, 1)
            report["idle"] = running.cost(60)
            with self._beside("--change"):
                report[f"{CHANGES_PER_S} changes a second"] = running.cost(CHANGES_S)
                report["a shell meanwhile, s"] = asyncio.run(self._start_one(started + 2))
            report["a user out of all keys, s"] = self._remove_user()
            report["controller at most, MiB"] = most_mib(running.pid)
        with self._beside("--follow", f"--by={by}") as follower:
            assert follower.stdout is not None
            line = follower.stdout.readline()
            if not line:
                raise RuntimeError(f"what a worker does ended with code {follower.wait()}")
            report["a worker sees all, s"] = float(line)
            time.sleep(10)
            report["a worker's view at most, MiB"] = most_mib(follower.pid)
        self._measure_gateway(by, report)

    def _measure_gateway(self, by: str, report: Report) -> None:
        """Measure the memory of a gateway's processes (Pss of proc(5)) that has seen all, and a removal."""
        folder, port = self._folder / f"gateway-{by}", free_port()
        folder.mkdir()
        more = f'[tunnel]\naddresses = ["127.0.0.1:{port}"]\n'
        kube_many.write_settings(folder, self._api.kubeconfig(), self._spaces(by), OWN, more)
        kube_many.stagedoor(folder, "user", "add", "bob", "--no-password")
        kube_many.stagedoor(folder, "grant", "add", "user:bob", "*")
        token = kube_many.stagedoor(folder, "token", "create", "bob").strip()
        gateway = subprocess.Popen(kube_many.command(folder, "serve"))
        try:
            time.sleep(30 + 3 * report["a worker sees all, s"])
            report["a gateway of one worker, MiB"] = round(
                sum(map(share_mib, descend(gateway.pid))), 1
            )
            namespace, name = self._platform.app(0)
            request = head(f"{name}.{namespace}.ssh:22", bearer(token))
            assert not is_refused(port, request)
            kube_many.stagedoor(folder, "user", "remove", "bob", "--yes")
            began = time.monotonic()
            while not is_refused(port, request):
                pass
            report["a user out of the gateway, s"] = round(time.monotonic() - began, 2)
        finally:
            kube_many.end_process(gateway)

    def _bind(self) -> Report:
        """Prepare all namespaces as `stagedoor controller --bind` does, and measure that."""
        settings, file = self._folder / "controller.toml", self._folder / "objects.json"
        settings.write_text(
            f'[kubernetes]\nnamespace_selector = "{LABEL}=true"\nkubeconfig = "{self._api.kubeconfig()}"\n'
            f'[controller]\nnamespace = "{OWN}"\n[log]\nlevel = "error"\n'
        )
        file.write_text(json.dumps({"owner": BINDER, "objects": prepared()}))
        asyncio.run(self._make_owner())
        began = time.monotonic()
        words = kube_many.command(self._folder, "controller", "--bind", str(file))
        with subprocess.Popen(words) as process:
            try:
                while asyncio.run(self._count_prepared()) < len(self._platform.namespaces):
                    time.sleep(1)
                took_s = round(time.monotonic() - began, 1)
                time.sleep(ROUND_S + 10)  # it looks at all of them once more
                return {"all prepared, s": took_s, "at most, MiB": most_mib(process.pid)}
            finally:
                process.terminate()

    async def _make_owner(self) -> None:
        async with client(self._api.kubeconfig()) as cluster:
            head = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}
            await cluster.create({**head, "metadata": {"name": BINDER}, "rules": []})

    async def _count_prepared(self) -> int:
        async with client(self._api.kubeconfig()) as cluster:
            return len(await cluster.list(Kind.CONFIG_MAP, "", fields=f"metadata.name={REGISTER}"))

    def _put(self, items: Iterable[tuple[str, Object]]) -> None:
        batch: list[tuple[str, Object]] = []
        for number, (key, item) in enumerate(items):
            batch.append((key, stored(item, number)))
            if len(batch) == 100:  # etcd takes 128 in a transaction by default
                self._api.put(batch)
                batch = []
        self._api.put(batch)

    @contextmanager
    def _controller(self, by: str) -> Iterator[kube_many.Running]:
        folder, kubeconfig = self._folder, self._api.kubeconfig()
        with kube_many.controller(folder, kubeconfig, self._spaces(by), OWN) as running:
            yield running

    def _spaces(self, by: str) -> dict[str, str] | str:
        """Return the namespaces as the settings name them."""
        names = self._platform.namespaces
        return f"{LABEL}=true" if by == BY_LABEL else {name: name for name in names}

    def _until_ready(self, running: kube_many.Running) -> float:
        began, platform = time.monotonic(), self._platform
        running.until(
            lambda metrics: (
                metrics["apps"] >= platform.apps and metrics["served"] >= len(platform.namespaces)
            )
        )
        return round(time.monotonic() - began, 1)

    @contextmanager
    def _beside(self, what: str, *more: str) -> "Iterator[subprocess.Popen[str]]":
        command = [sys.executable, __file__, what, str(self._api.kubeconfig()), *more]
        command += self._platform.arguments()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    async def _request_shells(self) -> None:
        room = asyncio.Semaphore(8)
        async with client(self._api.kubeconfig()) as cluster:

            async def request(number: int) -> None:
                async with room:
                    app = await cluster.get(Kind.DEPLOYMENT, *self._platform.app(number))
                    assert app is not None
                    await cluster.create(objects.build_lease(app, "bench", time.time()))

            await asyncio.gather(*map(request, range(self._platform.shells)))

    async def _children(self) -> list[tuple[str, Object]]:
        """Return a ReplicaSet and a pod for each shell, as Kubernetes would make them."""
        async with client(self._api.kubeconfig()) as cluster:
            shells = await cluster.list(Kind.DEPLOYMENT, "", SHELL_OF)
        return [child for shell in shells for child in children(shell)]

    async def _start_one(self, which: int) -> float:
        """Ask for the shell of an app that has none; return the seconds until its Deployment starts."""
        namespace, name = self._platform.app(self._platform.apps - which)
        async with client(self._api.kubeconfig()) as cluster:
            app = await cluster.get(Kind.DEPLOYMENT, namespace, name)
            assert app is not None
            await cluster.create(objects.build_lease(app, "bench", time.time()))
            began = time.monotonic()
            while True:
                shell = await cluster.get(Kind.DEPLOYMENT, namespace, make_shell_name(name))
                if shell is not None and shell["spec"]["replicas"]:
                    return round(time.monotonic() - began, 2)
                await asyncio.sleep(0.02)

    def _remove_user(self) -> float:
        """Give a user every app, and take it away; return the seconds until no shell has the key."""
        key = self._folder / "key"
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "alice", "-f", str(key)]
        key.unlink(missing_ok=True)
        subprocess.run(command, check=True)
        for words in (
            ("user", "add", "alice", "--no-password"),
            ("key", "add", "alice", f"{key}.pub"),
            ("grant", "add", "user:alice", "*"),
        ):
            kube_many.stagedoor(self._folder, *words)
        self._until_keys(lambda number: number >= self._platform.shells)
        began = time.monotonic()
        kube_many.stagedoor(self._folder, "user", "remove", "alice", "--yes")
        self._until_keys(lambda number: number == 0)
        return round(time.monotonic() - began, 1)

    def _until_keys(self, true: Callable[[int], bool]) -> None:
        """Wait until `true` holds for the number of shells with a key."""

        async def count() -> int:
            async with client(self._api.kubeconfig()) as cluster:
                configs = await cluster.list(Kind.CONFIG_MAP, "", SHELL_OF)
            return sum("ssh-ed25519" in config["data"]["authorized_keys"] for config in configs)

        while not true(asyncio.run(count())):
            time.sleep(2)


@asynccontextmanager
async def client(kubeconfig: Path) -> AsyncIterator[KubeCluster]:
    """Open a client that paces nothing."""
    cluster = reach(kubeconfig).with_priority()
    try:
        yield cluster
    finally:
        await cluster.close_connections()


def stored(item: Object, number: int) -> Object:
    """Return an object as the API server stores it: with a uid, a time and a generation."""
    metadata = {"creationTimestamp": SINCE, "generation": 1, **item["metadata"]}
    metadata.setdefault("uid", str(uuid.uuid5(uuid.NAMESPACE_OID, f"{item['kind']} {number}")))
    return {**item, "metadata": metadata}


def pod(namespace: str, name: str, labels: dict[str, str], container: str = "web") -> Object:
    """Return a pod that runs, as a kubelet reports it."""
    ready = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    image = f"registry.example/{container}@sha256:{0:064x}"
    state = {"running": {"startedAt": SINCE}}
    env = [{"name": f"SETTING_{n}", "value": "x" * 40} for n in range(10)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {
            "containers": [{"name": container, "image": image, "env": env}],
            "nodeName": "node-1",
        },
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": SINCE} for kind in ready
            ],
            "containerStatuses": [
                {
                    "name": container,
                    "image": image,
                    "imageID": image,
                    "ready": True,
                    "restartCount": 0,
                    "started": True,
                    "state": state,
                }
            ],
        },
    }


def children(shell: Object) -> Iterator[tuple[str, Object]]:
    """Yield the ReplicaSet and the pod of a shell's Deployment, each with its key in etcd."""
    metadata = shell["metadata"]
    namespace, name = metadata["namespace"], f"{metadata['name']}-6c9f4d8b5f"
    uid = f"{metadata['uid'][:-4]}ffff"
    head = {"namespace": namespace, "labels": metadata["labels"]}
    yield (
        f"replicasets/{namespace}/{name}",
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "spec": shell["spec"],
            "metadata": {**head, "name": name, "uid": uid, **owned_by("Deployment", metadata)},
        },
    )
    running = pod(namespace, f"{name}-x2x4z", metadata["labels"], CONTAINER)
    owner = owned_by("ReplicaSet", {"name": name, "uid": uid})
    metadata = {**running["metadata"], **owner}
    yield f"pods/{namespace}/{name}-x2x4z", {**running, "metadata": metadata}


def owned_by(kind: str, owner: Object) -> Object:
    """Return the metadata of an object with this controller."""
    reference = {"apiVersion": "apps/v1", "kind": kind, "controller": True}
    return {"ownerReferences": [{**reference, "name": owner["name"], "uid": owner["uid"]}]}


def prepared() -> list[Object]:
    """Return what the chart's binder makes in each namespace, but for the rules of the NetworkPolicy."""
    group = "rbac.authorization.k8s.io"
    objects: list[Object] = [
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": f"{part}.{OWN}"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": f"{part}-apps.{OWN}"},
            "subjects": [{"kind": "ServiceAccount", "name": part, "namespace": OWN}],
        }
        for part in ("gateway", "controller")
    ]
    fence = {"podSelector": {"matchExpressions": [{"key": SHELL_OF, "operator": "Exists"}]}}
    head = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    objects.append({**head, "metadata": {"name": f"shells.{OWN}"}, "spec": fence})
    return [*objects, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": REGISTER}}]


def most_mib(process: int) -> float:
    """Return the most memory that a process has had resident, in MiB (VmHWM of proc(5))."""
    status = Path(f"/proc/{process}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) / 1024, 1)


def share_mib(process: int) -> float:
    """Return the memory of a process, and its share of what it has in common with others, in MiB."""
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    line = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) / 1024


def is_refused(port: int, request: bytes) -> bool:
    """Return whether the gateway refuses a CONNECT at once; else it tries to reach a shell."""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.settimeout(0.1)
        client.sendall(request)
        with suppress(TimeoutError):
            return client.recv(100).split()[1] in (b"403", b"407")
    return False


def descend(process: int) -> Iterator[int]:
    """Yield a process and all that descend from it."""
    yield process
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from descend(int(child))


if __name__ == "__main__":
    sys.exit(main())
