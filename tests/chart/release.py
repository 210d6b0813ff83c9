"""Stagedoor installed on the test cluster by helm, and a developer in front of it."""

import json
import socket
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from acceptance.kubernetes_tools import ONE_PYTHON, find_checkout, gateway_image
from tests.chart.chart import CHART, helm, merged, render
from tests.cluster.asking import Manifest
from tests.fixtures.cluster import Cluster
from tests.fixtures.laptop import new_key, write_ssh_config
from tests.kube.apps import deployment
from tests.listeners.wire import bearer, head
from tests.pace import allow
from tests.store.server import PASSWORD, PostgresqlHere, name_of
from tests.waiting import pause_s

BOUND_S = allow(240.0)
_TUNNEL_PORT = 8022
"""The container's, in the chart."""
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def _is_known(address: str, first: str, token: str) -> bool:
    """Return whether the gateway there minds the app, which does not exist, rather than the token."""
    with socket.create_connection((address, _TUNNEL_PORT), timeout=BOUND_S) as sock:
        sock.sendall(first.encode() + head("nobody.ssh:22", bearer(token)))
        got = b""
        while b"\r\n" not in got and (more := sock.recv(64)):
            got += more
    return got.startswith(b"HTTP/1.1 ") and not got.startswith(b"HTTP/1.1 407")


def of_checkout(cluster: Cluster, kit: str) -> Manifest:
    """Values with the images of this checkout, reached by way of the cluster's node."""
    (image, _, tag), (kit_image, _, kit_tag) = (
        name.rpartition(":") for name in (gateway_image(find_checkout()), kit)
    )
    return {
        "image": {"repository": image, "tag": tag},
        "kit": {"repository": kit_image, "tag": kit_tag},
        "gateway": {
            "ssh": {"hostNames": ["gw", cluster.node_address]},
            "service": {"type": "NodePort"},
        },
    }


def of_trial(cluster: Cluster, kit: str) -> Manifest:
    """Values of one pod that stops at once, and whose store goes with it."""
    trial: Manifest = {
        "store": {"sqlite": {"enabled": True, "persistence": {"enabled": False}}},
        "gateway": {"replicas": 1, "drainSeconds": 5, "preStopSeconds": 0},
    }
    return merged(of_checkout(cluster, kit), trial)


def open_to_pods(postgresql: PostgresqlHere, address: str) -> PostgresqlHere:
    """Let pods in as well: they come from the cluster's own network, without TLS here."""
    with (postgresql.data / "pg_hba.conf").open("a") as file:
        file.write("host all all 10.0.0.0/8 scram-sha-256\n")
    postgresql.stop()
    postgresql.listen = address
    postgresql.start()
    return postgresql


class Release:
    """`stagedoor` in the namespace `own`, for the apps of `apps`; `dev` has a key there."""

    def __init__(
        self, cluster: Cluster, own: str, apps: str, folder: Path, values: Manifest
    ) -> None:
        self.cluster = cluster
        self.own = own
        self.apps = apps
        self.folder = folder
        self.values = values
        self.postgresql: PostgresqlHere | None = None
        """Its database's server, where it is the test's own."""
        self.api = cluster.administrator
        self.token = ""
        """The developer's, from `welcome` on."""
        self.key = new_key(folder / "id_ed25519")

    def helm(self, *arguments: str, values: Manifest | None = None) -> str:
        done = helm(
            *(*arguments, "--namespace", self.own, "--kubeconfig", str(self.cluster.kubeconfig)),
            values=values,
        )
        assert done.returncode == 0, done.stderr + self.story()
        return done.stdout

    def install(self) -> str:
        """Return what helm says in the end."""
        return self.helm(
            *("install", "stagedoor", str(CHART), "--wait", "--timeout", f"{BOUND_S:.0f}s"),
            values=self.values,
        )

    def upgrade(self, values: Manifest) -> None:
        self.values = merged(self.values, values)
        self.helm(
            *("upgrade", "stagedoor", str(CHART), "--wait", "--timeout", f"{BOUND_S:.0f}s"),
            values=self.values,
        )

    def roll_back(self) -> None:
        """Return to the values of the revision before."""
        self.helm("rollback", "stagedoor", "--wait", "--timeout", f"{BOUND_S:.0f}s")

    def evict(self, pod: str) -> bool:
        """Evict a pod, as `kubectl drain` does. Return False if its budget does not allow it yet."""
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        path = f"/api/v1/namespaces/{self.own}/pods/{pod}/eviction"
        answer = self.api.request("POST", path, eviction)
        assert answer.ok or answer.status == 429, answer.message
        return answer.ok

    def uninstall(self) -> None:
        """Without the hook that waits for who is inside: the namespaces go as well."""
        self.helm("uninstall", "stagedoor", "--ignore-not-found", "--wait=false", "--no-hooks")
        forget(self.cluster, f"anchor.stagedoor.{self.own}")

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        return self.cluster.kubectl("-n", self.own, *arguments, text=text)

    def stagedoor(self, *arguments: str, text: str = "") -> str:
        """A command in one of the gateway's pods, as an administrator runs it."""
        where = ("exec", "-i", "deploy/stagedoor-gateway", "-c", "gateway", "--")
        return self.kubectl(*where, "stagedoor", *arguments, text=text)

    def in_one_process(self, *commands: tuple[str, str]) -> list[str]:
        """Return what commands print in one of the gateway's pods, each given as its words and its input."""
        where = ("exec", "-i", "deploy/stagedoor-gateway", "-c", "gateway", "--", *ONE_PYTHON)
        text = json.dumps([(words.split(), read) for words, read in commands])
        printed: list[str] = json.loads(self.kubectl(*where, text=text))
        return printed

    def welcome(self, first: str = "") -> None:
        """The developer, a key, a grant and a token, of which every gateway has heard; ssh's configuration.

        `first` is what the gateways' doors want said first.
        """
        *_, ca, made = self.in_one_process(
            ("user add dev --no-password", ""),
            ("key add dev -", self.key.with_suffix(".pub").read_text()),
            ("grant add user:dev * --allow run", ""),
            ("ca show host", ""),
            ("token create dev --json", ""),
        )
        authority = " ".join(ca.split()[:2])
        known = self.folder / "known_hosts"
        known.write_text(f"@cert-authority * {authority}\n")
        write_ssh_config(
            self.folder / "config",
            self.key,
            hosts=f"Host gw\n  HostName {self.cluster.node_address}\n  Port {self.port('ssh')}\n"
            "  User dev\nHost *.ssh\n  ProxyJump gw\n",
            known_hosts=known,
        )
        self.token = str(json.loads(made)["token"])
        # Who has heard of it has heard of all that was before.
        for pod in self.pods():
            address = str(pod["status"]["podIP"])
            until("the token is known", partial(_is_known, address, first, self.token))

    def port(self, name: str) -> int:
        """The NodePort of one of the gateway's doors."""
        service = self.api.named("Service", self.own, "stagedoor")
        return int(next(p["nodePort"] for p in service["spec"]["ports"] if p["name"] == name))

    def app(self, name: str = "app01", **how: object) -> None:
        """An app that Pod Security `restricted` would take."""
        image = self.cluster.image("busybox")
        manifest = deployment(self.apps, name, image, **how)
        self.api.has(manifest)

    def ssh_command(self, *arguments: str) -> list[str]:
        return ["ssh", "-F", str(self.folder / "config"), *arguments]

    def ssh(self, *arguments: str, within_s: float = BOUND_S) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.ssh_command(*arguments),
            capture_output=True,
            text=True,
            timeout=within_s,
            stdin=subprocess.DEVNULL,
        )

    def pods(self, component: str = "gateway") -> list[Manifest]:
        """Return the pods of a component that are not being deleted."""
        objects = self.api.listed(self.own, "pods", f"app.kubernetes.io/component={component}")
        return [pod for pod in objects if not pod["metadata"].get("deletionTimestamp")]

    def story(self) -> str:
        """Return what the pods say, for a test that has failed."""
        notes = []
        for arguments in (
            ("get", "pods", "-o", "wide"),
            ("get", "events", "--sort-by=.lastTimestamp"),
            ("logs", "-l", "app.kubernetes.io/name=stagedoor", "--all-containers", "--tail=40"),
        ):
            try:
                notes.append(self.kubectl(*arguments))
            except subprocess.CalledProcessError as error:
                notes.append(str(error.stderr))
        return "\n".join(notes)


def anchor(cluster: Cluster) -> None:
    """One that stays while the cluster is there, for the API server's sake (see the chart's own):
    each release leaves one behind, and here these are removed.
    """
    made = [
        manifest
        for manifest in render(apps={"namespaces": [{"name": "none"}]}, namespace="tests")
        if manifest["metadata"]["name"] == "anchor.stagedoor.tests"
    ]
    assert len(made) == 2
    for manifest in made:
        cluster.administrator.has(manifest)


def forget(cluster: Cluster, *names: str) -> None:
    """Remove policies of those names, with their bindings."""
    for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
        cluster.administrator.forget(kind, *names)


def database(postgresql: PostgresqlHere, cluster: Cluster) -> tuple[str, str]:
    """A fresh database: its URL as pods see it, and the role's password."""
    name = name_of(postgresql.database())
    address = f"{cluster.host_address}:{postgresql.port}"
    return f"postgresql://stagedoor@{address}/{name}?sslmode=disable", PASSWORD


def until(what: str, happens: Callable[[], bool], within_s: float = BOUND_S) -> None:
    """Ask again until it is so: there is no event for it."""
    began = time.monotonic()
    while not happens():
        waited_s = time.monotonic() - began
        assert waited_s < within_s, f"not within {within_s:.0f} s: {what}"
        time.sleep(pause_s(waited_s))
