"""The cost of following a cluster: import, memory, CPU and requests of a gateway's watches.

    python bench/kube_watch.py [--apps N] [--idle-s S] [--with lightkube]

It starts its own etcd and kube-apiserver (`tests/kube/api/lone.py`) and creates N apps there
(Deployment, ReplicaSet, Pod, EndpointSlice), of which every tenth has a shell (the same, and a Lease).
A separate process follows them: first as a gateway does, then all complete objects of the five kinds.
`--with lightkube` does the latter with that library, if it is installed. docs/decisions/0021 has figures.
"""

import argparse
import asyncio
import importlib.util
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

NAMESPACE = "apps"
KINDS = ("Deployment", "StatefulSet", "Pod", "EndpointSlice", "Lease")
GATEWAY, EVERYTHING = "a gateway", "all of these kinds"
Report = dict[str, float | int | str]


def main() -> int:
    """Run the benchmark, or the process that follows; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--apps", type=int, default=500)
    parser.add_argument("--idle-s", type=float, default=120)
    parser.add_argument("--with", dest="others", action="append", default=[], metavar="LIBRARY")
    parser.add_argument("--follow", nargs=2, metavar=("WHAT", "KUBECONFIG"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.follow:
        what, kubeconfig = arguments.follow
        asyncio.run(follow(what, Path(kubeconfig), arguments.apps, arguments.idle_s))
        return 0
    from tests.kube.api.lone import LoneApi, why_not

    reason = why_not()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        api = LoneApi(Path(folder))
        try:
            began = time.monotonic()
            asyncio.run(fill(api.kubeconfig(), arguments.apps))
            say(f"{arguments.apps} apps made in {time.monotonic() - began:.1f} s")
            for what in (GATEWAY, EVERYTHING, *arguments.others):
                if importlib.util.find_spec(what) is None and what in arguments.others:
                    say(f"{what} is not installed here")
                    continue
                measure(what, api.kubeconfig(), arguments.apps, arguments.idle_s)
        finally:
            api.close()
    return 0


def say(text: str) -> None:
    """Print progress on stderr."""
    print(text, file=sys.stderr, flush=True)


def measure(what: str, kubeconfig: Path, apps: int, idle_s: float) -> None:
    """Start the process that follows; change every app once after the idle phase; print its report."""
    command = [sys.executable, __file__, "--apps", str(apps), "--idle-s", str(idle_s)]
    with subprocess.Popen(
        [*command, "--follow", what, str(kubeconfig)], stdout=subprocess.PIPE, text=True
    ) as follower:
        assert follower.stdout is not None
        for line in follower.stdout:
            if line.strip() == "idle is over":
                asyncio.run(touch(kubeconfig, apps))
            else:
                print(line, end="", flush=True)


# ---- the process that follows


async def follow(what: str, kubeconfig: Path, apps: int, idle_s: float) -> None:
    """Follow the cluster, first idle and then while every app changes; print a report as JSON."""
    ssl.create_default_context()  # every gateway has loaded this already
    before = resident_kib()
    began = time.perf_counter()
    seen: dict[str, int] = dict.fromkeys(KINDS, 0)
    if what == "lightkube":
        start = _lightkube(kubeconfig, seen)
    else:
        start = _ours(kubeconfig, seen, gateway=what == GATEWAY)
    imported_ms = (time.perf_counter() - began) * 1000
    imported_kib = resident_kib() - before
    cpu = time.process_time()
    began = time.perf_counter()
    stop, requests, synced = await start()
    await synced()
    report: Report = {
        "what": what,
        "apps": apps,
        "import_ms": round(imported_ms),
        "import_kib": imported_kib,
        "sync_s": round(time.perf_counter() - began, 2),
        "sync_cpu_s": round(time.process_time() - cpu, 2),
        "resident_growth_kib": resident_kib() - before,
    }
    requests_before, cpu = requests(), time.process_time()
    await asyncio.sleep(idle_s)
    report["idle_requests_per_min"] = round((requests() - requests_before) / idle_s * 60, 2)
    report["idle_cpu_ms_per_min"] = round((time.process_time() - cpu) / idle_s * 60_000, 2)
    before_changes, cpu = seen["Deployment"], time.process_time()
    print("idle is over", flush=True)
    async with asyncio.timeout(300):
        while seen["Deployment"] < before_changes + apps:
            await asyncio.sleep(0.05)
    report["cpu_us_per_change"] = round((time.process_time() - cpu) / apps * 1e6)
    report["resident_at_end_kib"] = resident_kib()
    print(json.dumps(report), flush=True)
    await stop()


Start = Callable[
    [],
    Awaitable[
        tuple[Callable[[], Awaitable[None]], Callable[[], int], Callable[[], Awaitable[None]]]
    ],
]


def _ours(kubeconfig: Path, seen: dict[str, int], *, gateway: bool) -> Start:
    from stagedoor.kube.cluster import KubeCluster
    from stagedoor.kube.kubeconfig import load
    from stagedoor.model.cluster import Kind
    from stagedoor.shells.kubernetes.live.mirror import Mirror
    from stagedoor.shells.kubernetes.live.namespace_cache import ClusterCache

    async def start() -> Any:
        cluster = KubeCluster(
            load(kubeconfig),
            field_manager="stagedoor",
            component="stagedoor-bench",
            instance="bench",
            on_problem=lambda what, problem: say(f"{what}: {problem}"),
        )
        mirrors = (
            ClusterCache(cluster, [NAMESPACE]).all
            if gateway
            else [Mirror(cluster, Kind(name), [NAMESPACE], "") for name in KINDS]
        )
        for mirror in mirrors:

            def heard(names: Collection[str], name: str = str(mirror.kind)) -> None:
                seen[name] += len(names)

            mirror.listen(heard)
        tasks = [asyncio.create_task(mirror.run()) for mirror in mirrors]

        async def stop() -> None:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await cluster.close_connections()

        async def synced() -> None:
            for mirror in mirrors:
                await mirror.wait_until_synced(NAMESPACE)
            while sum(n for (verb, _, _), n in cluster.requests.items() if verb == "watch") < len(
                KINDS
            ):
                await asyncio.sleep(0.01)

        return stop, lambda: cluster.requests.total(), synced

    return start


def _lightkube(kubeconfig: Path, seen: dict[str, int]) -> Start:
    import lightkube
    from lightkube.config.kubeconfig import KubeConfig
    from lightkube.resources.apps_v1 import Deployment, StatefulSet
    from lightkube.resources.coordination_v1 import Lease
    from lightkube.resources.core_v1 import Pod
    from lightkube.resources.discovery_v1 import EndpointSlice

    async def start() -> Any:
        client = lightkube.AsyncClient(config=KubeConfig.from_file(kubeconfig))
        known: dict[str, Any] = {}
        listed: dict[str, asyncio.Event] = {name: asyncio.Event() for name in KINDS}
        requests = 0

        async def one(name: str, resource: Any) -> None:
            nonlocal requests
            listing = client.list(resource, namespace=NAMESPACE, chunk_size=500)
            async for item in listing:
                known[name + item.metadata.name] = item
                seen[name] += 1
            requests += 1
            listed[name].set()
            requests += 1
            async for _, item in client.watch(
                resource, namespace=NAMESPACE, resource_version=listing.resourceVersion
            ):
                known[name + item.metadata.name] = item
                seen[name] += 1

        resources = (Deployment, StatefulSet, Pod, EndpointSlice, Lease)
        tasks = [
            asyncio.create_task(one(name, resource))
            for name, resource in zip(KINDS, resources, strict=True)
        ]

        async def stop() -> None:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await client.close()

        async def synced() -> None:
            for event in listed.values():
                await event.wait()

        return stop, lambda: requests, synced

    return start


def resident_kib() -> int:
    """Return the resident memory of this process (proc(5))."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("there is no VmRSS")


# ---- the apps


def _cluster(kubeconfig: Path) -> Any:
    from stagedoor.kube.cluster import KubeCluster
    from stagedoor.kube.kubeconfig import load

    return KubeCluster(
        load(kubeconfig),
        field_manager="platform",
        component="stagedoor-bench",
        instance="bench",
        on_problem=lambda *_: None,
    ).urgent()


async def fill(kubeconfig: Path, apps: int) -> None:
    """Create the objects of ordinary apps, as their controllers would have."""
    cluster = _cluster(kubeconfig)
    await cluster.create(_object("v1", "Namespace", None, NAMESPACE))
    room = asyncio.Semaphore(12)

    async def one(number: int) -> None:
        async with room:
            shell = _app(number, shell=True) if number % 10 == 0 else []
            for manifest, status in (*_app(number), *shell):
                made = await cluster.create(manifest)
                if status:
                    await cluster.merge(
                        made["kind"],
                        NAMESPACE,
                        made["metadata"]["name"],
                        {"status": status},
                        subresource="status",
                    )

    await asyncio.gather(*(one(number) for number in range(apps)))
    await cluster.close_connections()


async def touch(kubeconfig: Path, apps: int) -> None:
    """Change each app once, as a rollout does many times."""
    cluster = _cluster(kubeconfig)
    room = asyncio.Semaphore(4)

    async def one(number: int) -> None:
        async with room:
            patch = {"metadata": {"annotations": {"touched": str(time.time())}}}
            await cluster.merge(_kind("Deployment"), NAMESPACE, f"app{number:04}", patch)

    await asyncio.gather(*(one(number) for number in range(apps)))
    await cluster.close_connections()


def _kind(name: str) -> Any:
    from stagedoor.model.cluster import Kind

    return Kind(name)


def _object(api: str, kind: str, namespace: str | None, name: str, **rest: Any) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name, **rest.pop("meta", {})}
    if namespace:
        meta["namespace"] = namespace
    return {"apiVersion": api, "kind": kind, "metadata": meta, **rest}


def _app(number: int, *, shell: bool = False) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    of = f"app{number:04}"
    name = f"{of}-ssh" if shell else of
    labels = {"app.kubernetes.io/name": name, "team": f"team-{number % 20}"}
    if shell:
        labels = {"app.kubernetes.io/managed-by": "stagedoor", "stagedoor.dev/shell-of": of}
    container = {
        "name": "web",
        "image": f"registry.example.org/{name}@sha256:{number:064x}",
        "env": [{"name": f"SETTING_{n}", "value": "x" * 40} for n in range(20)],
        "envFrom": [{"secretRef": {"name": f"{name}-secrets"}}],
        "ports": [{"containerPort": 8080}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}},
    }
    pod = {"containers": [container], "volumes": [{"name": "data", "emptyDir": {}}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    workload = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    address = f"10.244.{number // 250}.{number % 250 + 2}"
    ready = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    running = {
        "name": "web",
        "image": container["image"],
        "imageID": container["image"],
        "ready": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
    }
    lease = {"holderIdentity": "gateway-0", "renewTime": "2026-01-01T00:00:00.000000Z"}
    opted_in = {} if shell else {"stagedoor.dev/shell": "true"}
    marks = {"meta": {"labels": labels | opted_in}}
    objects: list[tuple[dict[str, Any], dict[str, Any] | None]] = [
        (
            _object("apps/v1", "Deployment", NAMESPACE, name, spec=workload, **marks),
            {"replicas": 1, "readyReplicas": 1, "availableReplicas": 1, "updatedReplicas": 1},
        ),
        (
            _object(
                *("apps/v1", "ReplicaSet", NAMESPACE, f"{name}-7c9f4d8b5"),
                spec=workload,
                meta={"labels": labels},
            ),
            None,
        ),
        (
            _object(
                *("v1", "Pod", NAMESPACE, f"{name}-7c9f4d8b5-x2x4z"),
                spec=pod,
                meta={"labels": labels},
            ),
            {
                "phase": "Running",
                "podIP": address,
                "podIPs": [{"ip": address}],
                "conditions": ready,
                "containerStatuses": [running],
            },
        ),
        (
            _object(
                *("discovery.k8s.io/v1", "EndpointSlice", NAMESPACE, f"{name}-x2x4z"),
                meta={"labels": {"kubernetes.io/service-name": name, **labels}},
                addressType="IPv4",
                ports=[{"port": 8080}],
                endpoints=[{"addresses": [address], "conditions": {"ready": True}}],
            ),
            None,
        ),
    ]
    if shell:
        meta = {"labels": labels}
        api = "coordination.k8s.io/v1"
        objects.append((_object(api, "Lease", NAMESPACE, name, spec=lease, meta=meta), None))
    return objects


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
