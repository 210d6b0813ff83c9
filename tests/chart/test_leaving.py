"""No shell outlives its fence: a namespace that is taken out of the values, and an uninstall.

One story of a minute or two: it needs a real helm (what it looks up, its hook), a real kubelet, which
brings files into pods, and OpenSSH's sshd.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chart.release import RESTRICTED, Release, anchor, of_trial, until
from tests.fixtures.cluster import Cluster

pytestmark = pytest.mark.timeout(900)


def inside(release: Release, *command: str) -> "subprocess.Popen[str]":
    """A session of a developer who stays; it has printed a line."""
    held = subprocess.Popen(
        release.ssh_command("app01.ssh", *command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert held.stdout is not None
    assert held.stdout.readline() == "in\n", release.story()
    return held


def of_shells(release: Release, namespace: str, kinds: str) -> list[str]:
    objects = release.api.listed(namespace, kinds, "stagedoor.dev/shell-of")
    return [str(resource["metadata"]["name"]) for resource in objects]


def fence(cluster: Cluster, namespace: str) -> list[str]:
    return cluster.kubectl("-n", namespace, "get", "networkpolicy,role", "-o", "name").split()


def test_no_shell_outlives_its_fence(
    cluster: Cluster, kit: str, fresh_namespace: Callable[..., str], tmp_path: Path
) -> None:
    anchor(cluster)
    own, first, second = fresh_namespace(RESTRICTED), fresh_namespace(), fresh_namespace()
    values = {**of_trial(cluster, kit), "apps": {"namespaces": [{"name": first}]}}
    release = Release(cluster, own, first, tmp_path, values)
    try:
        release.install()
        release.welcome()
        release.app()
        # Work that goes on with no developer inside keeps the shell.
        done = release.ssh("app01.ssh", "tmux new-session -d 'sleep 600'")
        assert done.returncode == 0, done.stderr + release.story()
        release.upgrade({"apps": {"namespaces": [{"name": second}]}})
        assert len(of_shells(release, first, "pods")) == 1
        assert len(fence(cluster, first)) == 2

        def emptied() -> bool:
            [found] = release.api.listed(first, "configmaps", "stagedoor.dev/shell-of=app01")
            return str(release.key.with_suffix(".pub").read_text().split()[1]) not in str(
                found["data"]
            )

        until("nobody new is let in", emptied)
        assert len(of_shells(release, first, "pods")) == 1, "and what goes on there is left alone"
        in_shell = (
            "exec",
            "deploy/app01-ssh",
            "-c",
            "shell",
            "--",
            "/kit/tools/tmux",
            "kill-server",
        )
        cluster.kubectl("-n", first, *in_shell)
        until(
            "the shell is gone",
            lambda: not of_shells(release, first, "pods,deployments,configmaps"),
        )
        assert len(fence(cluster, first)) == 2
        release.upgrade({})
        assert fence(cluster, first) == []

        release.apps = second
        release.welcome()
        release.app(annotations={"grace": "15s"})
        held = inside(release, "echo in; read -r _")
        release.helm("uninstall", "stagedoor", "--wait=false")
        assert of_shells(release, second, "pods,deployments,services,configmaps,secrets") == []
        assert fence(cluster, second) == []
        held.communicate(timeout=60)
    finally:
        release.uninstall()
