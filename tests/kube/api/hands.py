"""By hand, what a lone API server lacks: a shell's pod, whose sshd is the machine's own on loopback."""

import base64
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

from stagedoor.shells.kubernetes.names import CONTAINER, make_shell_labels, make_shell_name
from tests.cluster.asking import Manifest, administrator, namespace_of
from tests.fixtures.cluster import KubeGateway, until
from tests.kube.api.lone import LoneApi
from tests.ports import free_port

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


class LoneCluster:
    """The part of a cluster that a `KubeGateway` needs."""

    def __init__(self, api: LoneApi, namespace: str) -> None:
        self.kubeconfig = api.kubeconfig()
        self.administrator = administrator(self.kubeconfig)
        assert self.administrator.create(namespace_of(namespace)).ok


class Hands:
    """The node of a gateway's shells: makes their pods."""

    def __init__(self, kube: KubeGateway) -> None:
        self._kube = kube
        self._api = kube.cluster.administrator
        self._running: list[subprocess.Popen[bytes]] = []

    def soon(self, app: str) -> None:
        """Once the shell's Deployment is there, run its pod."""
        threading.Thread(target=self._run, args=(app,), daemon=True).start()

    def close(self) -> None:
        for pod in self._running:
            pod.terminate()
            pod.wait()

    def _run(self, app: str) -> None:
        until(lambda: self._kube.objects("deployments", f"{of(app)}"), f"a shell of {app}")
        folder = self._kube.folder / make_shell_name(app)
        folder.mkdir()
        port = free_port()
        self._write(folder, app)
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{port}\nPidFile none\nUsePAM no\nStrictModes no\n"
            f"HostKey {folder}/ssh_host_ed25519_key\n"
            f"HostCertificate {folder}/ssh_host_ed25519_key-cert.pub\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nSetEnv HOME={folder}\n"
        )
        with (folder / "log").open("wb") as log:
            self._running.append(
                subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
            )
        self._tell(app, port)

    def _write(self, folder: Path, app: str) -> None:
        """Write what the kubelet would mount."""
        name = make_shell_name(app)
        config = self._api.named("ConfigMap", self._kube.namespace, name)["data"]
        secret = self._api.named("Secret", self._kube.namespace, name)["data"]
        (folder / "authorized_keys").write_text(config["authorized_keys"])
        for file, content in secret.items():
            (folder / file).touch(mode=0o600)
            (folder / file).write_bytes(base64.b64decode(content))

    def _tell(self, app: str, port: int) -> None:
        """As the controllers of Kubernetes and the kubelet would. Kubernetes takes no loopback address
        for an endpoint; of the slice the gateway reads the port alone."""
        name, labels = make_shell_name(app), dict(make_shell_labels(app))
        owner = self._owner("Deployment", name)
        self._create(
            "apps/v1",
            "ReplicaSet",
            {"name": f"{name}-0", "labels": labels, "ownerReferences": [owner]},
            spec={
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": CONTAINER, "image": "by-hand"}]},
                },
            },
        )
        owner = self._owner("ReplicaSet", f"{name}-0")
        pod = {"name": f"{name}-0", "labels": labels, "ownerReferences": [owner]}
        ports = [{"name": "ssh", "containerPort": port, "protocol": "TCP"}]
        container: dict[str, Any] = {"name": CONTAINER, "image": "by-hand", "ports": ports}
        made = self._create("v1", "Pod", pod, spec={"nodeName": "n", "containers": [container]})
        ready = {"type": "Ready", "status": "True"}
        state = {"name": CONTAINER, "ready": True, "restartCount": 0, "image": "by-hand"}
        status = {
            "phase": "Running",
            "podIP": "127.0.0.1",
            "podIPs": [{"ip": "127.0.0.1"}],
            "conditions": [ready],
            "containerStatuses": [{**state, "imageID": "", "state": {"running": {}}}],
        }
        answer = self._api.merge(made, {"status": status}, "status")
        assert answer.ok, answer.message

    def _owner(self, kind: str, name: str) -> dict[str, Any]:
        """A reference to it (metav1 OwnerReference)."""
        uid = self._api.named(kind, self._kube.namespace, name)["metadata"]["uid"]
        return {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": True}

    def _create(self, version: str, kind: str, metadata: Manifest, **rest: Any) -> Manifest:
        about = {"namespace": self._kube.namespace, **metadata}
        manifest = {"apiVersion": version, "kind": kind, "metadata": about, **rest}
        made = self._api.create(manifest)
        assert made.ok, made.message
        return manifest


def of(app: str) -> str:
    """The selector of all that belongs to an app's shell."""
    return ",".join(f"{key}={value}" for key, value in make_shell_labels(app).items())
