"""Properties of every shell, whatever its app is; and the apps that can have none."""

import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.shells.kubernetes.derive.annotations import AppSettings, WrongSettings
from stagedoor.shells.kubernetes.derive.images import selects
from stagedoor.shells.kubernetes.derive.kit import Kit, KitSource
from stagedoor.shells.kubernetes.derive.shell import Derived, derive, with_replicas
from tests.shells.kubernetes.samples import CLAIMS, KIT, app, container, derived, settings

POD_FIELDS = """\
activeDeadlineSeconds affinity automountServiceAccountToken containers dnsConfig dnsPolicy
enableServiceLinks hostAliases hostIPC hostNetwork hostPID hostUsers hostname hostnameOverride
imagePullSecrets initContainers nodeName nodeSelector os overhead preemptionPolicy priority
priorityClassName readinessGates resourceClaims resources restartPolicy runtimeClassName
schedulerName schedulingGates securityContext serviceAccount serviceAccountName
setHostnameAsFQDN shareProcessNamespace subdomain terminationGracePeriodSeconds tolerations
topologySpreadConstraints volumes
"""
"""The fields of core/v1 PodSpec in k8s.io/api v0.34, but for ephemeralContainers, which no template has."""

CONTAINER_FIELDS = """\
args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports
readinessProbe resizePolicy resources restartPolicy restartPolicyRules securityContext
startupProbe stdin stdinOnce terminationMessagePath terminationMessagePolicy tty volumeDevices
volumeMounts workingDir
"""
"""The fields of core/v1 Container in k8s.io/api v0.34."""

SCALARS = {
    "affinity": {},
    "containers": [{"name": "web", "image": "a:1"}],
    "securityContext": {},
    "serviceAccount": "x",
    "image": "a:1",
    "name": "web",
    "resources": {},
    "command": ["x"],
    "args": ["x"],
    "tty": True,
}


def wrong(of: dict[str, Any]) -> tuple[str, ...]:
    derivation = derive(of, settings(of), KIT, digests={}, claims={})
    assert isinstance(derivation, WrongSettings), derivation
    return derivation.problems


def annotated(name: str, **annotations: str) -> dict[str, Any]:
    """One of `apps/` with these annotations; `_` stands for `-`."""
    of = app(name)
    of["metadata"].setdefault("annotations", {}).update(
        {f"stagedoor.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    )
    return of


def test_every_field_of_a_pod_is_dealt_with_by_name() -> None:
    of = app("plain")
    pod = of["spec"]["template"]["spec"]
    for field in POD_FIELDS.split():
        pod.setdefault(field, SCALARS.get(field, [] if field.endswith("s") else ""))
    pod["resources"] = {}
    for field in CONTAINER_FIELDS.split():
        pod["containers"][0].setdefault(field, SCALARS.get(field) or [])
    pod["containers"][0] |= {"securityContext": {}, "resources": {}, "lifecycle": {"x": 1}}
    notes = derived(of).notes
    assert not [note for note in notes if "not known" in note.why]
    assert "lifecycle" in [note.subject for note in notes]
    pod["newInAYear"] = pod["containers"][0]["newInAYear"] = 1
    unknown = [note.subject for note in derived(of).notes if "not known" in note.why]
    assert unknown == ["newInAYear", "pod's newInAYear"]


@pytest.mark.parametrize("change", ["replicas", "labels", "probe", "ports", "idle-stop", "order"])
def test_a_change_that_does_not_concern_a_shell_leaves_it(change: str) -> None:
    of = app("plain")
    before = derived(of).template
    web = of["spec"]["template"]["spec"]["containers"][0]
    match change:
        case "replicas":
            of["spec"]["replicas"] = 9
        case "labels":
            of["spec"]["template"]["metadata"]["labels"]["version"] = "2"
        case "probe":
            web["livenessProbe"] = {"httpGet": {"path": "/"}}
        case "ports":
            web["ports"] = []
        case "idle-stop":
            of = annotated("plain", idle_stop="5m")
        case "order":
            web |= {"name": web.pop("name"), "image": web.pop("image")}
            of = json.loads(json.dumps(of, sort_keys=True))
    assert derived(of).template == before


@pytest.mark.parametrize("change", ["image", "env", "digest", "kit", "grace", "account"])
def test_a_change_that_does_makes_another(change: str) -> None:
    of, kit, digests = app("plain"), KIT, {}
    before = derived(of).template
    web = of["spec"]["template"]["spec"]["containers"][0]
    match change:
        case "image":
            web["image"] = "registry.example/app01:8"
        case "env":
            web["env"][0]["value"] = "bye"
        case "digest":
            digests = {"web": "registry.example/app01@sha256:" + "1" * 64}
        case "kit":
            kit = Kit("registry.example/kit:2")
        case "grace":
            of = annotated("plain", grace="1m")
        case "account":
            of = annotated("plain", privileges="service-account")
    shell = derived(of, kit, **digests)
    assert shell.template != before
    assert shell.deployment["metadata"]["annotations"]["stagedoor.dev/template"] == shell.template


def test_what_opens_the_cluster_or_the_node_comes_only_where_the_app_asks() -> None:
    of = app("plain")
    pod = of["spec"]["template"]["spec"]
    added = ["NET_RAW", "CAP_CHOWN", "SYS_ADMIN", "CAP_NET_ADMIN", "ALL"]
    token = {"serviceAccountToken": {"path": "t", "audience": "vault"}}
    volumes = [
        {"name": "node", "hostPath": {"path": "/"}},
        {"name": "vault", "projected": {"sources": [token, {"configMap": {"name": "c"}}]}},
    ]
    mounts = [{"name": "node", "mountPath": "/node"}, {"name": "vault", "mountPath": "/vault"}]
    pod |= {"serviceAccountName": "shop", "serviceAccount": "shop", "volumes": volumes}
    pod["containers"][0] |= {
        "securityContext": {"runAsUser": 0, "capabilities": {"add": added}},
        "volumeMounts": mounts,
    }
    derivation = derived(of)
    shell = derivation.deployment["spec"]["template"]["spec"]
    assert "serviceAccountName" not in shell
    assert shell["automountServiceAccountToken"] is False
    assert "serviceAccountToken" not in json.dumps(shell)
    assert "hostPath" not in json.dumps(shell)
    context = container(derivation)["securityContext"]
    assert context["capabilities"] == {"add": ["NET_RAW", "CAP_CHOWN"]}
    assert context["allowPrivilegeEscalation"] is False
    said = {str(note) for note in derivation.notes}
    for subject in (
        "service account shop",
        "capabilities SYS_ADMIN, CAP_NET_ADMIN, ALL of the container",
    ):
        assert any(line.startswith(f"{subject}: ") for line in said), subject
    assert sum("stagedoor.dev/privileges: " in line for line in said) == 4

    of["metadata"].setdefault("annotations", {})["stagedoor.dev/privileges"] = (
        "service-account, capabilities, host-path"
    )
    derivation = derived(of)
    shell = derivation.deployment["spec"]["template"]["spec"]
    assert shell["serviceAccountName"] == "shop"
    assert "automountServiceAccountToken" not in shell
    assert container(derivation)["securityContext"]["capabilities"] == {"add": added}
    assert shell["volumes"][:2] == volumes
    minded = {note.subject for note in derivation.notes if note.kind.value == "warning"}
    assert {"service account", "capabilities of the container", "volume node"} <= minded


@pytest.mark.parametrize("restart", [{}, {"restartPolicy": "Always"}])
@pytest.mark.parametrize("place", ["containers", "initContainers"])
def test_a_companion_gets_no_capability_without_the_privilege(
    place: str, restart: dict[str, str]
) -> None:
    of = annotated("plain", sidecars="all", init_containers="all")
    security = {"runAsUser": 0, "capabilities": {"add": ["NET_RAW", "SYS_ADMIN"]}}
    side = {"name": "side", "image": "a:1", "securityContext": security, **restart}
    of["spec"]["template"]["spec"].setdefault(place, []).append(side)

    def read_capabilities(derivation: Derived) -> Any:
        containers = derivation.deployment["spec"]["template"]["spec"][place]
        (copy,) = (item for item in containers if item["name"] == "side")
        return copy["securityContext"]["capabilities"]

    assert read_capabilities(derived(of)) == {"add": ["NET_RAW"]}
    subjects = [note.subject for note in derived(of).notes]
    assert "capabilities SYS_ADMIN of container side" in subjects
    of["metadata"]["annotations"]["stagedoor.dev/privileges"] = "capabilities"
    assert read_capabilities(derived(of)) == security["capabilities"]


def test_replicas_are_given_to_a_copy() -> None:
    shell = derived(app("plain"))
    assert with_replicas(shell.deployment, 0)["spec"]["replicas"] == 0
    assert "replicas" not in shell.deployment["spec"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("a" * 60, "give it a name of 59 at most"),
        ("shop.eu", 'its name "shop.eu" is no RFC 1123 label'),
        ("shop-ssh", 'ends as a shell\'s does, in "-ssh"'),
    ],
)
def test_a_name_that_no_shell_can_have(name: str, problem: str) -> None:
    of = app("plain")
    of["metadata"]["name"] = name
    [said] = wrong(of)
    assert said.startswith(f"Deployment {name} can have no shell: ")
    assert problem in said


def test_a_name_of_59_is_fine() -> None:
    of = app("plain")
    of["metadata"]["name"] = "a" * 59
    assert len(derived(of).deployment["metadata"]["name"]) == 63


def test_an_app_whose_selector_would_take_the_shell_has_none() -> None:
    of = app("plain")
    of["spec"]["selector"] = {
        "matchExpressions": [{"key": "app.kubernetes.io/managed-by", "operator": "Exists"}]
    }
    assert "its selector selects the shell's pod" in wrong(of)[0]


def test_windows_has_no_shell() -> None:
    of = app("plain")
    of["spec"]["template"]["spec"]["os"] = {"name": "windows"}
    assert wrong(of) == ("Deployment app01 can have no shell: its pods run Windows",)


def test_a_container_that_is_not_there_is_told_with_those_that_are() -> None:
    assert wrong(annotated("rich", container="wbe")) == (
        'annotation stagedoor.dev/container of Deployment shop: there is no container "wbe"; '
        "allowed: metrics, web",
    )
    assert wrong(annotated("rich", sidecars="x, mesh", init_containers="mesh")) == (
        "annotation stagedoor.dev/init-containers of Deployment shop: there is no such container "
        '"mesh"; allowed: migrate',
        'annotation stagedoor.dev/sidecars of Deployment shop: there is no such container "x"; '
        "allowed: mesh, metrics",
    )
    assert "allowed: none, as it has none" in wrong(annotated("plain", sidecars="x"))[0]


def test_of_several_containers_the_first_is_taken_and_that_is_said() -> None:
    of = app("rich")
    del of["spec"]["template"]["metadata"]["annotations"]
    shell = derived(of)
    assert shell.container == "metrics"
    assert "taken as the first of 2" in str(shell.notes[0])
    assert derived(annotated("rich", container="metrics")).container == "metrics"


def test_a_disk_binds_the_shell_to_the_apps_node_while_the_app_runs() -> None:
    of = annotated("rich", volumes="rwo")
    pod = derived(of).deployment["spec"]["template"]["spec"]
    assert "podAffinity" in pod["affinity"]
    of["spec"]["replicas"] = 0
    pod = derived(of).deployment["spec"]["template"]["spec"]
    assert "podAffinity" not in pod["affinity"]


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/kit", False),
        ("/kit/", False),
        ("/kit/lib/x", False),
        ("/etc/stagedoor/host", False),
        ("/kitchen", True),
        ("/run", True),
        ("/etc/stagedoor", True),
    ],
)
def test_nothing_is_mounted_over_what_is_ours(path: str, kept: bool) -> None:
    of = app("plain")
    pod = of["spec"]["template"]["spec"]
    pod["volumes"] = [{"name": "own", "configMap": {"name": "own"}}]
    pod["containers"][0]["volumeMounts"] = [{"name": "own", "mountPath": path}]
    shell = derived(of)
    assert ("own" in [mount["name"] for mount in container(shell)["volumeMounts"]]) is kept
    assert (f"mount {path}: the shell has things of its own there" in map(str, shell.notes)) != kept


def test_a_variable_that_is_set_anew_stands_once_at_its_place() -> None:
    of = annotated("plain", env_add="A=new\nB=$(A)")
    of["spec"]["template"]["spec"]["containers"][0]["env"] = [
        {"name": "A", "value": "1"},
        {"name": "C", "value": "$(A)"},
        {"name": "A", "value": "2"},
    ]
    assert container(derived(of))["env"] == [
        {"name": "A", "value": "new"},
        {"name": "C", "value": "$(A)"},
        {"name": "B", "value": "$(A)"},
    ]


def test_what_speaks_of_a_container_that_is_left_out_is_left_out() -> None:
    of = annotated("plain", container="web")
    pod = of["spec"]["template"]["spec"]
    pod["containers"].append({"name": "side", "image": "a:1"})
    limits = {"resourceFieldRef": {"containerName": "side", "resource": "limits.cpu"}}
    pod["containers"][0]["env"] = [{"name": "SIDE", "valueFrom": limits}]
    shell = derived(of)
    assert "env" not in container(shell)
    assert "variable SIDE: it refers to container side, which is left out" in map(str, shell.notes)
    of["metadata"]["annotations"]["stagedoor.dev/sidecars"] = "side"
    assert container(derived(of))["env"] == [{"name": "SIDE", "valueFrom": limits}]


def test_a_sidecar_of_the_shells_own_name_is_left_out() -> None:
    of = annotated("plain", sidecars="all")
    of["spec"]["template"]["spec"]["containers"].append({"name": "shell", "image": "a:1"})
    shell = derived(of)
    names = [
        listed_container["name"]
        for listed_container in shell.deployment["spec"]["template"]["spec"]["containers"]
    ]
    assert names == ["kit", "shell"]
    assert "sidecar shell: the shell has a container of that name" in map(str, shell.notes)


def test_a_running_image_is_not_pulled_by_its_tag() -> None:
    digest = "registry.example/app01@sha256:" + "1" * 64
    shell = container(derived(app("plain"), web=digest))
    assert (shell["image"], shell["imagePullPolicy"]) == (digest, "IfNotPresent")
    # What the annotation names is not what runs.
    of = annotated("plain", image="debug:1")
    of["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "Never"
    shell = container(derived(of, web=digest))
    assert shell["image"] == "debug:1"
    assert "imagePullPolicy" not in shell


def test_root_keeps_its_capabilities_and_others_lose_them() -> None:
    of = app("plain")
    web = of["spec"]["template"]["spec"]["containers"][0]
    assert "capabilities" not in container(derived(of))["securityContext"]
    web["securityContext"] = {"runAsUser": 0}
    assert "capabilities" not in container(derived(of))["securityContext"]
    assert "runAsNonRoot" not in container(derived(of))["securityContext"]
    web["securityContext"] = {"runAsUser": 7}
    shell = container(derived(of))["securityContext"]
    assert shell["capabilities"] == {"drop": ["ALL"]}
    assert shell["runAsNonRoot"] is True
    web["securityContext"] = {"runAsUser": 7, "capabilities": {"drop": ["NET_RAW"]}}
    assert container(derived(of))["securityContext"]["capabilities"] == {"drop": ["NET_RAW"]}


def test_the_kit_never_runs_as_root() -> None:
    of = app("plain")
    for uid, expected in ((None, 65532), (0, 65532), (1000, None)):
        of["spec"]["template"]["spec"]["securityContext"] = (
            {} if uid is None else {"runAsUser": uid}
        )
        assert container(derived(of), "kit")["securityContext"].get("runAsUser") == expected


@pytest.mark.parametrize(
    ("limit", "expected", "cpu"),
    [
        ("100m", "100m", "10m"),
        ("2", "500m", "10m"),
        ("0.5", "0.5", "10m"),
        ("5m", "5m", "5m"),
        (None, None, "10m"),
    ],
)
def test_the_kit_takes_little_of_a_quota_and_not_nothing(
    limit: str | None, expected: str | None, cpu: str
) -> None:
    of = app("plain")
    if limit is not None:
        of["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": limit}}
    shell = container(derived(of), "kit")["resources"]
    assert shell["limits"] == {"memory": "64Mi"} | ({"cpu": expected} if expected else {})
    assert shell["requests"] == {"memory": "16Mi", "cpu": cpu}


def test_an_installation_s_own_amounts_labels_and_class_stand_in_the_pod() -> None:
    own = Kit(
        KIT.image,
        resources={"requests": {"memory": "128Mi"}},
        pod_labels={"team": "platform", "stagedoor.dev/shell-of": "other"},
        pod_annotations={"sidecar.istio.io/inject": "false"},
        priority_class="shells",
    )
    of = app("plain")
    of["metadata"]["annotations"] = {"stagedoor.dev/packages-image": "tools:1"}
    made = derived(of, own)
    spec = made.deployment["spec"]
    for name in ("kit", "packages"):
        assert container(made, name)["resources"] == {"requests": {"memory": "128Mi"}}
    pod = spec["template"]
    assert pod["metadata"]["labels"] == {"team": "platform", **spec["selector"]["matchLabels"]}
    assert spec["selector"]["matchLabels"]["stagedoor.dev/shell-of"] == "app01"
    assert pod["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"
    assert pod["spec"]["priorityClassName"] == "shells"
    assert made.template != derived(of).template


@pytest.mark.platform(38)
def test_a_shell_takes_no_gpu_from_its_app_unless_it_asks_for_one() -> None:
    of = app("plain")
    of["spec"]["template"]["spec"]["containers"][0]["resources"] = {
        "limits": {"memory": "1Gi", "nvidia.com/gpu": "1"},
        "requests": {"nvidia.com/gpu": "1"},
    }
    assert container(derived(of), "shell")["resources"] == {"limits": {"memory": "1Gi"}}
    assert "resources nvidia.com/gpu" in [note.subject for note in derived(of).notes]
    of["metadata"]["annotations"] = {"stagedoor.dev/devices": "keep"}
    assert container(derived(of), "shell")["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_the_pod_has_the_labels_of_costs_that_the_app_has_and_none_by_which_it_selects() -> None:
    of = app("plain")
    of["metadata"]["labels"] |= {"team": "of-the-deployment", "example.com/cost": "42"}
    template = of["spec"]["template"]["metadata"]
    template["labels"] = {**template.get("labels", {}), "team": "shop", "other": "x"}
    selecting, *_ = of["spec"]["selector"]["matchLabels"]
    names = ("team", "example.com/cost", "absent", selecting)
    made = derived(of, Kit(KIT.image, app_labels=names)).deployment["spec"]
    assert made["template"]["metadata"]["labels"] == {
        "team": "shop",
        "example.com/cost": "42",
        **made["selector"]["matchLabels"],
    }


def test_the_image_as_its_author_wrote_it_is_a_line_that_an_annotation_can_hold() -> None:
    of = app("plain")
    one = of["spec"]["template"]["spec"]["containers"][0]
    one["image"] = "shop:1"
    assert derived(of).image_name == "shop:1"
    one["image"] = "shop:\n" + "x" * 300_000
    assert len(derived(of).image_name) <= 512
    assert derived(of).image_name.isprintable()


def test_the_uid_of_the_copying_containers_can_be_left_to_the_cluster() -> None:
    of = app("plain")
    assert container(derived(of), "kit")["securityContext"]["runAsUser"] == 65532
    security = container(derived(of, Kit(KIT.image, uid=None)), "kit")["securityContext"]
    assert "runAsUser" not in security
    assert security["runAsNonRoot"] is True


def test_an_app_that_selects_by_a_label_of_the_installation_s_can_have_no_shell() -> None:
    of = app("plain")
    of["spec"]["selector"] = {"matchLabels": {"team": "platform"}}
    own = Kit(KIT.image, pod_labels={"team": "platform"})
    derivation = derive(of, settings(of), own, digests={}, claims=CLAIMS)
    assert isinstance(derivation, WrongSettings)
    assert "its selector selects the shell's pod" in derivation.problems[0]


# --- Whatever an app is made of --------------------------------------------------------------------

RICH = app("asked")
ANNOTATIONS = RICH["metadata"]["annotations"]


def subset(of: dict[str, Any], must: tuple[str, ...] = ()) -> st.SearchStrategy[dict[str, Any]]:
    """Some of the fields."""
    free = sorted(set(of) - set(must))
    return st.sets(st.sampled_from(free)).map(
        lambda names: {key: deepcopy(of[key]) for key in (*must, *sorted(names))}
    )


@st.composite
def apps(draw: st.DrawFn) -> dict[str, Any]:
    of = deepcopy(RICH)
    pod = draw(subset(of["spec"]["template"]["spec"], must=("containers", "volumes")))
    for part in ("containers", "initContainers"):
        if part in pod:
            pod[part] = [
                draw(subset(listed_container, must=("name", "image")))
                for listed_container in draw_some(draw, pod[part])
            ]
    if not pod["containers"]:
        pod["containers"] = [{"name": "web", "image": "a:1"}]
    of["spec"]["template"]["spec"] = pod
    there = {
        listed_container["name"]
        for listed_container in [*pod["containers"], *pod.get("initContainers", ())]
    }
    needs = {"init-containers": "migrate", "container": "web"}
    of["metadata"]["annotations"] = {
        name: value
        for name, value in draw(subset(ANNOTATIONS)).items()
        if needs.get(name.removeprefix("stagedoor.dev/"), "web") in there
        or name.removeprefix("stagedoor.dev/") not in needs
    }
    return of


def draw_some(draw: st.DrawFn, things: list[Any]) -> list[Any]:
    return [thing for thing in things if draw(st.booleans())]


def secrets_of(pod: dict[str, Any]) -> set[str]:
    """Every Secret that a pod names, as the cluster's fence would find them."""
    secrets = {secret["name"] for secret in pod.get("imagePullSecrets", ())}
    for listed_container in [*pod.get("initContainers", ()), *pod["containers"]]:
        for entry in listed_container.get("env", ()):
            ref = entry.get("valueFrom", {}).get("secretKeyRef")
            secrets |= {ref["name"]} if ref else set()
        secrets |= {
            s["secretRef"]["name"] for s in listed_container.get("envFrom", ()) if "secretRef" in s
        }
    for volume in pod.get("volumes", ()):
        if "secret" in volume:
            secrets.add(volume["secret"]["secretName"])
    return secrets


@given(apps(), st.sampled_from(KitSource))
def test_a_shell_never_has_more_than_its_app(of: dict[str, Any], source: KitSource) -> None:
    given_app = deepcopy(of)
    chosen = settings(of)
    derivation = derive(of, chosen, Kit("kit:1", source), digests={}, claims=CLAIMS)
    assert isinstance(derivation, Derived), derivation
    assert of == given_app
    again = derive(of, chosen, Kit("kit:1", source), digests={}, claims=CLAIMS)
    assert derivation == again

    was, template = of["spec"]["template"], derivation.deployment["spec"]["template"]
    pod = template["spec"]
    labels = {"app.kubernetes.io/managed-by": "stagedoor", "stagedoor.dev/shell-of": "shop"}
    assert template["metadata"]["labels"] == labels
    assert not selects(of["spec"]["selector"], labels)
    assert secrets_of(pod) <= secrets_of(was["spec"]) | {"shop-ssh"}
    account = was["spec"].get("serviceAccountName", was["spec"].get("serviceAccount"))
    if "service-account" in chosen.privileges:
        assert pod.get("serviceAccountName") == account
    else:
        assert "serviceAccountName" not in pod
        assert pod["automountServiceAccountToken"] is False
        assert "serviceAccountToken" not in json.dumps(pod["volumes"])
    assert not {"hostNetwork", "hostPID", "hostIPC", "priorityClassName", "nodeName"} & set(pod)
    host_paths = [volume["name"] for volume in pod["volumes"] if "hostPath" in volume]
    assert not host_paths or "host-path" in chosen.privileges

    names = [
        listed_container["name"]
        for listed_container in (*pod.get("initContainers", ()), *pod["containers"])
    ]
    assert len(names) == len(set(names))
    volumes = [volume["name"] for volume in pod["volumes"]]
    assert len(volumes) == len(set(volumes))
    for listed_container in (*pod.get("initContainers", ()), *pod["containers"]):
        context = listed_container.get("securityContext", {})
        assert not {"privileged", "procMount"} & set(context)
        assert not {"livenessProbe", "readinessProbe"} & set(listed_container)
        assert [port["containerPort"] for port in listed_container.get("ports", ())] == (
            [2222, 2223] if listed_container["name"] == "shell" else []
        )
        for mount in (
            *listed_container.get("volumeMounts", ()),
            *listed_container.get("volumeDevices", ()),
        ):
            assert mount["name"] in volumes
        paths = [mount["mountPath"] for mount in listed_container.get("volumeMounts", ())]
        assert len(paths) == len(set(paths))
    shell = container(derivation)
    assert shell["command"][-1] == "/kit/bin/start"
    assert "args" not in shell
    if shell["securityContext"].get("runAsUser", pod.get("securityContext", {}).get("runAsUser")):
        assert "ALL" in shell["securityContext"]["capabilities"]["drop"]


def test_settings_are_asked_for_by_name_only() -> None:
    """A setting that does not change the shell of an app that asks for nothing."""
    of = app("plain")
    plain = derived(of)
    for field, value in {"volumes": frozenset({"rwo"}), "sidecars": ("*",)}.items():
        chosen = AppSettings(**{field: value})  # type: ignore[arg-type]
        shell = derive(of, chosen, KIT, digests={}, claims={})
        assert isinstance(shell, Derived)
        assert replace(shell, settings=plain.settings) == plain


def test_a_source_of_a_projected_volume_that_the_fence_does_not_know_is_left_out_and_said() -> None:
    rich = app("rich")

    def projected(pod: dict[str, Any]) -> list[Any]:
        [shell] = [
            candidate["projected"]["sources"]
            for candidate in pod["volumes"]
            if "projected" in candidate
        ]
        return list(shell)

    pod = rich["spec"]["template"]["spec"]
    before = projected(derived(rich).deployment["spec"]["template"]["spec"])
    [volume] = [candidate for candidate in pod["volumes"] if "projected" in candidate]
    volume["projected"]["sources"].append({"podCertificate": {"signerName": "x.example/y"}})
    shell = derived(rich)
    assert projected(shell.deployment["spec"]["template"]["spec"]) == before
    assert any("podCertificate" in note.why for note in shell.notes)
