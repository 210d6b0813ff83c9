"""Apps with shells in a fenced API server, and the gateway that says which of them may start."""

import asyncio
import copy
import itertools
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.kubeconfig import load
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.annotations import (
    PRIVILEGES,
    AppSettings,
    read_settings,
)
from stagedoor.shells.kubernetes.derive.kit import Kit, KitSource
from stagedoor.shells.kubernetes.derive.shell import Derived, derive, with_replicas
from stagedoor.shells.kubernetes.live.namespace_cache import ClusterCache, NamespaceCache
from stagedoor.shells.kubernetes.live.register import DeriveContext, Register, identify_shell
from stagedoor.shells.kubernetes.names import REGISTER
from tests.chart.conftest import KIT, WITHIN_S, Fenced
from tests.cluster.asking import Answer, Manifest
from tests.kube.api.lone import LoneApi
from tests.waiting import wait_until

numbers = itertools.count()
DEFAULTS = AppSettings(permitted=frozenset(PRIVILEGES))
IMAGE = "registry.example:5000/team/shop:1.2"
DIGEST = "registry.example:5000/team/shop@sha256:" + "0123456789abcdef" * 4
POD: Manifest = {
    "serviceAccountName": "shop",
    "imagePullSecrets": [{"name": "shop-pull"}],
    "containers": [
        {
            "name": "web",
            "image": IMAGE,
            "env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "shop-key", "key": "a"}}},
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "shop-map", "key": "b"}}},
            ],
            "envFrom": [
                {"secretRef": {"name": "shop-env"}},
                {"configMapRef": {"name": "shop-env"}},
            ],
            "volumeMounts": [
                {"name": "secret", "mountPath": "/secret"},
                {"name": "both", "mountPath": "/both"},
                {"name": "vault", "mountPath": "/vault"},
            ],
            "securityContext": {"capabilities": {"add": ["NET_RAW"]}},
        }
    ],
    "volumes": [
        {"name": "secret", "secret": {"secretName": "shop-file"}},
        {
            "name": "both",
            "projected": {
                "sources": [
                    {"secret": {"name": "shop-part"}},
                    {"configMap": {"name": "shop-part"}},
                    {"serviceAccountToken": {"path": "token", "audience": "shop"}},
                ]
            },
        },
        {
            "name": "vault",
            "csi": {
                "driver": "vault.example",
                "volumeAttributes": {"role": "shop"},
                "nodePublishSecretRef": {"name": "shop-vault"},
            },
        },
    ],
}
OTHER_SECRET = "other-secret"


@dataclass
class Shop:
    """An app, known to the register, and its shell as the controller would make it."""

    fenced: Fenced
    app: Manifest
    derived: Derived

    @property
    def name(self) -> str:
        return str(self.app["metadata"]["name"])

    @property
    def shell(self) -> Manifest:
        """A copy of its Deployment as the controller makes it first, to be bent."""
        return copy.deepcopy(dict(with_replicas(self.derived.deployment, 0)))

    @property
    def pod(self) -> Manifest:
        spec: Manifest = self.shell["spec"]["template"]["spec"]
        return spec

    def metadata(self) -> Manifest:
        return copy.deepcopy(dict(objects.make_metadata(self.app)))

    def started(self, manifest: Manifest | None = None) -> Answer:
        """Act as the controller does: make it without a pod, then start it as soon as it may. Return the
        last answer: a refusal if the gateway has judged just this generation, or anything else refuses."""
        manifest = manifest or self.shell
        controller = self.fenced.controller
        made = eventually(self.fenced, manifest)
        if not made.ok:
            return made
        generation = identify_shell(made.body)
        end = time.monotonic() + WITHIN_S
        while True:
            answer = controller.merge(manifest, {"spec": {"replicas": 1}})
            judged = f"{REGISTER}: {generation} " in answer.message
            if judged or REGISTER not in answer.message or time.monotonic() > end:
                return answer
            self.verdict(made.body)

    def verdict(self, made: Manifest) -> str:
        """Wait for what the gateway writes of this generation of a Deployment, and return it. The API
        server spends ten times as much on a refusal."""
        namespace, generation = made["metadata"]["namespace"], identify_shell(made)

        names: list[str] = []

        def written() -> bool:
            register = self.fenced.admin.named("ConfigMap", namespace, REGISTER)
            names.extend(
                entry for entry in register.get("data", {}).values() if entry.startswith(generation)
            )
            return bool(names)

        wait_until(written, WITHIN_S, "the gateway judges it")
        return names[0]


def enter(
    fenced: Fenced,
    app: Manifest,
    namespace: str = "",
    kit: KitSource = KitSource.SIBLING,
    claims: Mapping[str, Sequence[str]] | None = None,
    given: Kit | None = None,
    **digests: str,
) -> Shop:
    """Create the app, and a pod of it that runs these images; `claims` are there already."""
    app = {**app, "metadata": {**app["metadata"], "namespace": namespace or fenced.apps}}
    made = fenced.admin.create(app)
    assert made.ok, made.message
    manifest = fenced.admin.get(app).body | {"apiVersion": "apps/v1", "kind": app["kind"]}
    if digests:
        run(fenced, manifest, digests)
    settings = read_settings(manifest, DEFAULTS)
    assert isinstance(settings, AppSettings), settings
    given = given or Kit(KIT, kit)
    derived = derive(manifest, settings, given, digests=digests, claims=claims or {})
    assert isinstance(derived, Derived), derived
    return Shop(fenced, manifest, derived)


def run(fenced: Fenced, app: Manifest, images: dict[str, str]) -> None:
    """A pod as the ReplicaSet controller makes it, with the status that a kubelet gives it."""
    template = app["spec"]["template"]
    pod: Manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{app['metadata']['name']}-{next(numbers)}",
            "namespace": app["metadata"]["namespace"],
            "labels": template["metadata"]["labels"],
        },
        "spec": template["spec"],
    }
    made = fenced.admin.create(pod)
    assert made.ok, made.message
    statuses = [
        {"name": name, "ready": True, "restartCount": 0, "image": image, "imageID": image}
        for name, image in images.items()
    ]
    status = {"phase": "Running", "containerStatuses": statuses}
    answer = fenced.admin.merge(pod, {"status": status}, "status")
    assert answer.ok, answer.message


def app(name: str, pod: Manifest = POD, kind: str = "Deployment", **annotations: str) -> Manifest:
    labels = {"app": name}
    spec: Manifest = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": copy.deepcopy(pod)},
    }
    if kind == "StatefulSet":
        spec["serviceName"] = name
    annotations = {"privileges": "service-account"} | annotations
    marks = {f"stagedoor.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "labels": {"stagedoor.dev/shell": "true"},
            "annotations": marks,
        },
        "spec": spec,
    }


def denied(answer: Answer, *words: str) -> None:
    assert answer.status == 403, (answer.status, answer.message)
    assert "ValidatingAdmissionPolicy" in answer.message, answer.message
    for word in words:
        assert word in answer.message, answer.message


def eventually(fenced: Fenced, manifest: Manifest) -> Answer:
    """Apply it; the API server may see the app a moment later than we wrote it."""
    end = time.monotonic() + WITHIN_S
    while (made := fenced.controller.apply(manifest)).status == 403 and time.monotonic() < end:
        if "owner of" not in made.message and "knows" not in made.message:
            break
    return made


def foreign(kind: str, namespace: str, name: str) -> Manifest:
    manifest: Manifest = {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
    }
    if kind == "Secret":
        manifest["stringData"] = {"word": "hush"}
    if kind == "Service":
        manifest["spec"] = {"ports": [{"port": 80}], "selector": {"app": "x"}}
    return manifest


@contextmanager
def gateway(
    lone: LoneApi, fenced: Fenced, kit: KitSource = KitSource.SIBLING, given: Kit | None = None
) -> Iterator[list[str | None]]:
    """A gateway's register, with the gateway's own account, in a thread; yields its problems."""
    problems: list[str | None] = []
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def keep() -> None:
        cluster = KubeCluster(
            load(lone.kubeconfig(token=fenced.gateway.token)),
            field_manager="stagedoor",
            component="gateway",
            instance="gateway-0",
            on_problem=lambda what, problem: problems.append(problem),
        )
        context = DeriveContext(given or Kit(KIT, kit), DEFAULTS)
        namespaces = (fenced.apps, fenced.staging)
        cache = ClusterCache(cluster, namespaces)
        tasks = [loop.create_task(work) for work in cache.list_coroutines()]
        for namespace in namespaces:
            register = Register(cluster, NamespaceCache(cache, namespace), context, problems.append)
            tasks.append(loop.create_task(register.run()))
        await stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await cluster.close_connections()

    thread = threading.Thread(target=loop.run_until_complete, args=(keep(),), daemon=True)
    thread.start()
    try:
        yield problems
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(WITHIN_S)
        loop.close()
