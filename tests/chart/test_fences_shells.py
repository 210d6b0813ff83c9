"""The ValidatingAdmissionPolicy *shells* against a stolen token: a shell has what its app has.

The gateway's register runs beside, with the gateway's own account. The legitimate shells are what
`derive` makes, so that the fence and the controller cannot drift apart unseen.
"""

import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.compare import find_differences
from stagedoor.shells.kubernetes.derive.kit import KitSource
from stagedoor.shells.kubernetes.live.register import identify_shell
from tests.chart.conftest import KIT, Fenced, install, installed, wait_for_policies
from tests.chart.openapi import Field, fields, put, values
from tests.chart.shops import (
    DIGEST,
    IMAGE,
    POD,
    Shop,
    app,
    denied,
    enter,
    eventually,
    foreign,
    gateway,
    numbers,
)
from tests.cluster.asking import Manifest
from tests.kube.api.lone import LoneApi
from tests.shells.kubernetes import samples

pytestmark = pytest.mark.timeout(300)  # the first of a process starts an API server


@pytest.fixture(scope="module", autouse=True)
def judged(lone: LoneApi, fenced: Fenced) -> Iterator[None]:
    """A gateway runs, which is not asked for a shell: it judges those that others asked for too."""
    patch = pytest.MonkeyPatch()
    patch.setattr("stagedoor.shells.kubernetes.live.register.OTHER_GATEWAY_S", 0.0)
    patch.setattr("stagedoor.shells.kubernetes.live.register.RECHECK_PAUSE_S", 0.1)
    with gateway(lone, fenced):
        yield
    patch.undo()


@pytest.fixture(autouse=True)
def none_left(fenced: Fenced) -> Iterator[None]:
    """A shell that was refused would be judged ten times a second for as long as it is there."""
    yield
    of_shells = "deployments?labelSelector=stagedoor.dev/shell-of"
    gone = fenced.admin.request("DELETE", f"/apis/apps/v1/namespaces/{fenced.apps}/{of_shells}")
    assert gone.ok, gone.message


@pytest.fixture
def shop(fenced: Fenced) -> Shop:
    return enter(fenced, app(f"shop{next(numbers)}"), web=DIGEST)


# --- what the controller does


def test_a_shell_starts_is_marked_stopped_and_started_again(shop: Shop) -> None:
    controller = shop.fenced.controller
    made = shop.started()
    assert made.ok, made.message
    assert controller.merge(shop.shell, dict(objects.make_marks_patch("hash", 5.0))).ok
    assert controller.merge(shop.shell, dict(objects.make_stop_patch(4.0))).ok
    assert controller.merge(shop.shell, dict(objects.make_marks_patch(None, None))).ok
    again = shop.started()
    assert again.ok, again.message


@pytest.mark.parametrize("source", [KitSource.INIT, KitSource.IMAGE_VOLUME])
def test_the_kit_passes_whichever_way_it_comes(
    lone: LoneApi, fenced: Fenced, source: KitSource
) -> None:
    with installed(lone, fenced) as another, gateway(lone, another, source):
        made = enter(another, app(f"shop{next(numbers)}"), kit=source).started()
    assert made.ok, made.message


@pytest.fixture(scope="module")
def claims(fenced: Fenced) -> None:
    for name, modes in samples.CLAIMS.items():
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": fenced.apps},
            "spec": {"accessModes": modes, "resources": {"requests": {"storage": "1Gi"}}},
        }
        made = fenced.admin.create(claim)
        assert made.ok, made.message


def legal(app: Manifest) -> Manifest:
    """An app of the golden files without what this API server takes in no Deployment: they have one
    of everything."""
    pod = app["spec"]["template"]["spec"]
    for field in ("hostNetwork", "hostPID", "shareProcessNamespace", "activeDeadlineSeconds"):
        pod.pop(field, None)
    for container in pod["containers"]:
        env, mounts = container.get("env", []), container.get("volumeMounts", [])
        container["env"] = [
            variable for variable in env if "fileKeyRef" not in variable.get("valueFrom", {})
        ]
        container["volumeMounts"] = [mount for mount in mounts if mount["name"] != "cache"]
        container.get("resources", {}).pop("claims", None)
        container.get("securityContext", {}).pop("procMount", None)
    for volume in pod.get("volumes", []):
        if "ephemeral" in volume:
            spec = volume["ephemeral"]["volumeClaimTemplate"]["spec"]
            spec["resources"] = {"requests": {"storage": "1Gi"}}
    metadata = {**app["metadata"], "name": f"golden{next(numbers)}"}
    for field in ("uid", "resourceVersion"):
        metadata.pop(field, None)
    return {"spec": app["spec"], "kind": app["kind"], "apiVersion": "apps/v1", "metadata": metadata}


@pytest.mark.usefixtures("claims")
@pytest.mark.parametrize("name", sorted(path.stem for path in (samples.HERE / "apps").iterdir()))
def test_apps_of_the_golden_files_have_shells_that_pass(fenced: Fenced, name: str) -> None:
    shop = enter(fenced, legal(samples.app(name)), claims=samples.CLAIMS)
    made = shop.started()
    assert made.ok, made.message


def test_an_image_that_the_app_s_annotation_names_passes(fenced: Fenced) -> None:
    other = "registry.example/tools/debug:3"
    shop = enter(fenced, app(f"shop{next(numbers)}", image=other, packages_image="x.example/y:1"))
    made = shop.started()
    assert made.ok, made.message


@pytest.mark.parametrize(
    ("image", "running"),
    [
        ("nginx:1.27", "nginx@sha256:" + "1" * 64),
        ("team/app", "team/app@sha256:" + "1" * 64),
        ("localhost/app:dev", "localhost/app@sha256:" + "1" * 64),
    ],
)
def test_the_running_digest_passes_and_another_does_not(
    fenced: Fenced, image: str, running: str
) -> None:
    pod = {"containers": [{"name": "web", "image": image}]}
    shop = enter(fenced, app(f"shop{next(numbers)}", pod), web=running)
    made = shop.started()
    assert made.ok, made.message
    for other in (image, running.replace("1" * 64, "2" * 64)):
        bent = shop.shell
        shell_container(bent["spec"]["template"]["spec"])["image"] = other
        denied(shop.started(bent), "containers[shell].image")


def test_a_shell_of_a_stateful_set_passes_and_an_attack_on_it_does_not(fenced: Fenced) -> None:
    shop = enter(fenced, app(f"db{next(numbers)}", kind="StatefulSet"))
    made = shop.started()
    assert made.ok, made.message
    bent = shop.shell
    with_env_from(bent["spec"]["template"]["spec"])
    denied(shop.started(bent), "containers[shell].envFrom")


def test_a_shell_that_has_what_its_app_has_no_more_can_be_marked_and_stopped_but_not_started(
    shop: Shop,
) -> None:
    controller = shop.fenced.controller
    assert shop.started().ok
    # A roll-out of the app: no Secret any more.
    bare = app(shop.name, {"containers": [{"name": "web", "image": IMAGE}]})
    bare["metadata"]["namespace"] = shop.fenced.apps
    rolled = shop.fenced.admin.merge(
        bare,
        {"spec": {"template": {"spec": {"volumes": None, **bare["spec"]["template"]["spec"]}}}},
    )
    assert rolled.ok, rolled.message
    marked = controller.merge(shop.shell, dict(objects.make_marks_patch("other", 1.0)))
    assert marked.ok, marked.message
    stopped = controller.merge(shop.shell, dict(objects.make_stop_patch(2.0)))
    assert stopped.ok, stopped.message
    assert controller.merge(shop.shell, dict(objects.make_marks_patch(None, None))).ok
    denied(shop.started(), "no gateway has let this shell", "not what the app has")


# --- attacks on the pod: each is the legitimate shell, bent in one place

Bend = Callable[[Manifest], object]


def shell_container(pod: Manifest) -> Manifest:
    shell: Manifest = next(
        container for container in pod["containers"] if container["name"] == "shell"
    )
    return shell


OTHER_SECRET = "other-secret"  # its name


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
ATTACKS: list[tuple[str, Bend]] = [
    ("volume of a Secret", with_volume(secret={"secretName": OTHER_SECRET})),
    ("volume of a ConfigMap", with_volume(configMap={"name": "other-map"})),
    ("projected Secret", with_volume(projected={"sources": [{"secret": {"name": OTHER_SECRET}}]})),
    (
        "projected Secret beside one of the app's",
        with_volume(
            projected={
                "sources": [{"secret": {"name": "shop-part"}}, {"secret": {"name": OTHER_SECRET}}]
            }
        ),
    ),
    (
        "projected token for another audience",
        with_volume(
            projected={"sources": [{"serviceAccountToken": {"path": "t", "audience": "vault"}}]}
        ),
    ),
    (
        "CSI volume with a Secret",
        with_volume(csi={"driver": "x.example", "nodePublishSecretRef": {"name": OTHER_SECRET}}),
    ),
    (
        "CSI volume in another role",
        with_volume(csi={"driver": "vault.example", "volumeAttributes": {"role": "admin"}}),
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
    ),
    ("claim", with_volume(persistentVolumeClaim={"claimName": "other"})),
    ("hostPath", with_volume(hostPath={"path": "/"})),
    ("NFS", with_volume(nfs={"server": "nfs.example", "path": "/"})),
    (
        "Azure file share with a Secret",
        with_volume(azureFile={"secretName": OTHER_SECRET, "shareName": "x"}),
    ),
    ("envFrom", with_env_from),
    ("env", with_env),
    (
        "envFrom of a ConfigMap",
        lambda pod: shell_container(pod).update(envFrom=[{"configMapRef": {"name": "other"}}]),
    ),
    ("envFrom of an init container", with_container("initContainers", envFrom=[SECRET])),
    ("envFrom of a sidecar", with_container("containers", envFrom=[SECRET])),
    ("imagePullSecrets", with_pull_secret),
    ("another account", with_pod(serviceAccountName="admin", serviceAccount="admin")),
    ("token", with_pod(automountServiceAccountToken=True)),
    ("privileged", with_context(privileged=True, allowPrivilegeEscalation=True)),
    ("capability", with_context(capabilities={"add": ["SYS_PTRACE"]})),
    (
        "capability of an init container",
        with_container("initContainers", securityContext={"capabilities": {"add": ["NET_ADMIN"]}}),
    ),
    (
        "procMount",
        lambda pod: (with_context(procMount="Unmasked")(pod), pod.update(hostUsers=False)),
    ),
    ("hostNetwork", with_pod(hostNetwork=True)),
    ("hostPID", with_pod(hostPID=True)),
    ("hostIPC", with_pod(hostIPC=True)),
    ("node of choice", with_pod(nodeName="control-plane")),
    (
        "hostPort",
        lambda pod: shell_container(pod)["ports"].append({"containerPort": 80, "hostPort": 80}),
    ),
    ("priority", with_pod(priorityClassName="system-cluster-critical")),
    ("runtime", with_pod(runtimeClassName="weak")),
    ("sysctl", with_pod(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]})),
    ("image", lambda pod: shell_container(pod).update(image="evil.example/x:1")),
    (
        "image that ends like the app's",
        lambda pod: shell_container(pod).update(
            image="evil.example/registry.example:5000/team/shop"
        ),
    ),
    (
        "image that begins like the app's",
        lambda pod: shell_container(pod).update(image="registry.example:5000/team/shop/evil:1"),
    ),
    ("kit of another tag", with_container("initContainers", image=KIT.replace(":dev", ":evil"))),
]


def without(pod: Manifest, *fields: str) -> None:
    for name in fields:
        del pod[name]


def of_volume(name: str, kind: str, **fields: Any) -> Bend:
    """A volume of the app's, with something else in its source; None takes a field away."""

    def bend(pod: Manifest) -> None:
        source = next(volume for volume in pod["volumes"] if volume["name"] == name)[kind]
        source.update(fields)
        for field in [field for field, value in fields.items() if value is None]:
            del source[field]

    return bend


def with_long_token(pod: Manifest) -> None:
    [both] = [volume for volume in pod["volumes"] if volume["name"] == "both"]
    both["projected"]["sources"][2]["serviceAccountToken"]["expirationSeconds"] = 2**32


def with_kit(**fields: Any) -> Bend:
    """Something else in the container that brings the kit."""
    return lambda pod: next(
        container for container in pod["containers"] if container["name"] == "kit"
    ).update(fields)


LINK_LOCAL = {"httpGet": {"host": "169.254.169.254", "port": 80, "path": "/latest/meta-data"}}
# The bends of issue 11: on the real API server each passed the fence that looked for facts.
ATTACKS += [
    ("root", with_context(runAsUser=0, runAsNonRoot=False)),
    ("root's capabilities", with_context(capabilities={"drop": []})),
    ("no securityContext", lambda pod: without(shell_container(pod), "securityContext")),
    ("privilege escalation", with_context(allowPrivilegeEscalation=True)),
    ("SELinux", with_context(seLinuxOptions={"type": "spc_t"})),
    ("seccomp", with_context(seccompProfile={"type": "Unconfined"})),
    ("AppArmor", with_context(appArmorProfile={"type": "Unconfined"})),
    ("seccomp of the pod", with_pod(securityContext={"seccompProfile": {"type": "Unconfined"}})),
    ("gid 0", with_pod(securityContext={"runAsGroup": 0, "fsGroup": 0, "supplementalGroups": [0]})),
    (
        "devices",
        lambda pod: shell_container(pod).update(resources={"limits": {"x.example/gpu": "1"}}),
    ),
    (
        "control plane",
        with_pod(
            tolerations=[{"operator": "Exists"}],
            nodeSelector={"node-role.kubernetes.io/control-plane": ""},
        ),
    ),
    ("postStart", lambda pod: shell_container(pod).update(lifecycle={"postStart": LINK_LOCAL})),
    ("probe", lambda pod: shell_container(pod).update(livenessProbe=LINK_LOCAL)),
    ("kit's postStart", with_kit(lifecycle={"postStart": LINK_LOCAL})),
    ("kit's command", with_kit(command=["/bin/sh"])),
    ("csi without attributes", of_volume("vault", "csi", volumeAttributes=None)),
    ("csi read-only", of_volume("vault", "csi", readOnly=True)),
    ("tag of the app's repository", lambda pod: shell_container(pod).update(image=IMAGE + "-old")),
    ("token of 136 years", with_long_token),
    ("dns", with_pod(dnsPolicy="None", dnsConfig={"nameservers": ["192.0.2.1"]})),
    ("hosts", with_pod(hostAliases=[{"ip": "192.0.2.1", "hostnames": ["db"]}])),
    ("shared processes", with_pod(shareProcessNamespace=True)),
    ("host users", with_pod(hostUsers=True)),
    ("debugger that stays", with_pod(terminationGracePeriodSeconds=2**31)),
]


@pytest.mark.parametrize("bend", [case[1] for case in ATTACKS], ids=[case[0] for case in ATTACKS])
def test_a_shell_with_what_its_app_has_not_gets_no_pod(shop: Shop, bend: Bend) -> None:
    controller = shop.fenced.controller
    assert shop.started().ok, "the straight one passes"
    bent = shop.shell
    bend(bent["spec"]["template"]["spec"])
    assert bent != shop.shell
    # While it runs, at once; and by way of none.
    denied(controller.apply({**bent, "spec": {**bent["spec"], "replicas": 1}}), "is not changed")
    denied(shop.started(bent))
    # As a first creation too.
    assert controller.delete(shop.shell).ok
    denied(controller.create({**bent, "spec": {**bent["spec"], "replicas": 1}}), "without a pod")
    denied(shop.started(bent))


def test_an_app_s_read_only_volumes_are_not_mounted_writable(fenced: Fenced) -> None:
    """A hostPath and a claim that the app mounts read-only, without the annotation and with it."""
    pod = copy.deepcopy(POD)
    pod["volumes"] += [
        {"name": "node", "hostPath": {"path": "/srv"}},
        {"name": "disk", "persistentVolumeClaim": {"claimName": "disk", "readOnly": True}},
    ]
    mounts = [
        {"name": name, "mountPath": f"/{name}", "readOnly": True} for name in ("node", "disk")
    ]
    pod["containers"][0]["volumeMounts"] += mounts
    shop = enter(fenced, app(f"shop{next(numbers)}", pod))
    assert shop.started().ok
    for volume, mount in zip(pod["volumes"][-2:], mounts, strict=True):
        for read_only in (True, False):
            bent = shop.shell
            spec = bent["spec"]["template"]["spec"]
            spec["volumes"].append(volume)
            mounted = {**mount, "readOnly": read_only}
            shell_container(spec)["volumeMounts"].append(mounted)
            denied(shop.started(bent), "spec.template.spec.volumes")
    asked = enter(
        fenced,
        app(f"shop{next(numbers)}", pod, volumes="rwo", privileges="service-account, host-path"),
    )
    assert asked.started().ok
    for name in ("node", "disk"):
        bent = asked.shell
        spec = bent["spec"]["template"]["spec"]
        candidate = next(
            entry for entry in shell_container(spec)["volumeMounts"] if entry["name"] == name
        )
        del candidate["readOnly"]
        denied(asked.started(bent), "volumeMounts", "readOnly")


def test_what_was_let_start_is_started_as_it_stands(shop: Shop) -> None:
    """The straight one is judged; then it is bent, and started in the same request."""
    controller = shop.fenced.controller
    made = eventually(shop.fenced, shop.shell)
    assert shop.verdict(made.body) == identify_shell(made.body), "it is let start"
    tolerant = {"template": {"spec": {"tolerations": [{"operator": "Exists"}]}}}
    denied(controller.merge(shop.shell, {"spec": {"replicas": 1, **tolerant}}), "is not changed")
    # In two requests: another generation.
    bent = controller.merge(shop.shell, {"spec": tolerant})
    assert bent.ok, bent.message
    denied(controller.merge(shop.shell, {"spec": {"replicas": 1}}), "no gateway has let")
    # Back again is a third.
    shop.fenced.admin.merge(shop.shell, {"spec": {"template": {"spec": {"tolerations": None}}}})
    assert shop.started().ok


def test_a_paused_deployment_that_would_start_an_old_replica_set_is_refused(shop: Shop) -> None:
    """A Deployment that is paused makes no ReplicaSet of its template, and scales the last one."""
    bent = shop.shell
    bent["spec"]["paused"] = True
    denied(shop.started(bent), "spec.paused")


def test_more_than_one_pod_is_refused(shop: Shop) -> None:
    assert shop.started().ok
    denied(shop.fenced.controller.merge(shop.shell, {"spec": {"replicas": 2}}), "then has one")


def test_the_labels_and_the_owner_of_a_shell_that_runs_are_not_changed(shop: Shop) -> None:
    assert shop.started().ok
    owner = {**shop.metadata()["ownerReferences"][0], "uid": "another"}
    patch = {"metadata": {"ownerReferences": [owner]}}
    denied(shop.fenced.controller.merge(shop.shell, patch), "is not changed")


@pytest.mark.parametrize("labels", [{}, {"app": "shop"}, {"stagedoor.dev/shell-of": "other"}])
def test_a_pod_without_the_label_of_the_fence_or_with_one_of_the_app_s_is_refused(
    shop: Shop, labels: dict[str, str]
) -> None:
    bent = shop.shell
    mine = bent["spec"]["template"]["metadata"]["labels"]
    bent["spec"]["template"]["metadata"]["labels"] = {**mine, **labels} if labels else {"x": "y"}
    if not labels or "stagedoor.dev/shell-of" in labels:
        bent["spec"]["selector"]["matchLabels"] = bent["spec"]["template"]["metadata"]["labels"]
    denied(shop.started(bent))
    bent["spec"]["replicas"] = 1
    assert shop.fenced.controller.delete(shop.shell).ok
    denied(shop.fenced.controller.create(bent))


def test_a_pod_with_annotations_for_others_is_refused(shop: Shop) -> None:
    bent = shop.shell
    marks = {"vault.hashicorp.com/agent-inject": "true"}
    bent["spec"]["template"]["metadata"]["annotations"] = marks
    denied(shop.started(bent))


def test_a_shell_under_the_default_account_is_refused_where_the_app_has_its_own(
    shop: Shop,
) -> None:
    bent = shop.shell
    pod = bent["spec"]["template"]["spec"]
    del pod["serviceAccountName"]
    pod.pop("serviceAccount", None)
    denied(shop.started(bent), "spec.template.spec.serviceAccountName")


# --- every field that there is


TAKEN: dict[str | int, Any] = {
    "affinity": {"podAffinity": {}},
    "annotations": {"x.example/y": "z"},
    "args": ["x"],
    "command": ["x"],
    "dnsPolicy": "Default",
    "finalizers": ["x.example/y"],
    "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["db"]}],
    "image": "x",
    "imagePullSecrets": [{"name": "x"}],
    "lifecycle": {"preStop": {"exec": {"command": ["x"]}}},
    "minReadySeconds": 7,
    "nodeSelector": {"x": "y"},
    "readinessGates": [{"conditionType": "x.example/y"}],
    "revisionHistoryLimit": 7,
    "runtimeClassName": "x",
    "schedulerName": "x",
    "serviceAccountName": "x",
    "strategy": {"rollingUpdate": {"maxSurge": 2}},
    "tolerations": [{"operator": "Exists"}],
    "workingDir": "/x",
}
"""Values that the API server takes, each not what it is."""


@pytest.fixture(scope="module")
def every(fenced: Fenced) -> list[Field]:
    answer = fenced.admin.request("GET", "/openapi/v3/apis/apps/v1")
    assert answer.ok, answer.message
    return fields(answer.body["components"]["schemas"], "io.k8s.api.apps.v1.DeploymentSpec")


def test_no_field_of_a_deployment_can_be_bent_unseen(shop: Shop, every: list[Field]) -> None:
    """As the gateway judges: every field of every struct, as this API server's own document has them."""
    stored = eventually(shop.fenced, shop.shell).body
    assert find_differences(shop.derived.deployment, stored) == ()
    unseen = [
        (str(field), value)
        for field in every
        if field.path != ("replicas",)
        for value in values(field)
        if (bent := put(stored, ("spec", *field.path), value)) != stored
        and not find_differences(shop.derived.deployment, bent)
    ]
    defaults = {
        "dnsPolicy",
        "imagePullPolicy",
        "resources",
        "schedulerName",
        "securityContext",
        "terminationMessagePath",
        "terminationMessagePolicy",
    }
    assert [
        unseen_field
        for unseen_field in unseen
        if unseen_field[0].rpartition(".")[2] not in defaults
    ] == []
    assert len(every) > 400, "the document was read"


def test_no_field_of_a_shell_that_runs_can_be_changed(shop: Shop, every: list[Field]) -> None:
    """As the API server judges: of the fields that it takes at all, none passes."""
    started = shop.started()
    assert started.ok, started.message
    pod = ("template", "spec")
    places = {(), ("template", "metadata"), pod, (*pod, "containers", 1)}
    path = f"/apis/apps/v1/namespaces/{shop.fenced.apps}/deployments/{shop.name}-ssh?dryRun=All"
    refused = set()
    for field in every:
        if field.path[:-1] not in places or field.path == ("replicas",):
            continue
        value = TAKEN.get(field.path[-1], next(values(field)))
        patch = {"spec": put(started.body, ("spec", *field.path), value)["spec"]}
        answer = shop.fenced.controller.request(
            "PATCH", path, patch, "application/merge-patch+json"
        )
        if answer.ok:
            assert answer.body["spec"] == started.body["spec"], str(field)
        elif answer.status == 403:
            refused.add(field.path[-1])
    # The API server's own checks refuse the others before any policy is asked.
    assert refused >= TAKEN.keys() | {"hostNetwork", "hostPID", "paused", "stdin", "tty"}


# --- ghosts: apps that are not


def test_the_shell_of_an_app_that_is_not_is_refused_whatever_it_has(shop: Shop) -> None:
    ghost = shop.shell
    name = f"ghost{next(numbers)}"
    ghost["metadata"]["name"] = f"{name}-ssh"
    ghost["metadata"]["ownerReferences"][0]["name"] = name
    for labels in (
        ghost["metadata"]["labels"],
        ghost["spec"]["selector"]["matchLabels"],
        ghost["spec"]["template"]["metadata"]["labels"],
    ):
        labels["stagedoor.dev/shell-of"] = name
    with_env_from(ghost["spec"]["template"]["spec"])
    denied(shop.started(ghost), "no such app", "stagedoor-apps")


def test_an_app_of_the_other_kind_is_a_ghost_too(shop: Shop) -> None:
    bent = shop.shell
    bent["metadata"]["ownerReferences"][0]["kind"] = "StatefulSet"
    denied(shop.started(bent), "metadata.ownerReferences")


def test_an_app_of_another_namespace_does_not_count(shop: Shop) -> None:
    bent = shop.shell
    bent["metadata"]["namespace"] = shop.fenced.staging
    denied(shop.started(bent), "no such app")


def test_everybody_else_is_left_alone(fenced: Fenced, shop: Shop) -> None:
    for kind in ("Secret", "ConfigMap", "Service"):
        made = fenced.admin.create(foreign(kind, fenced.apps, f"plain-{shop.name}-ssh"))
        assert made.ok, made.message
    bent = shop.shell
    with_env_from(bent["spec"]["template"]["spec"])
    bent["metadata"]["ownerReferences"] = []
    bent["spec"]["replicas"] = 1
    assert fenced.admin.create(bent).ok, "a user who may make any Deployment needs no shell"


# --- size


def test_a_large_app_s_shell_passes_and_is_still_held(fenced: Fenced) -> None:
    """CEL has a budget; a request that exceeds it is refused, so a large app would have no shell."""
    env = [
        {"name": f"V{n}", "valueFrom": {"secretKeyRef": {"name": f"secret-{n}", "key": "k"}}}
        for n in range(300)
    ]
    volumes = [{"name": f"v{n}", "configMap": {"name": f"map-{n}"}} for n in range(60)]
    mounts = [{"name": f"v{n}", "mountPath": f"/v/{n}"} for n in range(60)]
    web = {"name": "web", "image": IMAGE, "env": env, "volumeMounts": mounts}
    sidecars = [{"name": f"s{n}", "image": f"x.example/s{n}", "env": env[:50]} for n in range(5)]
    pod = {"containers": [web, *sidecars], "volumes": volumes}
    shop = enter(fenced, app(f"large{next(numbers)}", pod))
    made = shop.started()
    assert made.ok, made.message
    bent = shop.shell
    with_env_from(bent["spec"]["template"]["spec"])
    denied(shop.started(bent), "containers[shell].envFrom")


def test_the_fence_follows_the_apps_of_an_installation_that_comes_after_another(
    fenced: Fenced, tmp_path: Path
) -> None:
    """Kubernetes issue 130887: without what an uninstall leaves, all shells would be refused then."""
    api = LoneApi(tmp_path)  # of its own, with no other policies in it
    try:
        first = install(api)
        wait_for_policies(first)
        for manifest in first.objects:
            kept = (
                manifest["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
            )
            if manifest["kind"].startswith("ValidatingAdmissionPolicy") and not kept:
                assert first.admin.delete(manifest).ok
        time.sleep(
            3
        )  # the API server looks once a second which kinds are parameters, and is silent
        second = install(api)
        wait_for_policies(second)
        with gateway(api, second):
            made = enter(second, app("shop")).started()
        assert made.ok, made.message
    finally:
        api.close()
