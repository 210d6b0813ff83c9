"""The ValidatingAdmissionPolicies against a stolen token: each attack as it would be tried.

The legitimate objects are what `derive` and `objects` make, so that the fence and the controller
cannot drift apart unseen.
"""

import copy
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stagedoor.model.target import Target
from stagedoor.shells.kubernetes import objects
from stagedoor.shells.kubernetes.annotations import AppSettings, read_settings
from stagedoor.shells.kubernetes.derive import Derived, Kit, derive, with_replicas
from stagedoor.shells.kubernetes.facts import facts_of
from stagedoor.shells.kubernetes.kit import KitWay
from tests.chart.asking import Answer, Manifest
from tests.chart.conftest import KIT, WITHIN_S, Fenced, install, wait_for_policies
from tests.kube.api.lone import LoneApi
from tests.shells.kubernetes import world
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)  # the first of a process starts an API server

_numbers = itertools.count()
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
        """A copy of its Deployment, to be bent."""
        return copy.deepcopy(dict(with_replicas(self.derived.deployment, 1)))

    @property
    def pod(self) -> Manifest:
        found: Manifest = self.shell["spec"]["template"]["spec"]
        return found

    def metadata(self) -> Manifest:
        return copy.deepcopy(dict(objects.metadata_of(self.app)))


def enter(fenced: Fenced, app: Manifest, namespace: str = "", **digests: str) -> Shop:
    """Create the app and write it into the register, as its team and the gateway do."""
    app = {**app, "metadata": {**app["metadata"], "namespace": namespace or fenced.apps}}
    made = fenced.admin.create(app)
    assert made.ok, made.message
    found = fenced.admin.get(app).body | {"apiVersion": "apps/v1", "kind": app["kind"]}
    register(fenced, found)
    settings = read_settings(found)
    assert isinstance(settings, AppSettings), settings
    kit = Kit(KIT)
    derived = derive(found, settings, kit, digests=digests, claims=world.CLAIMS)
    assert isinstance(derived, Derived), derived
    shop = Shop(fenced, found, derived)
    # The API server's admission hears of the register by a watch of its own.
    wait_until(lambda: "knows no app" not in fenced.controller.tried(shop.shell).message)
    return shop


def register(fenced: Fenced, app: Manifest) -> None:
    where = {"name": "stagedoor-apps", "namespace": app["metadata"]["namespace"]}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": where}
    written = fenced.gateway.merge(config_map, {"data": {app["metadata"]["name"]: facts_of(app)}})
    assert written.ok, written.message


def app(name: str, pod: Manifest = POD, kind: str = "Deployment", **annotations: str) -> Manifest:
    labels = {"app": name}
    spec: Manifest = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": copy.deepcopy(pod)},
    }
    if kind == "StatefulSet":
        spec["serviceName"] = name
    marks = {"stagedoor.dev/shell": "true"} | {
        f"stagedoor.dev/{key.replace('_', '-')}": value for key, value in annotations.items()
    }
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "annotations": marks},
        "spec": spec,
    }


@pytest.fixture
def shop(fenced: Fenced) -> Shop:
    return enter(fenced, app(f"shop{next(_numbers)}"), web=DIGEST)


def denied(answer: Answer, *words: str) -> None:
    assert answer.status == 403, (answer.status, answer.message)
    assert "ValidatingAdmissionPolicy" in answer.message, answer.message
    for word in words:
        assert word in answer.message, answer.message


# --- what the controller does


def eventually(fenced: Fenced, manifest: Manifest) -> Answer:
    """Apply it; the API server may see the app, or the register, a moment later than we wrote it."""
    end = time.monotonic() + WITHIN_S
    while (made := fenced.controller.apply(manifest)).status == 403 and time.monotonic() < end:
        pass  # each try is a request
    return made


def test_everything_that_a_shell_consists_of_passes(shop: Shop) -> None:
    controller, gateway = shop.fenced.controller, shop.fenced.gateway
    lease = dict(objects.lease(shop.app, "gateway-0", 1.0))
    made = gateway.create(lease)
    assert made.ok, made.message
    assert gateway.merge(lease, dict(objects.renewal("gateway-1", 2.0))).ok
    assert controller.merge(lease, dict(objects.failure_patch(None, 3.0))).ok
    target = Target(shop.name)
    settings = read_settings(shop.app)
    assert isinstance(settings, AppSettings)
    config_map = objects.config_map(shop.app, target, settings, DIGEST, (), ("ssh-ed25519 AAAA",))
    whole = [
        dict(shop.derived.service),
        dict(config_map),
        dict(objects.secret(shop.app, b"key", "certificate")),
        shop.shell,
    ]
    for one in whole:
        made = eventually(shop.fenced, one)
        assert made.ok, made.message
        # The same again, as a reconcile does.
        assert controller.apply(one).ok
    assert controller.merge(shop.shell, dict(objects.stop_patch(4.0))).ok
    assert controller.merge(shop.shell, dict(objects.marks_patch("hash", 5.0))).ok
    for one in [*reversed(whole), lease]:
        gone = controller.delete(one)
        assert gone.ok, gone.message


@pytest.mark.parametrize("way", KitWay)
def test_the_kit_passes_whichever_way_it_comes(fenced: Fenced, way: KitWay) -> None:
    shop = enter(fenced, app(f"shop{next(_numbers)}"))
    settings = read_settings(shop.app)
    assert isinstance(settings, AppSettings)
    derived = derive(shop.app, settings, Kit(KIT, way), digests={}, claims={})
    assert isinstance(derived, Derived)
    made = eventually(fenced, dict(with_replicas(derived.deployment, 1)))
    assert made.ok, made.message


@pytest.mark.parametrize("name", ["plain", "restricted"])
def test_apps_of_the_golden_files_have_shells_that_pass(fenced: Fenced, name: str) -> None:
    """Those that an API server takes: the others have one of everything."""
    wanted = world.app(name)
    wanted["metadata"] = {
        **wanted["metadata"],
        "name": f"golden{next(_numbers)}",
        "uid": "",
        "resourceVersion": "",
    }
    wanted.pop("status", None)
    shop = enter(fenced, wanted)
    made = eventually(fenced, shop.shell)
    assert made.ok, made.message


def test_an_image_that_the_app_s_annotation_names_passes(fenced: Fenced) -> None:
    other = "registry.example/tools/debug:3"
    shop = enter(fenced, app(f"shop{next(_numbers)}", image=other, packages_image="x.example/y:1"))
    made = eventually(fenced, shop.shell)
    assert made.ok, made.message


@pytest.mark.parametrize(
    ("image", "running"),
    [
        ("nginx:1.27", "docker.io/library/nginx@sha256:" + "1" * 64),
        ("team/app", "docker.io/team/app@sha256:" + "1" * 64),
        ("localhost/app:dev", "localhost/app@sha256:" + "1" * 64),
    ],
)
def test_the_running_digest_passes_under_its_full_name(
    fenced: Fenced, image: str, running: str
) -> None:
    pod = {"containers": [{"name": "web", "image": image}]}
    shop = enter(fenced, app(f"shop{next(_numbers)}", pod), web=running)
    made = eventually(fenced, shop.shell)
    assert made.ok, made.message


def test_a_shell_of_a_stateful_set_passes_and_an_attack_on_it_does_not(fenced: Fenced) -> None:
    shop = enter(fenced, app(f"db{next(_numbers)}", kind="StatefulSet"))
    made = eventually(fenced, shop.shell)
    assert made.ok, made.message
    bent = shop.shell
    with_env_from(bent["spec"]["template"]["spec"])
    denied(fenced.controller.apply(bent), "no Secret in its environment")


def test_a_shell_that_has_what_its_app_has_no_more_can_be_marked_and_stopped_but_not_started(
    shop: Shop,
) -> None:
    controller = shop.fenced.controller
    assert eventually(shop.fenced, shop.shell).ok
    # A roll-out of the app: no Secret any more.
    bare = {
        **shop.app,
        "spec": app(shop.name, {"containers": [{"name": "web", "image": IMAGE}]})["spec"],
    }
    register(shop.fenced, bare)
    marked = controller.merge(shop.shell, dict(objects.marks_patch("other", 1.0)))
    assert marked.ok, marked.message
    stopped = controller.merge(shop.shell, dict(objects.stop_patch(2.0)))
    assert stopped.ok, stopped.message
    end = time.monotonic() + WITHIN_S
    while (started := controller.merge(shop.shell, {"spec": {"replicas": 1}})).ok:
        assert time.monotonic() < end, "the register is not followed"
        assert controller.merge(shop.shell, {"spec": {"replicas": 0}}).ok
    denied(started, "no Secret in its environment")


# --- attacks on the pod: each is the legitimate shell, bent in one place

Bend = Callable[[Manifest], object]


def shell_container(pod: Manifest) -> Manifest:
    found: Manifest = next(one for one in pod["containers"] if one["name"] == "shell")
    return found


def with_env_from(pod: Manifest) -> None:
    shell_container(pod)["envFrom"] = [{"secretRef": {"name": OTHER_SECRET}}]


def with_env(pod: Manifest) -> None:
    source = {"secretKeyRef": {"name": OTHER_SECRET, "key": "word"}}
    shell_container(pod)["env"] = [{"name": "X", "valueFrom": source}]


def with_volume(**source: Any) -> Bend:
    return lambda pod: pod["volumes"].append({"name": "loot", **source})


def with_container(kind: str, **fields: Any) -> Bend:
    def bend(pod: Manifest) -> None:
        pod.setdefault(kind, []).append({"name": "extra", "image": IMAGE, **fields})

    return bend


def with_context(**fields: Any) -> Bend:
    return lambda pod: shell_container(pod).setdefault("securityContext", {}).update(fields)


def with_pod(**fields: Any) -> Bend:
    return lambda pod: pod.update(fields)


def with_pull_secret(pod: Manifest) -> None:
    pod["imagePullSecrets"] = [*pod["imagePullSecrets"], {"name": "shop-key"}]


SECRET = {"secretRef": {"name": OTHER_SECRET}}
ATTACKS: list[tuple[str, Bend, str]] = [
    ("volume of a Secret", with_volume(secret={"secretName": OTHER_SECRET}), "no volume"),
    (
        "volume of a ConfigMap",
        with_volume(configMap={"name": "other-map"}),
        "no volume",
    ),
    (
        "projected Secret",
        with_volume(projected={"sources": [{"secret": {"name": OTHER_SECRET}}]}),
        "no volume",
    ),
    (
        "projected Secret beside one of the app's",
        with_volume(
            projected={
                "sources": [{"secret": {"name": "shop-part"}}, {"secret": {"name": OTHER_SECRET}}]
            }
        ),
        "no volume",
    ),
    (
        "projected token for another audience",
        with_volume(
            projected={"sources": [{"serviceAccountToken": {"path": "t", "audience": "vault"}}]}
        ),
        "no volume",
    ),
    (
        "CSI volume with a Secret",
        with_volume(csi={"driver": "x.example", "nodePublishSecretRef": {"name": OTHER_SECRET}}),
        "no volume",
    ),
    (
        "CSI volume in another role",
        with_volume(csi={"driver": "vault.example", "volumeAttributes": {"role": "admin"}}),
        "no volume",
    ),
    (
        "generic ephemeral volume",
        with_volume(
            ephemeral={
                "volumeClaimTemplate": {
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "resources": {"requests": {"storage": "1Gi"}},
                    }
                }
            }
        ),
        "no volume",
    ),
    ("claim", with_volume(persistentVolumeClaim={"claimName": "other"}), "no volume"),
    ("hostPath", with_volume(hostPath={"path": "/"}), "no volume"),
    ("NFS", with_volume(nfs={"server": "nfs.example", "path": "/"}), "no volume"),
    (
        "Azure file share with a Secret",
        with_volume(azureFile={"secretName": OTHER_SECRET, "shareName": "x"}),
        "no volume",
    ),
    ("envFrom", with_env_from, "no Secret in its environment"),
    ("env", with_env, "no Secret in its environment"),
    (
        "envFrom of a ConfigMap",
        lambda pod: shell_container(pod).update(envFrom=[{"configMapRef": {"name": "other"}}]),
        "no ConfigMap in its environment",
    ),
    ("envFrom of an init container", with_container("initContainers", envFrom=[SECRET]), "Secret"),
    ("envFrom of a sidecar", with_container("containers", envFrom=[SECRET]), "Secret"),
    ("imagePullSecrets", with_pull_secret, "may pull with no Secret"),
    ("another account", with_pod(serviceAccountName="admin", serviceAccount="admin"), "account"),
    ("token", with_pod(automountServiceAccountToken=True), "has its token only where"),
    (
        "privileged",
        with_context(privileged=True, allowPrivilegeEscalation=True),
        "stays in its pod",
    ),
    ("capability", with_context(capabilities={"add": ["SYS_PTRACE"]}), "no capability"),
    (
        "capability of an init container",
        with_container("initContainers", securityContext={"capabilities": {"add": ["NET_ADMIN"]}}),
        "no capability",
    ),
    (
        "procMount",
        lambda pod: (with_context(procMount="Unmasked")(pod), pod.update(hostUsers=False)),
        "stays in its pod",
    ),
    ("hostNetwork", with_pod(hostNetwork=True), "stays in its pod"),
    ("hostPID", with_pod(hostPID=True), "stays in its pod"),
    ("hostIPC", with_pod(hostIPC=True), "stays in its pod"),
    ("node of choice", with_pod(nodeName="control-plane"), "stays in its pod"),
    (
        "hostPort",
        lambda pod: shell_container(pod)["ports"].append({"containerPort": 80, "hostPort": 80}),
        "stays in its pod",
    ),
    ("priority", with_pod(priorityClassName="system-cluster-critical"), "stays in its pod"),
    ("runtime", with_pod(runtimeClassName="weak"), "by the runtime"),
    (
        "sysctl",
        with_pod(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
        "sysctls",
    ),
    (
        "image",
        lambda pod: shell_container(pod).update(image="evil.example/x:1"),
        "runs images of the app",
    ),
    (
        "image that ends like the app's",
        lambda pod: shell_container(pod).update(
            image="evil.example/registry.example:5000/team/shop"
        ),
        "runs images of the app",
    ),
    (
        "image that begins like the app's",
        lambda pod: shell_container(pod).update(image="registry.example:5000/team/shop/evil:1"),
        "runs images of the app",
    ),
    (
        "kit of another tag",
        with_container("initContainers", image=KIT.replace(":dev", ":evil")),
        "runs images of the app",
    ),
]


@pytest.mark.parametrize(
    ("bend", "said"), [one[1:] for one in ATTACKS], ids=[a[0] for a in ATTACKS]
)
def test_a_shell_with_what_its_app_has_not_is_refused(shop: Shop, bend: Bend, said: str) -> None:
    assert eventually(shop.fenced, shop.shell).ok, "the straight one passes"
    bent = shop.shell
    bend(bent["spec"]["template"]["spec"])
    denied(shop.fenced.controller.apply(bent), said)
    # As a first creation too, and as another patch.
    assert shop.fenced.controller.delete(shop.shell).ok
    denied(shop.fenced.controller.create(bent), said)


def test_a_shell_under_the_default_account_is_refused_where_the_app_has_its_own(
    shop: Shop,
) -> None:
    bent = shop.shell
    pod = bent["spec"]["template"]["spec"]
    del pod["serviceAccountName"]
    pod.pop("serviceAccount", None)
    denied(shop.fenced.controller.create(bent), "runs as the account of the app")


def test_the_same_with_a_merge_patch(shop: Shop) -> None:
    assert eventually(shop.fenced, shop.shell).ok
    pod = shop.pod
    with_env_from(pod)
    patch = {"spec": {"template": {"spec": {"containers": pod["containers"]}}}}
    denied(shop.fenced.controller.merge(shop.shell, patch), "no Secret")


# --- attacks on what it is called and whose it is

MetaBend = Callable[[Manifest, Shop], object]


def rename(manifest: Manifest, _: Shop) -> None:
    manifest["metadata"]["name"] = "innocent"


def other_app(manifest: Manifest, shop: Shop) -> None:
    manifest["metadata"]["labels"]["stagedoor.dev/shell-of"] = "other"


def unlabelled(manifest: Manifest, _: Shop) -> None:
    del manifest["metadata"]["labels"]


def unmanaged(manifest: Manifest, _: Shop) -> None:
    del manifest["metadata"]["labels"]["app.kubernetes.io/managed-by"]


def no_owner(manifest: Manifest, _: Shop) -> None:
    manifest["metadata"]["ownerReferences"] = []


def other_owner(manifest: Manifest, _: Shop) -> None:
    manifest["metadata"]["ownerReferences"][0]["name"] = "other"


def owner_of_another_kind(manifest: Manifest, _: Shop) -> None:
    manifest["metadata"]["ownerReferences"][0].update(apiVersion="v1", kind="ConfigMap")


def two_owners(manifest: Manifest, _: Shop) -> None:
    owner = manifest["metadata"]["ownerReferences"][0]
    manifest["metadata"]["ownerReferences"] = [owner, {**owner, "uid": "other"}]


NAMES: list[tuple[MetaBend, str]] = [
    (rename, "is called"),
    (other_app, "is called"),
    (unlabelled, "only what belongs to a shell"),
    (unmanaged, "only what belongs to a shell"),
    (no_owner, "the owner of"),
    (other_owner, "the owner of"),
    (owner_of_another_kind, "the owner of"),
    (two_owners, "the owner of"),
]


@pytest.mark.parametrize("kind", ["Deployment", "Service", "ConfigMap", "Secret", "Lease"])
@pytest.mark.parametrize(("bend", "said"), NAMES, ids=[one[0].__name__ for one in NAMES])
def test_what_is_not_named_labelled_and_owned_as_a_shell_s_is_refused(
    shop: Shop, bend: MetaBend, said: str, kind: str
) -> None:
    manifest = copy.deepcopy(
        {
            "Deployment": shop.shell,
            "Service": dict(shop.derived.service),
            "ConfigMap": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": shop.metadata()},
            "Secret": dict(objects.secret(shop.app, b"key", "certificate")),
            "Lease": dict(objects.lease(shop.app, "x", 1.0)),
        }[kind]
    )
    bend(manifest, shop)
    # Of several policies that refuse, any may be the one to speak; for a Deployment there are more.
    words = () if kind == "Deployment" else (said,)
    denied(shop.fenced.controller.create(manifest), *words)
    if kind == "Lease":
        denied(shop.fenced.gateway.create(manifest), said)


@pytest.mark.parametrize("labels", [{}, {"app": "shop"}, {"stagedoor.dev/shell-of": "other"}])
def test_a_pod_without_the_label_of_the_fence_or_with_one_of_the_app_s_is_refused(
    shop: Shop, labels: dict[str, str]
) -> None:
    bent = shop.shell
    mine = bent["spec"]["template"]["metadata"]["labels"]
    bent["spec"]["template"]["metadata"]["labels"] = {**mine, **labels} if labels else {"x": "y"}
    if not labels or "stagedoor.dev/shell-of" in labels:
        bent["spec"]["selector"]["matchLabels"] = bent["spec"]["template"]["metadata"]["labels"]
    denied(shop.fenced.controller.create(bent), "has the labels")


def test_a_pod_with_annotations_for_others_is_refused(shop: Shop) -> None:
    bent = shop.shell
    marks = {"vault.hashicorp.com/agent-inject": "true"}
    bent["spec"]["template"]["metadata"]["annotations"] = marks
    denied(shop.fenced.controller.create(bent), "has the labels")


def test_more_than_one_pod_is_refused(shop: Shop) -> None:
    bent = shop.shell
    bent["spec"]["replicas"] = 2
    denied(shop.fenced.controller.create(bent), "one pod")


# --- ghosts: apps that are not


def test_the_shell_of_an_app_that_is_not_is_refused_whatever_it_has(shop: Shop) -> None:
    ghost = shop.shell
    name = f"ghost{next(_numbers)}"
    ghost["metadata"]["name"] = f"{name}-ssh"
    ghost["metadata"]["ownerReferences"][0]["name"] = name
    for labels in (
        ghost["metadata"]["labels"],
        ghost["spec"]["selector"]["matchLabels"],
        ghost["spec"]["template"]["metadata"]["labels"],
    ):
        labels["stagedoor.dev/shell-of"] = name
    with_env_from(ghost["spec"]["template"]["spec"])
    denied(shop.fenced.controller.create(ghost), "knows no app", "stagedoor-apps")


def test_an_app_of_the_other_kind_is_a_ghost_too(shop: Shop) -> None:
    bent = shop.shell
    bent["metadata"]["ownerReferences"][0]["kind"] = "StatefulSet"
    with_env_from(bent["spec"]["template"]["spec"])
    denied(shop.fenced.controller.create(bent), "knows no app")


def test_the_controller_cannot_write_the_register(shop: Shop) -> None:
    where = {"name": "stagedoor-apps", "namespace": shop.fenced.apps}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": where}
    denied(
        shop.fenced.controller.merge(
            config_map, {"data": {"ghost": "kind=Deployment\nsecret=other-secret"}}
        )
    )
    denied(shop.fenced.controller.delete(config_map))


def test_an_app_of_another_namespace_does_not_count(shop: Shop) -> None:
    bent = shop.shell
    bent["metadata"]["namespace"] = shop.fenced.staging
    denied(shop.fenced.controller.create(bent), "knows no app")


# --- what others made


def foreign(kind: str, namespace: str, name: str) -> Manifest:
    found: Manifest = {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
    }
    if kind == "Secret":
        found["stringData"] = {"word": "hush"}
    if kind == "Service":
        found["spec"] = {"ports": [{"port": 80}], "selector": {"app": "x"}}
    return found


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap", "Service"])
@pytest.mark.parametrize("suffix", ["", "-ssh"])
def test_what_others_made_is_neither_read_by_a_patch_nor_taken_over_nor_deleted(
    shop: Shop, kind: str, suffix: str
) -> None:
    controller = shop.fenced.controller
    name = f"{shop.name if suffix else 'loot' + shop.name}{suffix}"
    theirs = foreign(kind, shop.fenced.apps, name)
    assert shop.fenced.admin.create(theirs).ok
    # An empty patch answers with the whole object.
    answer = controller.merge(theirs, {"metadata": {}})
    denied(answer)
    assert "hush" not in str(answer.body)
    claimed = {**theirs, "metadata": shop.metadata() | {"name": name}}
    denied(controller.apply(claimed))
    denied(controller.delete(theirs))


def test_the_app_itself_is_neither_changed_nor_deleted(shop: Shop) -> None:
    controller = shop.fenced.controller
    denied(controller.merge(shop.app, {"metadata": {"annotations": {"x": "y"}}}))
    labels = {"stagedoor.dev/shell-of": shop.name, "app.kubernetes.io/managed-by": "stagedoor"}
    denied(controller.merge(shop.app, {"metadata": {"labels": labels}}))
    denied(controller.delete(shop.app))


def test_a_secret_that_would_be_filled_with_a_token_is_refused(shop: Shop) -> None:
    secret = dict(objects.secret(shop.app, b"key", "certificate"))
    marks = {"kubernetes.io/service-account.name": "default"}
    token = {
        **secret,
        "type": "kubernetes.io/service-account-token",
        "metadata": {**shop.metadata(), "annotations": marks},
    }
    denied(shop.fenced.controller.create(token), "Opaque")


@pytest.mark.parametrize(
    "spec",
    [
        {"selector": {"app": "shop"}},
        {"selector": {}},
        {"type": "LoadBalancer", "clusterIP": None},
        {"type": "NodePort", "clusterIP": None},
        {"type": "ExternalName", "externalName": "evil.example", "clusterIP": None},
        {"externalIPs": ["192.0.2.1"]},
    ],
)
def test_a_service_that_selects_others_or_opens_a_door_is_refused(
    shop: Shop, spec: Manifest
) -> None:
    service = copy.deepcopy(dict(shop.derived.service))
    service["spec"] = {
        key: value for key, value in {**service["spec"], **spec}.items() if value is not None
    }
    denied(shop.fenced.controller.create(service), "Service")


# --- pods, and everything else


def pod_of(shop: Shop, *, ours: bool) -> Manifest:
    """As the ReplicaSet controller would make it."""
    labels = {"stagedoor.dev/shell-of": shop.name, "app.kubernetes.io/managed-by": "stagedoor"}
    pod: Manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"pod{next(_numbers)}",
            "namespace": shop.fenced.apps,
            "labels": labels if ours else {"app": shop.name},
        },
        "spec": {"containers": [{"name": "x", "image": IMAGE}]},
    }
    assert shop.fenced.admin.create(pod).ok
    return pod


def test_of_a_shell_s_pod_annotations_may_be_changed_and_nothing_else(shop: Shop) -> None:
    controller, pod = shop.fenced.controller, pod_of(shop, ours=True)
    assert controller.merge(pod, {"metadata": {"annotations": {"stagedoor.dev/policy": "1"}}}).ok
    bent = [{"name": "x", "image": "evil.example/x:1"}]
    denied(controller.merge(pod, {"spec": {"containers": bent}}), "only annotations")
    denied(controller.merge(pod, {"metadata": {"labels": {"app": "shop"}}}), "only annotations")


def test_a_pod_of_the_app_is_not_touched(shop: Shop) -> None:
    pod = pod_of(shop, ours=False)
    patch = {"metadata": {"annotations": {"stagedoor.dev/policy": "1"}}}
    denied(shop.fenced.controller.merge(pod, patch), "only what belongs to a shell")


def test_rights_that_somebody_adds_do_not_open_the_fence(fenced: Fenced) -> None:
    """RBAC that was widened by mistake: the policy still says what our accounts write."""
    subjects = [
        {"kind": "ServiceAccount", "name": f"stagedoor-{name}", "namespace": fenced.own}
        for name in ("gateway", "controller")
    ]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "mistake", "namespace": fenced.staging},
        "roleRef": role,
        "subjects": subjects,
    }
    assert fenced.admin.create(binding).ok
    try:
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "mine", "namespace": fenced.staging},
        }
        for asker in (fenced.gateway, fenced.controller):
            # RBAC too follows by a watch.
            wait_until(partial(asker.may, fenced.staging, "create", "serviceaccounts"))
            denied(asker.create(account), "nothing of that kind")
            asked = asker.request(
                "POST",
                f"/api/v1/namespaces/{fenced.staging}/serviceaccounts/default/token",
                {
                    "apiVersion": "authentication.k8s.io/v1",
                    "kind": "TokenRequest",
                    "spec": {"audiences": []},
                },
            )
            assert asked.status in (403, 404), asked.message
        mine = enter(fenced, app(f"shop{next(_numbers)}"), fenced.staging)
        path, name = f"/apis/apps/v1/namespaces/{fenced.staging}/deployments", mine.name
        shell = foreign("ConfigMap", fenced.staging, "x")
        denied(fenced.gateway.create(shell), "nothing of that kind")
        denied(fenced.gateway.request("DELETE", f"{path}/{name}"), "nothing of that kind")
    finally:
        assert fenced.admin.delete(binding).ok


def test_everybody_else_is_left_alone(fenced: Fenced, shop: Shop) -> None:
    for kind in ("Secret", "ConfigMap", "Service"):
        made = fenced.admin.create(foreign(kind, fenced.apps, f"plain-{shop.name}-ssh"))
        assert made.ok, made.message
    bent = shop.shell
    with_env_from(bent["spec"]["template"]["spec"])
    bent["metadata"]["ownerReferences"] = []
    assert fenced.admin.create(bent).ok, "whoever may make any Deployment needs no shell of ours"


# --- size


def test_a_large_app_s_shell_passes_and_is_still_held(fenced: Fenced) -> None:
    """CEL has a budget; whoever exceeds it is refused, so a large app would have no shell."""
    env = [
        {"name": f"V{n}", "valueFrom": {"secretKeyRef": {"name": f"secret-{n}", "key": "k"}}}
        for n in range(300)
    ]
    volumes = [{"name": f"v{n}", "configMap": {"name": f"map-{n}"}} for n in range(60)]
    mounts = [{"name": f"v{n}", "mountPath": f"/v/{n}"} for n in range(60)]
    web = {"name": "web", "image": IMAGE, "env": env, "volumeMounts": mounts}
    sidecars = [{"name": f"s{n}", "image": f"x.example/s{n}", "env": env[:50]} for n in range(5)]
    pod = {"containers": [web, *sidecars], "volumes": volumes}
    shop = enter(fenced, app(f"large{next(_numbers)}", pod))
    made = eventually(fenced, shop.shell)
    assert made.ok, made.message
    bent = shop.shell
    with_env_from(bent["spec"]["template"]["spec"])
    denied(fenced.controller.apply(bent), "no Secret in its environment")


def test_the_fence_follows_the_apps_of_an_installation_that_comes_after_another(
    fenced: Fenced, tmp_path: Path
) -> None:
    """Kubernetes issue 130887: without what an uninstall leaves, all shells would be refused then."""
    api = LoneApi(tmp_path)  # of its own, with no other policies in it
    try:
        first = install(api)
        wait_for_policies(first)
        for one in first.objects:
            kept = one["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
            if one["kind"].startswith("ValidatingAdmissionPolicy") and not kept:
                assert first.admin.delete(one).ok
        time.sleep(
            3
        )  # the API server looks once a second which kinds are parameters, and is silent
        second = install(api)
        wait_for_policies(second)
        shop = enter(second, app("shop"))
        made = eventually(second, shop.shell)
        assert made.ok, made.message
    finally:
        api.close()
