"""RBAC: what the two accounts may do, and above all what they may not, as the API server says."""

import json
from pathlib import Path

import pytest

from stagedoor.serve.doctor.cluster import cluster_findings
from stagedoor.settings.file import parse_settings
from stagedoor.wire.finding import Finding, Level
from tests.chart.conftest import Fenced
from tests.cluster.asking import Asker

pytestmark = pytest.mark.timeout(300)  # the first of a process starts an API server

LEASES = "leases.coordination.k8s.io"
EVENTS = "events.events.k8s.io"
SLICES = "endpointslices.discovery.k8s.io"
READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete", "deletecollection")

GATEWAY = {
    "daemonsets.apps": {"list"},
    "cronjobs.batch": {"list"},
    "networkpolicies.networking.k8s.io": {"list"},
    "deployments.apps": {*READ},
    "statefulsets.apps": {*READ},
    "replicasets.apps": {*READ},
    "pods": {*READ},
    "pods/log": {"get"},
    "persistentvolumeclaims": {"get"},
    SLICES: {*READ},
    EVENTS: {*READ},
    LEASES: {*READ, "create", "patch", "update"},
}
CONTROLLER = {
    "daemonsets.apps": {"list"},
    "cronjobs.batch": {"list"},
    "networkpolicies.networking.k8s.io": {"list"},
    "deployments.apps": {*READ, "create", "patch", "delete"},
    "statefulsets.apps": {*READ},
    "replicasets.apps": {*READ},
    "pods": {*READ, "patch"},
    "pods/log": {"get"},
    "persistentvolumeclaims": {*READ},
    "services": {*READ, "create", "patch", "delete"},
    "configmaps": {*READ, "create", "patch", "delete"},
    "secrets": {"create", "patch", "delete"},
    SLICES: {*READ},
    EVENTS: {*READ, "create", "patch"},
    LEASES: {*READ, "create", "patch", "update", "delete"},
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
    "jobs.batch",
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
ACCOUNTS = [("gateway", GATEWAY), ("controller", CONTROLLER)]


@pytest.mark.parametrize(("account", "rights"), ACCOUNTS)
def test_an_account_has_these_rights_in_an_app_namespace_and_no_others(
    fenced: Fenced, account: str, rights: dict[str, set[str]]
) -> None:
    asker = getattr(fenced, account)
    for resource in {*GATEWAY, *CONTROLLER, *NOTHING}:
        allowed = {verb for verb in (*READ, *WRITE) if asker.may(fenced.apps, verb, resource)}
        assert allowed == rights.get(resource, set()), resource


@pytest.mark.parametrize(("account", "rights"), ACCOUNTS)
def test_an_account_has_no_rights_elsewhere(
    fenced: Fenced, account: str, rights: dict[str, set[str]]
) -> None:
    asker = getattr(fenced, account)
    for namespace in ("default", "kube-system", fenced.own):
        for resource in (*rights, "secrets", "pods/exec"):
            for verb in (*READ, *WRITE):
                leads = (namespace, account, resource, verb) == (
                    fenced.own,
                    "controller",
                    LEASES,
                    "create",
                )
                assert asker.may(namespace, verb, resource) == leads, (namespace, verb, resource)


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
    return list(cluster_findings(parse_settings(f"[kubernetes]\n{named}\n{tables}", "here")))


def test_the_doctor_finds_each_account_to_have_its_rights(fenced: Fenced, tmp_path: Path) -> None:
    [gateway] = doctor(fenced.gateway, fenced.apps, tmp_path, "register = true\n[controller]\n")
    assert gateway.level is Level.OK, gateway
    leads = f'controller = true\n[controller]\nkit_image = "kit:1"\nnamespace = "{fenced.own}"\n'
    findings = doctor(fenced.controller, fenced.apps, tmp_path, leads)
    assert [finding.level for finding in findings] == [Level.OK] * 3, findings


def test_the_doctor_names_each_right_that_is_missing(fenced: Fenced, tmp_path: Path) -> None:
    everything = 'controller = true\nauthorise = "pods/exec"\n[controller]\nkit_image = "kit:1"\n'
    apps, review, leads, _ = doctor(fenced.gateway, fenced.apps, tmp_path, everything)
    assert apps.level is Level.FAIL
    assert "may not create deployments.apps, patch deployments.apps" in apps.what
    assert "create leases" not in apps.what, "that the gateway may"
    assert "create subjectaccessreviews.authorization.k8s.io" in review.what
    assert "get leases.coordination.k8s.io stagedoor-controller" in leads.what
    [nothing] = doctor(fenced.gateway, "default", tmp_path)
    assert "get deployments.apps" in nothing.what
    [wrong] = doctor(Asker(fenced.gateway.url, fenced.gateway.ca, "no"), fenced.apps, tmp_path)
    assert "cannot be asked" in wrong.what
