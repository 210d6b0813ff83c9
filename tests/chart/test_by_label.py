"""Namespaces by label on a real cluster: a label opens one within seconds, and its end is in order.

One story of a minute or two: it needs a real helm, a real kubelet, the garbage collector and OpenSSH.
"""

import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from stagedoor.controller.binder import ENDING
from stagedoor.shells.kubernetes.live.lifecycle import IN_USE_S
from stagedoor.wire.rfc3339 import parse_time
from tests.chart.release import RESTRICTED, Release, anchor, forget, of_trial, until
from tests.chart.test_leaving import of_shells
from tests.cluster.asking import namespace_of
from tests.fixtures.cluster import Cluster

pytestmark = pytest.mark.timeout(900)


def prepared(cluster: Cluster, namespace: str) -> list[str]:
    """Return the names of what the binder has created in a namespace."""
    kinds = "networkpolicies,rolebindings,configmaps"
    marks = "app.kubernetes.io/managed-by=stagedoor,app.kubernetes.io/instance=stagedoor"
    objects = cluster.administrator.listed(namespace, kinds, marks)
    return [str(resource["metadata"]["name"]) for resource in objects]


@pytest.mark.platform(29)
def test_a_label_opens_a_namespace_and_closes_it_in_order(
    cluster: Cluster, kit: str, fresh_namespace: Callable[..., str], tmp_path: Path
) -> None:
    anchor(cluster)
    own, first, second = fresh_namespace(RESTRICTED), fresh_namespace(), fresh_namespace()
    key = f"{own}.example/shells"
    values = {**of_trial(cluster, kit), "apps": {"namespaceSelector": {key: "true"}}}
    release = Release(cluster, own, first, tmp_path, values)

    def label(namespace: str, value: str | None) -> None:
        patch = {"metadata": {"labels": {key: value}}}
        assert cluster.administrator.merge(namespace_of(namespace), patch).ok

    def login(target: str) -> "subprocess.CompletedProcess[str]":
        return release.ssh(target, "true")

    def enters(target: str) -> bool:
        return login(target).returncode == 0

    try:
        release.install()
        release.welcome()
        [pod] = [pod["metadata"]["uid"] for pod in release.pods()]
        for namespace in (first, second):
            release.apps = namespace
            release.app()
            refused = login(f"app01.{namespace}.ssh")
            assert refused.returncode != 0
            assert "there is no app" in refused.stderr
            label(namespace, "true")
            began = time.monotonic()
            until("it is served", partial(enters, f"app01.{namespace}.ssh"))
            took_s = time.monotonic() - began
            print(f"a shell {took_s:.1f} s after the label; the aim is 5 s on an idle machine")
            assert len(prepared(cluster, namespace)) == 4
        assert [pod] == [pod["metadata"]["uid"] for pod in release.pods()], "nothing is restarted"
        assert f"app01.{second}.ssh" in release.stagedoor("app", "list")

        held = subprocess.Popen(
            release.ssh_command(f"app01.{first}.ssh", "echo in; read -r _; echo out"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert held.stdout is not None
        assert held.stdout.readline() == "in\n", release.story()
        label(first, None)
        until("logins are refused", lambda: not enters(f"app01.{first}.ssh"), 10)
        closed_at = time.time()

        def is_kept() -> bool:
            [lease] = release.api.listed(first, "leases", "stagedoor.dev/shell-of=app01")
            return (parse_time(lease["spec"]["renewTime"]) or 0) > closed_at + IN_USE_S

        until("the session is still counted when its lease would have lapsed", is_kept)
        assert len(of_shells(release, first, "pods")) == 1
        assert len(prepared(cluster, first)) == 4
        assert "1 shell ends after its last session" in release.stagedoor("app", "list")
        only = f"involvedObject.name={first},reason={ENDING}"
        assert cluster.kubectl("get", "events", "--field-selector", only, "-o", "name")
        assert held.communicate("\n", timeout=60)[0] == "out\n"
        until("the shell is gone", lambda: not of_shells(release, first, "pods,deployments,leases"))
        until("the rights are gone", lambda: not prepared(cluster, first))
        assert enters(f"app01.{second}.ssh")

        release.helm("uninstall", "stagedoor", "--wait=false")
        assert of_shells(release, second, "pods,deployments,services,configmaps,secrets") == []
        until("the rights are gone", lambda: not prepared(cluster, second))
    finally:
        release.uninstall()
        forget(cluster, f"labels.stagedoor.{own}", f"binder.stagedoor.{own}")
