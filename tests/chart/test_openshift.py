"""OpenShift's `restricted-v2`, by what its documentation says; no test runs there.

A SecurityContextConstraints judges each pod: what it does not say is given to it, what it says otherwise is
refused. Every pod of ours must pass, and the shell of every app that passes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml

from stagedoor.shells.kubernetes.derive.kit import KitSource
from tests.chart.chart import ROOT, merged, of_kind, render
from tests.cluster.asking import Manifest
from tests.shells.kubernetes.samples import HERE, KIT, app, container, derived

UIDS = range(1_000_650_000, 1_000_660_000)
"""The range that `openshift.io/sa.scc.uid-range` gives a namespace: 1000650000/10000."""
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
HOST = ("hostNetwork", "hostPID", "hostIPC")
VALUES: Manifest = {
    "runAsUser": None,
    "apps": {"namespaces": [{"name": "apps"}]},
    "gateway": {"web": {"enabled": True, "forwardedFrom": ["10.128.0.0/14"]}},
}
OURS = replace(KIT, uid=None)
APPS = sorted(path.stem for path in (HERE / "apps").glob("*.yaml"))


def refusals(pod: Mapping[str, Any]) -> Iterator[str]:
    """Why `restricted-v2` does not take this pod's spec."""
    yield from (field for field in HOST if pod.get(field))
    for volume in pod.get("volumes") or ():
        yield from (f"volume {kind}" for kind in volume.keys() - {"name"} - VOLUMES)
    security = pod.get("securityContext") or {}
    yield from _ids("pod", security)
    if security.get("fsGroup", UIDS[0]) not in UIDS:
        yield f"pod fsGroup {security['fsGroup']}"
    if security.get("sysctls"):
        yield "sysctls"
    for listed_container in (*pod.get("initContainers", ()), *pod["containers"]):
        own, name = listed_container.get("securityContext") or {}, listed_container["name"]
        yield from _ids(name, own)
        if own.get("privileged") or own.get("allowPrivilegeEscalation"):
            yield f"{name} privileged, or more so"
        if set((own.get("capabilities") or {}).get("add") or ()) - {"NET_BIND_SERVICE"}:
            yield f"{name} capabilities"
        if any(port.get("hostPort") for port in listed_container.get("ports") or ()):
            yield f"{name} hostPort"


def _ids(name: str, security: Mapping[str, Any]) -> Iterator[str]:
    if security.get("runAsUser", UIDS[0]) not in UIDS:
        yield f"{name} runAsUser {security['runAsUser']}"
    if "seLinuxOptions" in security:
        yield f"{name} seLinuxOptions"
    if (security.get("seccompProfile") or {}).get("type", "RuntimeDefault") != "RuntimeDefault":
        yield f"{name} seccompProfile"


def pods(objects: list[Manifest]) -> dict[str, Manifest]:
    """The specs of all pods that the chart makes, its hooks and its test included."""
    ids = {}
    for manifest in objects:
        spec = (
            manifest["spec"]
            if manifest["kind"] == "Pod"
            else (manifest.get("spec") or {}).get("template", {}).get("spec")
        )
        if spec:
            ids[f"{manifest['kind']}/{manifest['metadata']['name']}"] = spec
    return ids


@pytest.mark.parametrize(
    "more",
    [
        {},
        {
            "store": {"postgresql": {"url": ""}, "sqlite": {"enabled": True}},
            "gateway": {"replicas": 1},
        },
    ],
    ids=["postgresql", "sqlite"],
)
def test_every_pod_of_the_chart_is_taken(more: Manifest) -> None:
    manifests = pods(render(merged(VALUES, more)))
    assert len(manifests) > 2, "the gateway, a hook, a test"
    assert [(name, why) for name, spec in manifests.items() for why in refusals(spec)] == []
    # With a uid of ours none would be.
    fixed = pods(render(merged(merged(VALUES, more), {"runAsUser": 65532})))
    assert all(list(refusals(spec)) for spec in fixed.values())


@pytest.mark.parametrize("name", APPS)
def test_the_shell_of_an_app_that_is_taken_is_taken(name: str) -> None:
    of = app(name)
    before = list(refusals(of["spec"]["template"]["spec"]))
    shell = derived(of, OURS)
    after = list(refusals(shell.deployment["spec"]["template"]["spec"]))
    assert after == [] or before != [], "it wants no more than its app"
    # No uid but the app's own, which the namespace's range decides about.
    assert "runAsUser" not in container(shell, "kit")["securityContext"]


def test_an_image_volume_is_not_taken_so_the_kit_is_copied() -> None:
    shell = derived(app("plain"), replace(OURS, source=KitSource.IMAGE_VOLUME))
    assert list(refusals(shell.deployment["spec"]["template"]["spec"])) == ["volume image"]


def test_the_values_and_routes_of_the_page_are_taken() -> None:
    """OpenShift's router takes a Route as well as an Ingress; the page has both of ours."""
    page = (ROOT / "docs/how-to/openshift.md").read_text(encoding="utf-8")
    values, *routes = (
        yaml.safe_load(block.partition("```")[0]) for block in page.split("```yaml\n")[1:]
    )
    apps = {"apps": VALUES["apps"], "gateway": {"tls": {"secretName": "tls"}}}
    objects = render(merged(values, apps))
    services = {manifest["metadata"]["name"]: manifest for manifest in of_kind(objects, "Service")}
    assert [route["kind"] for route in routes] == ["Route", "Route"]
    for route in routes:
        ports = services[route["spec"]["to"]["name"]]["spec"]["ports"]
        assert route["spec"]["port"]["targetPort"] in {port["name"] for port in ports}
