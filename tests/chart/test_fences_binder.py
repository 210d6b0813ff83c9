"""The account that prepares namespaces, and the labels that select them: each attack as it would be tried."""

import asyncio
import copy
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from stagedoor.controller.binder import BindingController
from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.kubeconfig import load
from stagedoor.serve.binder import read_objects
from stagedoor.serve.doctor.cluster import check_cluster
from stagedoor.settings.file import parse_settings
from stagedoor.shells.kubernetes.live.namespace_directory import NamespaceSelector
from stagedoor.shells.kubernetes.names import INSTALLATION, make_run_labels, make_shell_labels
from tests.chart.chart import CHART, KUBE_VERSION, VALUES, helm, merged, objects_in, render, the
from tests.chart.conftest import FENCES, WITHIN_S
from tests.chart.shops import denied
from tests.cluster.asking import Answer, Asker, Manifest, namespace_of
from tests.kube.api.lone import LoneApi
from tests.kube.apps import deployment

pytestmark = pytest.mark.timeout(300)  # the first of a process starts an API server

KEY = "example.com/shells"
LABEL = {KEY: "true"}
LEASES = "leases.coordination.k8s.io"
_numbers = itertools.count()


class Platform:
    """An installation that serves namespaces by label, and its accounts."""

    def __init__(self, lone: LoneApi, folder: Path) -> None:
        self.own = f"platform-{os.getpid()}"
        self.admin = Asker(lone.url, str(lone.folder / "ca.crt"), lone.token())
        assert self.admin.create(namespace_of(self.own)).ok
        self.objects = render(
            namespace=self.own, apps={"namespaceSelector": LABEL}, fences={"networkPolicy": True}
        )
        for manifest in self.objects:
            if manifest["kind"] in FENCES:
                made = self.admin.apply(manifest, manager="helm")
                assert made.ok, made.message
        self.gateway, self.controller, self.binder = (
            self.admin.as_account(self.own, f"stagedoor-{part}")
            for part in ("gateway", "controller", "binder")
        )
        file = folder / "namespace.json"
        file.write_text(
            the(self.objects, "ConfigMap", "stagedoor-binder")["data"]["namespace.json"]
        )
        self.owner, self.manifests = read_objects(file)
        self.uid = self.admin.named("ClusterRole", "", self.owner)["metadata"]["uid"]

    def open(self, **labels: str) -> str:
        name = f"team-{os.getpid()}-{next(_numbers)}"
        assert self.admin.create(namespace_of(name, {**LABEL, **labels})).ok
        return name

    def closed(self) -> str:
        name = f"plain-{os.getpid()}-{next(_numbers)}"
        assert self.admin.create(namespace_of(name)).ok
        return name

    def object(self, kind: str, namespace: str, part: str = "") -> Manifest:
        """Return what the binder writes there, to be bent."""
        [found] = [
            manifest
            for manifest in self.manifests
            if manifest["kind"] == kind and str(manifest["metadata"]["name"]).startswith(part)
        ]
        made: Manifest = copy.deepcopy(found)
        api = "rbac.authorization.k8s.io/v1"
        owner = {"apiVersion": api, "kind": "ClusterRole", "name": self.owner, "uid": self.uid}
        made["metadata"] |= {"namespace": namespace, "ownerReferences": [owner]}
        return made

    def write(self, manifest: Manifest) -> Answer:
        """Write as the binder; the API server may see a new namespace a moment later."""
        end = time.monotonic() + WITHIN_S
        while "does not have the label" in (made := self.binder.apply(manifest)).message:
            if time.monotonic() > end:
                break
            time.sleep(0.05)  # there is no event for what a policy sees
        return made


@pytest.fixture(scope="module")
def platform(lone: LoneApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    made = Platform(lone, tmp_path_factory.mktemp("platform"))
    tenant, own = tenant_of(made, made.closed())
    end = time.monotonic() + WITHIN_S

    def label() -> Answer:
        labels = {KEY: f"probe-{next(_numbers)}"}
        return tenant.merge(namespace_of(own), {"metadata": {"labels": labels}})

    def write() -> Answer:
        return made.binder.apply(made.object("ConfigMap", own))

    for probe in (label, write):
        while "ValidatingAdmissionPolicy" not in (said := probe()).message:
            assert time.monotonic() < end, f"a policy does not come into force: {said}"
            time.sleep(0.1)  # there is no event for a policy that comes into force
    yield made
    for manifest in made.objects:
        if manifest["kind"].startswith("ValidatingAdmissionPolicy"):
            made.admin.forget(manifest["kind"], manifest["metadata"]["name"])


def tenant_of(platform: Platform, namespace: str) -> tuple[Asker, str]:
    """Return an account with all rights in its own namespace, the namespace object included."""
    admin = platform.admin
    account = {"apiVersion": "v1", "kind": "ServiceAccount"}
    meta = {"name": "tenant", "namespace": namespace}
    assert admin.apply({**account, "metadata": meta}).ok
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "subjects": [{"kind": "ServiceAccount", **meta}],
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "cluster-admin",
        },
    }
    assert admin.apply(binding).ok
    return admin.as_account(namespace, "tenant"), namespace


@asynccontextmanager
async def running_binder(lone: LoneApi, platform: Platform) -> AsyncIterator[None]:
    """Run the binder with its own account."""
    cluster = KubeCluster(
        load(lone.kubeconfig(token=platform.binder.token)),
        field_manager="stagedoor",
        component="binder",
        instance="binder-0",
        on_problem=lambda what, problem: None,
    )
    selector = NamespaceSelector(f"{KEY}=true", own=platform.own)
    binder = BindingController(cluster, selector, platform.manifests, platform.owner)
    working = asyncio.create_task(binder.run())
    try:
        yield
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        await cluster.close_connections()


# --- who may open a namespace


@pytest.mark.platform(29)
@pytest.mark.parametrize("subresource", ["", "status"])
@pytest.mark.parametrize("labels", [LABEL, {"stagedoor.dev/environment": "payments"}])
def test_a_tenant_with_all_rights_in_a_namespace_cannot_open_it(
    platform: Platform, labels: dict[str, str], subresource: str
) -> None:
    tenant, own = tenant_of(platform, platform.closed())
    manifest = namespace_of(own)
    assert tenant.merge(manifest, {"metadata": {"labels": {"team": "a"}}}).ok, "it is its namespace"
    denied(tenant.merge(manifest, {"metadata": {"labels": labels}}, subresource), "may not")
    now = platform.admin.get(manifest).body["metadata"]["labels"]
    assert not labels.items() & now.items()


def test_a_tenant_cannot_take_another_environment_in_a_namespace_that_is_open(
    platform: Platform,
) -> None:
    tenant, own = tenant_of(platform, platform.open())
    patch = {"metadata": {"labels": {"stagedoor.dev/environment": "payments"}}}
    denied(tenant.merge(namespace_of(own), patch), "may not")
    denied(tenant.merge(namespace_of(own), {"metadata": {"labels": {KEY: None}}}), "may not")


def test_who_may_create_namespaces_may_not_create_open_ones_but_with_the_right_to_label(
    platform: Platform,
) -> None:
    account, own = tenant_of(platform, platform.closed())
    subject = [{"kind": "ServiceAccount", "name": "tenant", "namespace": own}]
    role: dict[str, Any] = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": f"create-{own}"},
        "rules": [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["create"]}],
    }
    assert platform.admin.apply(role).ok

    def bind(name: str) -> None:
        made = platform.admin.apply(
            {
                "apiVersion": role["apiVersion"],
                "kind": "ClusterRoleBinding",
                "metadata": {"name": f"{name}-{own}"},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": name,
                },
                "subjects": subject,
            }
        )
        assert made.ok, made.message

    def create(labels: dict[str, str]) -> Answer:
        return account.create(namespace_of(f"made-{os.getpid()}-{next(_numbers)}", labels))

    bind(f"create-{own}")
    end = time.monotonic() + WITHIN_S
    while not create({}).ok:
        assert time.monotonic() < end
    denied(create(LABEL), "may not")
    bind(f"label.stagedoor.{platform.own}")
    while not (made := create(LABEL)).ok:
        assert time.monotonic() < end, made.message


@pytest.mark.parametrize("who", ["gateway", "controller", "binder"])
def test_no_account_of_ours_may_label_a_namespace(platform: Platform, who: str) -> None:
    account: Asker = getattr(platform, who)
    name = platform.closed()
    assert account.merge(namespace_of(name), {"metadata": {"labels": LABEL}}).status == 403


def test_what_others_create_elsewhere_is_not_judged(platform: Platform) -> None:
    """The register is the parameter of policies, and is not there: that must deny others nothing."""
    namespace = platform.closed()
    metadata = {"name": "theirs", "namespace": namespace}
    pod = {"containers": [{"name": "x", "image": "x"}], "restartPolicy": "Never"}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {"template": {"spec": pod}},
    }
    made = platform.admin.create(job)
    assert made.ok, made.message
    for manifest in (
        deployment(namespace),
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod},
    ):
        made = platform.admin.create(manifest)
        assert made.ok, made.message


def shell_of_another(namespace: str, kind: str) -> Manifest:
    """Return a shell's Deployment, or a run's Job, of an installation that has no fences."""
    if kind == "Deployment":
        shell = deployment(namespace, "app01-ssh")
        shell["metadata"]["labels"] = make_shell_labels("app01")
        return shell
    pod = {"containers": [{"name": "x", "image": "x"}], "restartPolicy": "Never"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "run-0123",
            "namespace": namespace,
            "labels": make_run_labels("app01"),
        },
        "spec": {"template": {"spec": pod}, "suspend": True},
    }


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_another_installation_without_fences_has_shells_and_runs(
    platform: Platform, kind: str
) -> None:
    made = platform.admin.create(shell_of_another(platform.closed(), kind))
    assert made.ok, made.message


@pytest.mark.platform(31)
@pytest.mark.parametrize("label", [None, "another"])
def test_a_shell_without_the_label_of_its_installation_does_not_escape_the_policies(
    platform: Platform, label: str | None
) -> None:
    """The thief has the controller's token, in a namespace that is open."""
    name = platform.open()
    for part in ("controller.", "gateway."):
        assert platform.write(platform.object("RoleBinding", name, part)).ok
    assert platform.write(platform.object("ConfigMap", name)).ok
    app = platform.admin.create(deployment(name, "app01"))
    assert app.ok, app.message
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app01"}
    owner["uid"] = app.body["metadata"]["uid"]
    mine = {INSTALLATION: f"stagedoor.{platform.own}"}
    theirs = {} if label is None else {INSTALLATION: label}

    def bent(kind: str, labels: dict[str, str], **spec: object) -> Manifest:
        made = shell_of_another(name, kind)
        made["metadata"] |= {"ownerReferences": [owner]}
        made["metadata"]["labels"] |= labels
        made["spec"] |= spec
        return made

    def attempt(manifest: Manifest) -> Answer:
        end = time.monotonic() + WITHIN_S
        while "forbidden: User" in (made := platform.controller.create(manifest)).message:
            assert time.monotonic() < end, made.message
            time.sleep(0.05)  # RBAC sees the binding a moment later
        return made

    denied(attempt(bent("Deployment", theirs, replicas=1)), "lacks")
    denied(attempt(bent("Job", theirs)), "lacks")
    denied(attempt(bent("Job", mine, suspend=False)), "suspended")
    denied(attempt(bent("Deployment", mine, replicas=1)), "without a pod")
    shell = bent("Deployment", theirs, replicas=0)
    assert attempt(shell).ok, "it does nothing"
    start = {"spec": {"replicas": 1}}
    denied(platform.controller.merge(shell, start), "lacks")
    denied(platform.controller.merge(shell, {"metadata": {"labels": mine}, **start}), "not changed")
    assert platform.controller.merge(shell, {"metadata": {"labels": mine}}).ok
    denied(platform.controller.merge(shell, start), "no gateway has let this shell")
    off = {"metadata": {"labels": {INSTALLATION: label}}}
    denied(platform.controller.merge(shell, {**off, **start}))


# --- what the binder may write


@pytest.mark.platform(31)
@pytest.mark.parametrize("kind", ["RoleBinding", "NetworkPolicy", "ConfigMap"])
def test_it_writes_what_the_chart_says_in_a_namespace_with_the_label_alone(
    platform: Platform, kind: str
) -> None:
    part = "gateway." if kind == "RoleBinding" else ""
    there = platform.object(kind, platform.open(), part)
    made = platform.write(there)
    assert made.ok, made.message
    assert platform.write(there).ok, "the same again"
    elsewhere = platform.object(kind, platform.closed(), part)
    denied(platform.binder.apply(elsewhere), "does not have the label")
    denied(platform.binder.create(elsewhere), "does not have the label")
    own = platform.object(kind, platform.own, part)
    assert platform.admin.merge(namespace_of(platform.own), {"metadata": {"labels": LABEL}}).ok
    denied(platform.binder.apply(own), "does not have the label")
    assert platform.binder.delete(there).ok


Bend = Callable[[Manifest], object]
BENDS: list[tuple[str, Bend, str]] = [
    (
        "RoleBinding",
        lambda b: b["subjects"].append({**b["subjects"][0], "name": "other"}),
        "no others",
    ),
    ("RoleBinding", lambda b: b["subjects"][0].update(name="stagedoor-binder"), "no others"),
    ("RoleBinding", lambda b: b["subjects"][0].update(name="stagedoor-controller"), "no others"),
    ("RoleBinding", lambda b: b["subjects"][0].update(namespace="default"), "no others"),
    ("RoleBinding", lambda b: b.update(subjects=[]), "no others"),
    (
        "RoleBinding",
        lambda b: b.update(
            subjects=[
                {
                    "kind": "User",
                    "name": "stagedoor-gateway",
                    "apiGroup": "rbac.authorization.k8s.io",
                }
            ]
        ),
        "no others",
    ),
    ("RoleBinding", lambda b: b["metadata"].update(name="other"), ""),
    ("RoleBinding", lambda b: b["metadata"].update(ownerReferences=[]), "must belong"),
    (
        "RoleBinding",
        lambda b: b["metadata"].update(finalizers=["example.com/keep"]),
        "no finalizers",
    ),
    ("RoleBinding", lambda b: b["metadata"].update(annotations={"a": "b"}), "no finalizers"),
    ("ConfigMap", lambda c: c["metadata"].update(name="kube-root-ca.crt"), ""),
    ("ConfigMap", lambda c: c.update(data={"app01": "uid 1"}), "the gateway's"),
    ("ConfigMap", lambda c: c.update(immutable=True), "the gateway's"),
    ("NetworkPolicy", lambda p: p["spec"].update(podSelector={}), "gateway alone"),
    ("NetworkPolicy", lambda p: p["spec"].update(ingress=[{}]), "gateway alone"),
    ("NetworkPolicy", lambda p: p["spec"].update(ingress=[]), "gateway alone"),
    ("NetworkPolicy", lambda p: p["spec"]["ingress"][0].update({"from": []}), "gateway alone"),
    (
        "NetworkPolicy",
        lambda p: p["spec"]["ingress"][0]["from"][0].pop("podSelector"),
        "gateway alone",
    ),
    (
        "NetworkPolicy",
        lambda p: p["spec"]["ingress"][0]["from"][0].pop("namespaceSelector"),
        "gateway alone",
    ),
    (
        "NetworkPolicy",
        lambda p: p["spec"]["ingress"][0].update(ports=[{"port": 1}, {"port": 2}]),
        "gateway alone",
    ),
    (
        "NetworkPolicy",
        lambda p: p["spec"].update(policyTypes=["Ingress", "Egress"]),
        "gateway alone",
    ),
]


@pytest.mark.platform(31)
@pytest.mark.parametrize(("kind", "bend", "word"), BENDS)
def test_what_it_writes_cannot_be_bent(
    platform: Platform, kind: str, bend: Bend, word: str
) -> None:
    bent = platform.object(kind, platform.open(), "gateway." if kind == "RoleBinding" else "")
    bend(bent)
    for answer in (platform.write(bent), platform.binder.create(bent)):
        assert answer.status == 403, answer.message
        assert word in answer.message


@pytest.mark.parametrize("kind", ["ClusterRole", "Role"])
def test_it_binds_no_other_role(platform: Platform, kind: str) -> None:
    """RBAC itself refuses that: it may `bind` two ClusterRoles."""
    bent = platform.object("RoleBinding", platform.open(), "gateway.")
    bent["roleRef"] |= {"kind": kind, "name": "cluster-admin" if kind == "ClusterRole" else "any"}
    assert platform.write(bent).status in (403, 404)
    swapped = platform.object("RoleBinding", platform.open(), "gateway.")
    swapped["roleRef"]["name"] = swapped["roleRef"]["name"].replace("gateway", "controller")
    denied(platform.write(swapped), "no others")


def test_it_leaves_what_is_in_the_register_and_another_installations_alone(
    platform: Platform,
) -> None:
    name = platform.open()
    register = platform.object("ConfigMap", name)
    assert platform.write(register).ok
    assert platform.admin.merge(register, {"data": {"app01": "uid 1"}}).ok
    assert platform.binder.apply(register).ok
    denied(platform.binder.merge(register, {"data": {"app01": "uid 2"}}), "the gateway's")
    denied(platform.binder.merge(register, {"data": None}), "the gateway's")
    other = platform.object("ConfigMap", platform.open())
    theirs = copy.deepcopy(other)
    del theirs["metadata"]["ownerReferences"]
    assert platform.admin.apply(theirs, manager="helm").ok
    denied(platform.write(other), "must belong")
    denied(platform.binder.delete(other), "must belong")


@pytest.mark.platform(30)
async def test_it_reports_why_a_namespace_is_not_served(lone: LoneApi, platform: Platform) -> None:
    name = await asyncio.to_thread(platform.open)
    double = await asyncio.to_thread(lambda: platform.open(**{"stagedoor.dev/environment": name}))
    async with running_binder(lone, platform):
        async with asyncio.timeout(WITHIN_S):
            while True:
                events = await asyncio.to_thread(platform.admin.listed, "default", "events")
                notes = {item["regarding"]["name"]: item["note"] for item in events}
                if {name, double} <= notes.keys():
                    break
                await asyncio.sleep(0.1)
    assert f"the namespace {double} has the environment" in notes[name]
    event = {"apiVersion": "events.k8s.io/v1", "kind": "Event"}
    event["metadata"] = {"name": "other", "namespace": name}
    assert platform.binder.create(event).status == 403


RIGHTS = ("secrets", "pods", "deployments.apps", "roles.rbac.authorization.k8s.io", "namespaces")


@pytest.mark.platform(31)
def test_it_has_no_other_rights(platform: Platform) -> None:
    name = platform.open()
    for resource in RIGHTS:
        for verb in ("create", "update", "patch", "delete", "get"):
            assert not platform.binder.may(name, verb, resource), (verb, resource)
    for resource in ("secrets", "configmaps", "rolebindings.rbac.authorization.k8s.io"):
        assert not platform.binder.may("", "list", resource)
    assert not platform.binder.may(name, "create", "pods/exec")


@pytest.mark.platform(31)
@pytest.mark.parametrize("who", ["gateway", "controller"])
def test_without_a_binding_the_accounts_write_nowhere(platform: Platform, who: str) -> None:
    account: Asker = getattr(platform, who)
    name = platform.open()
    assert account.may("", "list", "namespaces")
    assert not account.may(name, "create", LEASES)
    assert platform.write(platform.object("RoleBinding", name, f"{who}.")).ok
    end = time.monotonic() + WITHIN_S
    while not account.may(name, "create", LEASES):
        assert time.monotonic() < end
    assert not account.may(platform.closed(), "create", LEASES)
    assert not account.may(name, "create", "rolebindings.rbac.authorization.k8s.io")


def test_the_doctor_names_the_namespaces_that_are_not_served(
    lone: LoneApi, platform: Platform
) -> None:
    name = platform.open()
    assert platform.write(platform.object("RoleBinding", name, "gateway.")).ok
    double = platform.open(**{"stagedoor.dev/environment": name})
    kubeconfig = lone.kubeconfig(token=platform.gateway.token)
    text = f'kubeconfig = "{kubeconfig}"\nnamespace_selector = "{KEY}=true"\n'
    findings = check_cluster(parse_settings(f"[kubernetes]\n{text}", "here"))
    lines = [finding.what for finding in findings]
    assert any(line.startswith("the cluster: this account has the ") for line in lines)
    assert any(line.startswith(f"{KEY}=true selects namespaces: ") for line in lines)
    assert [line for line in lines if line.startswith(f"the namespace {double} is not served: ")]


@pytest.mark.parametrize("labelled", [True, False])
def test_of_an_earlier_list_helm_leaves_the_namespaces_with_the_label_to_the_binder(
    lone: LoneApi, platform: Platform, labelled: bool
) -> None:
    """The namespace was listed, and a shell runs there; the new values have the selector."""
    team = platform.open() if labelled else platform.closed()
    own = f"listed-{os.getpid()}-{next(_numbers)}"
    assert platform.admin.create(namespace_of(own)).ok
    shell = deployment(team, "app01-ssh")
    shell["metadata"]["labels"] = make_shell_labels("app01")
    config = {"apiVersion": "v1", "kind": "ConfigMap"}
    register = {"name": "stagedoor-apps", "namespace": team}
    assert platform.admin.create({**config, "metadata": register}).ok
    end = time.monotonic() + WITHIN_S
    while not (made := platform.admin.create(shell)).ok:  # until the policy sees the register
        assert time.monotonic() < end, made.message
    annotations = {"stagedoor.dev/namespaces": f'["{team}"]'}
    before = {"name": "stagedoor-gateway", "namespace": own, "annotations": annotations}
    assert platform.admin.create({**config, "metadata": before}).ok
    done = helm(
        *("template", "stagedoor", str(CHART), "--namespace", own, "--dry-run=server"),
        *("--kubeconfig", str(lone.kubeconfig()), "--kube-version", KUBE_VERSION),
        values=merged(VALUES, {"apps": {"namespaceSelector": LABEL}}),
    )
    assert done.returncode == 0, done.stderr
    there = [m for m in objects_in(done.stdout) if m["metadata"].get("namespace") == team]
    assert bool(there) is not labelled, (
        "where a shell is left, its fence and the controller's Role stay"
    )


# --- the program with its own account


@pytest.mark.platform(29)
async def test_the_accounts_get_their_rights_within_seconds_of_the_label_and_lose_them_after_it(
    lone: LoneApi, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stagedoor.controller.binder.EMPTY_S", 0.5)

    async def until(name: str, may: bool) -> float:
        began = time.monotonic()
        async with asyncio.timeout(WITHIN_S):
            while await asyncio.to_thread(platform.gateway.may, name, "create", LEASES) is not may:
                await asyncio.sleep(0.02)
        return time.monotonic() - began

    async with running_binder(lone, platform):
        await until(await asyncio.to_thread(platform.open), True)
        name = await asyncio.to_thread(platform.closed)
        labels = {"metadata": {"labels": LABEL}}
        await asyncio.to_thread(platform.admin.merge, namespace_of(name), labels)
        assert await until(name, True) < 5
        gone = {"metadata": {"labels": {KEY: None}}}
        for flip in range(20):
            patch = labels if flip % 2 else gone
            await asyncio.to_thread(platform.admin.merge, namespace_of(name), patch)
            await asyncio.sleep(0.02 * flip)
        await until(name, True)
        await asyncio.to_thread(platform.admin.merge, namespace_of(name), gone)
        await until(name, False)
