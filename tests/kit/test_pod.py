"""The kit in a real pod, in a namespace that admits only Pod Security `restricted`."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from acceptance.kubernetes_tools import find_checkout, kit_image
from tests.cluster import archive, images
from tests.fixtures.cluster import Cluster, cluster, fresh_namespace
from tests.kit.people import People
from tests.kit.test_environment import HARD, entries
from tests.waiting import BOUND_S, wait_until

pytestmark = pytest.mark.timeout(600)  # the first makes the images, and others wait for them

__all__ = ["cluster", "fresh_namespace"]

_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 12345,
    "seccompProfile": {"type": "RuntimeDefault"},
}
# The kubelet would expand $(NAME), and a name must be one that a shell could have.
_VALUES = {n: v for n, v in HARD.items() if not n.startswith("LD_") and n != "CONTROL"}


def _pod(kit: str, app: str) -> dict[str, Any]:
    secret = {"secretName": "app01-ssh", "defaultMode": 0o440}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "app01-ssh"},
        "spec": {
            # fsGroup makes the host key readable for a group, which sshd by itself would not have.
            "securityContext": {"fsGroup": 4321},
            "terminationGracePeriodSeconds": 30,
            "containers": [
                {
                    "name": "kit",
                    "image": kit,
                    "imagePullPolicy": "Never",
                    "command": ["/kit/bin/copy", "--and-stay", "/kit-volume"],
                    "lifecycle": {
                        "postStart": {
                            "exec": {"command": ["/kit/bin/copy", "--wait", "/kit-volume"]}
                        }
                    },
                    "securityContext": _SECURITY,
                    "volumeMounts": [{"name": "kit", "mountPath": "/kit-volume"}],
                },
                {
                    "name": "shell",
                    "image": app,
                    "imagePullPolicy": "Never",
                    "command": ["/kit/bin/start"],
                    "env": [{"name": name, "value": value} for name, value in _VALUES.items()],
                    "securityContext": _SECURITY,
                    "volumeMounts": [
                        {"name": "kit", "mountPath": "/kit", "readOnly": True},
                        {"name": "run", "mountPath": "/run/stagedoor"},
                        {"name": "host", "mountPath": "/etc/stagedoor/host", "readOnly": True},
                        {"name": "shell", "mountPath": "/etc/stagedoor/shell", "readOnly": True},
                    ],
                },
            ],
            "volumes": [
                {"name": "kit", "emptyDir": {}},
                {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
                {"name": "host", "secret": secret},
                {"name": "shell", "configMap": {"name": "app01-ssh"}},
            ],
        },
    }


def _app(cluster: Cluster, image: str, folder: Path) -> str:
    """Return the image on the node. `nginx` wants another signal than SIGTERM, as nginx's does."""
    if image != "nginx":
        return cluster.image(image)
    recipe = {entry.name: entry for entry in images.RECIPES}["busybox"]
    assert recipe.files is not None
    layer = archive.layer(recipe.files(), folder / "layer")
    name = "stagedoor.test/stopped-by-quit:1"
    archive.image(name, [layer], replace(recipe.start, stop_signal="SIGQUIT"), folder / "image.tar")
    cluster.load_image(folder / "image.tar")
    return name


class Pod:
    """The pod, and ssh into it."""

    def __init__(self, cluster: Cluster, namespace: str, people: People, address: str) -> None:
        self.cluster, self.namespace, self.people, self.address = (
            cluster,
            namespace,
            people,
            address,
        )

    def command(self, *arguments: str) -> list[str]:
        """Return an `ssh` command line."""
        return [
            *(
                "ssh",
                "-F",
                "none",
                "-p",
                "2222",
                "-o",
                "HostKeyAlias=app01.ssh",
                "-o",
                "BatchMode=yes",
            ),
            *(
                "-o",
                "StrictHostKeyChecking=yes",
                "-o",
                f"UserKnownHostsFile={self.people.known_hosts}",
            ),
            *("-i", str(self.people.key("alice")), "-o", "IdentitiesOnly=yes"),
            *arguments,
        ]

    def ssh(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command in it."""
        command = self.command(f"dev@{self.address}", *arguments)
        return subprocess.run(command, capture_output=True, timeout=BOUND_S)

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl in its namespace."""
        return self.cluster.kubectl("--namespace", self.namespace, *arguments)


@pytest.fixture
def start(
    cluster: Cluster, fresh_namespace: Callable[..., str], people: People, tmp_path: Path
) -> Callable[[str], Pod]:
    def start_one(image: str) -> Pod:
        namespace = fresh_namespace({"pod-security.kubernetes.io/enforce": "restricted"})
        host, shell = tmp_path / "host", tmp_path / "shell"
        people.lay_out(host, shell)
        (shell / "settings").write_text("STAGEDOOR_GRACE_S=30\n")

        def apply(*arguments: str, text: str | None = None) -> None:
            cluster.kubectl("--namespace", namespace, *arguments, text=text)

        apply("create", "secret", "generic", "app01-ssh", f"--from-file={host}")
        apply("create", "configmap", "app01-ssh", f"--from-file={shell}")
        pod = _pod(kit_image(find_checkout()), _app(cluster, image, tmp_path))
        apply("create", "-f", "-", text=json.dumps(pod))
        apply("wait", "--for=condition=Ready", "pod/app01-ssh", f"--timeout={2 * BOUND_S}s")
        seen = cluster.kubectl("--namespace", namespace, "get", "pod", "app01-ssh", "-o", "json")
        return Pod(cluster, namespace, people, json.loads(seen)["status"]["podIP"])

    return start_one


@pytest.mark.parametrize("image", ["debian-12", "musl", "distroless"])
def test_the_environment_is_that_of_kubectl_exec(start: Callable[[str], Pod], image: str) -> None:
    pod = start(image)
    # The distroless image has no env of its own, and kubectl exec looks for the kit's by its path.
    program = "/kit/busybox/env" if image == "distroless" else "env"
    printed = pod.kubectl("exec", "app01-ssh", "--container=shell", "--", program, "-0")
    done = pod.ssh(program, "-0")
    assert done.returncode == 0, done.stderr
    seen = entries(done.stdout)
    assert {n: v for n, v in seen.items() if n not in (b"SSH_CLIENT", b"SSH_CONNECTION")} == {
        **entries(printed.encode()),
        **({b"PATH": seen[b"PATH"]} if image == "distroless" else {}),
    }
    assert seen[b"LINES"] == HARD["LINES"].encode()
    assert pod.ssh("pwd").stdout == b"/app\n"


def test_a_session_lives_on_while_its_pod_is_deleted(start: Callable[[str], Pod]) -> None:
    pod = start("nginx")
    command = pod.command("-tt", f"dev@{pod.address}", "read line; echo got $line")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        wait_until(
            lambda: "busy sessions=1" in pod.kubectl("logs", "app01-ssh", "--container=shell"),
            costly=True,
        )
        pod.kubectl("delete", "pod", "app01-ssh", "--wait=false")
        shown = b""
        while b"this shell is being stopped" not in shown:
            more = session.stdout.read1(4096)
            assert more, shown
            shown += more
        session.stdin.write(b"it\n")
        session.stdin.flush()
        assert b"got it" in session.stdout.read()
        assert session.wait(BOUND_S) == 0
