"""RBAC: what the two accounts may do, and above all what they may not, as the API server says."""

import json
from pathlib import Path

import pytest

from stagedoor.serve.doctor.cluster import check_cluster
from stagedoor.settings.file import parse_settings
from stagedoor.wire.finding import Finding, Level
from tests.chart.conftest import Fenced
from tests.cluster.asking import Asker

pytestmark = pytest.mark.timeout(300)  # the first of a process starts an API server

LEASES = "leases.coordination.k8s.io"
EVENTS = "events.events.k8s.io"
SLICES = "endpointslices.discovery.k8s.io"
WATCH = ("list", "watch")
READ = ("get", *WATCH)
WRITE = ("create", "update", "patch", "delete", "deletecollection")

LISTED = {
    "daemonsets.apps": {"list"},
    "cronjobs.batch": {"list"},
    "networkpolicies.networking.k8s.io": {"list"},
}
"""The rights in the whole cluster, first those of both accounts."""
GATEWAY_READS = LISTED | {
    "deployments.apps": {*WATCH},
    "statefulsets.apps": {*WATCH},
    "replicasets.apps": {*WATCH},
    "pods": {*WATCH},
    SLICES: {*WATCH},
    LEASES: {*WATCH},
}
CONTROLLER_READS = LISTED | {
    "deployments.apps": {*WATCH},
    "statefulsets.apps": {*WATCH},
    "pods": {*WATCH},
    "services": {*WATCH},
    "configmaps": {*WATCH},
    "jobs.batch": {*WATCH},
    LEASES: {*WATCH},
}
GATEWAY = {
    "deployments.apps": {"get"},
    "statefulsets.apps": {"get"},
    "jobs.batch": {"get"},
    "secrets": {"create"},
    "pods/log": {"get"},
    "persistentvolumeclaims": {"get"},
    EVENTS: {"list"},
    LEASES: {"get", "create", "patch", "update"},
}
"""The further rights in an app's namespace."""
CONTROLLER = {
    "deployments.apps": {"get", "create", "patch", "delete"},
    "statefulsets.apps": {"get"},
    "jobs.batch": {"create", "patch", "delete"},
    "pods": {"patch"},
    "pods/log": {"get"},
    "persistentvolumeclaims": {"get"},
    "services": {"create", "patch", "delete"},
    "configmaps": {"create", "patch", "delete"},
    "secrets": {"create", "patch", "delete"},
    EVENTS: {"list", "create", "patch"},
    LEASES: {"get", "create", "patch", "update", "delete"},
}
NOTHING = (
    "secrets",
    "configmaps",
    "services",
    "persistentvolumeclaims",
    "serviceaccounts",
    "serviceaccounts/token",
    "pods/exec",
    "pods/attach",
    "pods/portforward",
    "pods/ephemeralcontainers",
    "pods/eviction",
    "deployments.apps/scale",
    "roles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "nodes",
    "nodes/proxy",
    "namespaces",
    "clusterroles.rbac.authorization.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "subjectaccessreviews.authorization.k8s.io",
    "certificatesigningrequests.certificates.k8s.io",
)
ACCOUNTS = [
    ("gateway", GATEWAY, GATEWAY_READS),
    ("controller", CONTROLLER, CONTROLLER_READS),
]
OF_ACCOUNTS = pytest.mark.parametrize(("account", "rights", "reads"), ACCOUNTS)
RESOURCES = {*GATEWAY, *CONTROLLER, *GATEWAY_READS, *CONTROLLER_READS, *NOTHING}
Table = dict[str, set[str]]


def of(asker: Asker, namespace: str) -> Table:
    """Return the rights that an account has in a namespace ("": in all)."""
    table = {
        resource: {verb for verb in (*READ, *WRITE) if asker.may(namespace, verb, resource)}
        for resource in RESOURCES
    }
    return {resource: verbs for resource, verbs in table.items() if verbs}


def both(one: Table, other: Table) -> Table:
    return {name: one.get(name, set()) | other.get(name, set()) for name in {*one, *other}}


@OF_ACCOUNTS
def test_an_account_has_these_rights_in_an_app_namespace_and_no_others(
    fenced: Fenced, account: str, rights: Table, reads: Table
) -> None:
    assert of(getattr(fenced, account), fenced.apps) == both(rights, reads)


@OF_ACCOUNTS
def test_elsewhere_an_account_may_list_and_watch_and_nothing_else(
    fenced: Fenced, account: str, rights: Table, reads: Table
) -> None:
    asker = getattr(fenced, account)
    for namespace in ("", "default", "kube-system"):
        assert of(asker, namespace) == reads
    leads = {LEASES: {"create"}} if account == "controller" else {}
    assert of(asker, fenced.own) == both(reads, leads)


@OF_ACCOUNTS
def test_without_rights_in_the_cluster_an_account_has_them_in_the_apps_namespaces_alone(
    narrow: Fenced, account: str, rights: Table, reads: Table
) -> None:
    asker = getattr(narrow, account)
    assert of(asker, narrow.apps) == both(rights, reads)
    assert of(asker, "") == of(asker, "kube-system") == {}


def test_the_controller_has_the_leader_s_lease_by_its_name_alone(fenced: Fenced) -> None:
    for verb in ("get", "update", "patch"):
        assert fenced.controller.may(fenced.own, verb, LEASES, "stagedoor-controller")
        assert not fenced.controller.may(fenced.own, verb, LEASES, "another")
        reads = verb == "get"  # `stagedoor status` in a gateway's pod
        assert fenced.gateway.may(fenced.own, verb, LEASES, "stagedoor-controller") == reads
        assert not fenced.gateway.may(fenced.own, verb, LEASES, "another")


def test_the_gateway_fills_in_the_register_and_no_other_config_map(fenced: Fenced) -> None:
    assert fenced.gateway.may(fenced.apps, "patch", "configmaps", "stagedoor-apps")
    assert not fenced.gateway.may(fenced.apps, "patch", "configmaps", "app01-config")
    assert not fenced.gateway.may(fenced.apps, "get", "configmaps", "stagedoor-apps")


def doctor(asker: Asker, namespace: str, folder: Path, tables: str = "") -> list[Finding]:
    """Return the findings of `stagedoor doctor` in a cluster, as a user."""
    cluster = {"server": asker.url, "certificate-authority": asker.ca}
    config = {
        "clusters": [{"name": "x", "cluster": cluster}],
        "users": [{"name": "x", "user": {"token": asker.token}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "current-context": "x",
    }
    (folder / "kubeconfig").write_text(json.dumps(config))
    named = f'kubeconfig = "{folder}/kubeconfig"\nnamespaces = {{ "" = "{namespace}" }}'
    # The pods that other tests leave have no port for tunnels.
    tables += "\n[tunnel]\nresume_s = 0\n"
    return list(check_cluster(parse_settings(f"[kubernetes]\n{named}\n{tables}", "here")))


def test_the_doctor_finds_each_account_to_have_its_rights(fenced: Fenced, tmp_path: Path) -> None:
    findings = doctor(fenced.gateway, fenced.apps, tmp_path, "register = true\n[controller]\n")
    assert [finding.level for finding in findings] == [Level.OK] * 2, findings
    leads = f'controller = true\n[controller]\nkit_image = "kit:1"\nnamespace = "{fenced.own}"\n'
    apps, *others = doctor(fenced.controller, fenced.apps, tmp_path, leads)
    assert [finding.level for finding in others] == [Level.OK] * 2, others
    # With `controller = true` one account is both; the chart's controller is not, and lacks these alone.
    lacks = apps.what.partition(" may not ")[2].split(", ")
    assert {right.split()[1] for right in lacks} == {"replicasets.apps", "jobs.batch"}


def test_the_doctor_accepts_rights_in_the_namespaces_alone(narrow: Fenced, tmp_path: Path) -> None:
    [gateway] = doctor(narrow.gateway, narrow.apps, tmp_path, "register = true\n[controller]\n")
    assert gateway.level is Level.OK, gateway


def test_the_doctor_names_each_right_that_is_missing(fenced: Fenced, tmp_path: Path) -> None:
    everything = 'controller = true\nauthorise = "pods/exec"\n[controller]\nkit_image = "kit:1"\n'
    apps, review, leads, _ = doctor(fenced.gateway, fenced.apps, tmp_path, everything)
    assert apps.level is Level.FAIL
    assert "create deployments.apps, patch deployments.apps" in apps.what
    assert "create leases" not in apps.what, "that the gateway may"
    assert "list configmaps" in apps.what
    assert "create subjectaccessreviews.authorization.k8s.io" in review.what
    assert "get leases.coordination.k8s.io stagedoor-controller" in leads.what
    _, nothing = doctor(fenced.gateway, "default", tmp_path)
    assert "get deployments.apps" in nothing.what
    [wrong] = doctor(Asker(fenced.gateway.url, fenced.gateway.ca, "no"), fenced.apps, tmp_path)
    assert "cannot be queried" in wrong.what
