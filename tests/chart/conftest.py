"""A real API server with the chart's accounts, rights and policies in it, for tests of the fences."""

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.chart.chart import render
from tests.cluster.asking import Asker, Manifest, collection, namespace_of
from tests.fixtures.cluster import cluster, fresh_namespace, kit
from tests.kube.api.lone import LoneApi

__all__ = ["cluster", "fresh_namespace", "kit"]

_numbers = itertools.count()
KIT = "localhost/stagedoor-kit:dev"
FENCES = {
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}
WITHIN_S = 60.0


@dataclass(frozen=True)
class Fenced:
    """An installation's rights and fences. `own` is its namespace, `apps` and `staging` the apps'."""

    admin: Asker
    gateway: Asker
    controller: Asker
    own: str
    apps: str
    staging: str
    objects: list[Manifest]


def install(lone: LoneApi, *, cluster_reads: bool = True, **values: Any) -> Fenced:
    number = next(_numbers)
    own, apps, staging = (f"{name}-{os.getpid()}-{number}" for name in ("own", "apps", "staging"))
    admin = Asker(lone.url, str(lone.folder / "ca.crt"), lone.token())
    for name in (own, apps, staging):
        assert admin.create(namespace_of(name)).ok
    spaces = [{"name": apps}, {"name": staging, "environment": "staging"}]
    named = {"namespaces": spaces, "clusterReads": cluster_reads}
    objects = render(namespace=own, apps=named, **values)
    for manifest in objects:
        if manifest["kind"] in FENCES:
            made = admin.apply(manifest, manager="helm")
            assert made.ok, made.message
    return Fenced(
        admin,
        admin.as_account(own, "stagedoor-gateway"),
        admin.as_account(own, "stagedoor-controller"),
        own,
        apps,
        staging,
        objects,
    )


@contextmanager
def installed(lone: LoneApi, beside: Fenced, **values: object) -> Iterator[Fenced]:
    """Another installation beside that one, for a while: what is asked later would pass its policies too.

    `beside` stays, so that the API server always has policies that take parameters (Kubernetes issue 130887).
    """
    release = install(lone, **values)
    try:
        wait_for_policies(release)
        yield release
    finally:
        for manifest in release.objects:
            if manifest["kind"].startswith("ValidatingAdmissionPolicy"):
                beside.admin.forget(manifest["kind"], manifest["metadata"]["name"])


@pytest.fixture(scope="session")
def fenced(lone: LoneApi) -> Fenced:
    """One for all tests of a process; each takes apps of its own. The policies are in force."""
    release = install(lone)
    wait_for_policies(release)
    return release


@pytest.fixture(scope="session")
def narrow(lone: LoneApi) -> Fenced:
    """One whose accounts have no rights in the whole cluster."""
    return install(lone, cluster_reads=False)


def wait_for_policies(fenced: Fenced) -> None:
    """The API server follows policies by a watch and says nowhere how far it is: so try each.

    Each probe is such that the policy in question alone refuses it.
    """
    where = {"namespace": fenced.staging}
    labels = {"stagedoor.dev/shell-of": "nobody", "app.kubernetes.io/managed-by": "stagedoor"}
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "nobody", "uid": "0"}
    pod = {"containers": [{"name": "x", "image": "x"}]}
    shell: Manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**where, "name": "nobody-ssh", "labels": labels, "ownerReferences": [owner]},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    _wait_for(fenced, "shells", shell)
    of_run = {"stagedoor.dev/run-of": "none", "app.kubernetes.io/managed-by": "stagedoor"}
    run: Manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            **where,
            "name": "run-0000",
            "labels": of_run,
            "ownerReferences": [{**owner, "name": "none"}],
        },
        "spec": {"template": {"spec": {**pod, "restartPolicy": "Never"}}},
    }
    _wait_for(fenced, "runs", run)
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {**where, "name": "anything"},
    }
    _wait_for(fenced, "names", config_map)


def _wait_for(fenced: Fenced, policy: str, shell: Manifest) -> None:
    path = f"{collection(shell)}?dryRun=All"
    wanted = f"'{policy}.stagedoor.{fenced.own}'"
    end = time.monotonic() + WITHIN_S
    while wanted not in (said := fenced.controller.request("POST", path, shell).message):
        assert time.monotonic() < end, f"the policy {wanted} does not come into force: {said}"
        time.sleep(0.1)  # there is no event for a policy that comes into force
