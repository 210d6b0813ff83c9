"""A gateway with its controller in front of a real cluster, and a developer with OpenSSH's client."""

import contextlib
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from acceptance.kubernetes_tools import find_checkout, kit_image
from stagedoor.admin.certificates.authorities import user_key
from stagedoor.admin.service import add_grant, add_keys, add_user, create_token, open_service
from stagedoor.settings.file import load_settings
from tests.cluster.fixtures import Cluster
from tests.kube.apps import deployment
from tests.openssh import KEX
from tests.pace import allow
from tests.path.gateway import Gateway
from tests.waiting import pause_s

BOUND_S = allow(120.0)
"""How long a test waits for what must come, on a machine that does other things too."""


class KubeGateway:
    """`stagedoor serve` whose default environment is `namespace`; `dev` may enter every app."""

    def __init__(
        self,
        folder: Path,
        cluster: Cluster,
        namespace: str,
        kit: str,
        *,
        controller: bool = True,
        kubeconfig: Path | None = None,
        kubernetes: str = "",
        more: str = "",
        **settings: int | str,
    ) -> None:
        """`settings` are those of `[controller]`, as TOML has them; `kubernetes` is TOML for that table,
        `more` for others."""
        self.cluster = cluster
        self.namespace = namespace
        self.folder = folder
        lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
        self.gateway = Gateway(
            folder,
            f'[kubernetes]\nnamespaces = {{ "" = "{namespace}" }}\n'
            f'kubeconfig = "{kubeconfig or cluster.kubeconfig}"\n'
            f"controller = {str(controller).lower()}\n{kubernetes}\n"
            f'[controller]\nkit_image = "{kit}"\nnamespace = "{namespace}"\n{lines}\n'
            f'[ssh]\naddresses = ["127.0.0.1:0"]\nhost_names = ["localhost", "127.0.0.1"]\n{more}',
        )
        self.key = folder / "id_ed25519"
        self.token_file = folder / "token"
        with open_service(load_settings(self.gateway.file)) as service:
            add_user(service, "dev")
            add_keys(service, "dev", [user_key(self.key)])
            add_grant(service, "user:dev", "*")
            self.token_file.touch(mode=0o600)
            self.token = create_token(service, "dev").text
            self.token_file.write_text(self.token)

    def start(self) -> "KubeGateway":
        self.gateway.start()
        ca = " ".join((self.gateway.data_dir / "keys/host_ca.pub").read_text().split()[:2])
        patterns = "*.ssh,localhost,127.0.0.1,[localhost]:*,[127.0.0.1]:*"
        (self.folder / "known_hosts").write_text(f"@cert-authority {patterns} {ca}\n")
        return self

    def ssh_command(self, *arguments: str, way: str = "connect") -> list[str]:
        """OpenSSH's client as the developer has it set up, through CONNECT (`connect`) or the jump
        host (`jump`), or with no gateway in between (`none`)."""
        base = [
            *("ssh", "-F", "none", "-i", str(self.key)),
            *("-o", f"UserKnownHostsFile={self.folder}/known_hosts"),
            *("-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes"),
            *("-o", "IdentitiesOnly=yes", "-o", KEX),
        ]
        if way == "none":
            return [*base, *arguments]
        if way == "connect":
            command = (
                f"{sys.executable} -m stagedoor tunnel --gateway "
                f"127.0.0.1:{self.gateway.port()} --user dev --token-file {self.token_file} %h %p"
            )
        else:
            port = self.gateway.port("ssh")
            command = " ".join([*base, "-W", "%h:%p", "-p", str(port), "dev@localhost"])
        return [*base, "-o", f"ProxyCommand={command}", *arguments]

    def ssh(
        self, app: str, command: str = "true", *, way: str = "connect", within_s: float = BOUND_S
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.ssh_command(f"{app}.ssh", command, way=way),
            capture_output=True,
            text=True,
            timeout=within_s,
            stdin=subprocess.DEVNULL,
        )

    def must(self, app: str, command: str = "true", *, way: str = "connect") -> str:
        """Return the output of a command in the shell, which must succeed."""
        done = self.ssh(app, command, way=way)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextlib.contextmanager
    def inside(self, app: str, *, way: str = "connect") -> "Iterator[Inside]":
        """A session that stays open, in which lines can be run."""
        process = subprocess.Popen(
            self.ssh_command(f"{app}.ssh", "sh", way=way),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            session = Inside(process)
            assert session.run("echo here") == "here"
            yield session
        finally:
            process.kill()
            process.communicate()

    # The cluster, as its administrator sees it.

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments, text=text)

    def apply(self, manifest: dict[str, Any]) -> None:
        self.cluster.administrator.has(manifest)

    def app(self, name: str = "app01", image: str = "stagedoor.test/busybox:1", **how: Any) -> None:
        self.deploy(deployment(self.namespace, name, image, **how))

    def deploy(self, app: dict[str, Any]) -> None:
        """Apply it, and wait for the gateway to hear of it, by a watch."""
        self.apply(app)
        name = str(app["metadata"]["name"])
        until(lambda: name in self.listed(), f"the gateway knows the app {name}")

    def listed(self) -> list[str]:
        """The apps that the developer is shown."""
        port = str(self.gateway.port("ssh"))
        command = self.ssh_command("-p", port, "dev@localhost", "ls", "--json", way="none")
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
        return [str(app["app"]) for app in json.loads(done.stdout)["apps"]]

    def objects(self, kinds: str, selector: str = "stagedoor.dev/shell-of") -> list[dict[str, Any]]:
        return self.cluster.administrator.listed(self.namespace, kinds, selector)

    def left(self, app: str) -> list[str]:
        """Every object that belongs to an app's shell."""
        kinds = "deployments,replicasets,pods,services,configmaps,secrets,leases,endpointslices"
        resources = self.objects(kinds, f"stagedoor.dev/shell-of={app}")
        return sorted(
            f"{resource['kind']}/{resource['metadata']['name']}" for resource in resources
        )

    def pods(self, app: str = "app01") -> list[str]:
        """The names of a shell's pods that are not being deleted."""
        return [
            str(resource["metadata"]["name"])
            for resource in self.objects("pods", f"stagedoor.dev/shell-of={app}")
            if not resource["metadata"].get("deletionTimestamp")
        ]

    def shell_pod(self, app: str = "app01") -> str:
        """The name of the one pod of a shell."""
        (pod,) = self.pods(app)
        return pod

    def until(self, true: Callable[[], object], what: str, within_s: float = BOUND_S) -> None:
        until(true, what, within_s)


class Inside:
    """A shell at the other end of a session."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def run(self, line: str) -> str:
        """Send a line of shell, and return the line that it prints; empty if the session is over."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        text = self.process.stdout.readline()
        if not text:
            assert self.process.stderr is not None
            raise AssertionError(f"the session is over: {self.process.stderr.read()}")
        return text.rstrip("\n")


def until(true: Callable[[], object], what: str, within_s: float = BOUND_S) -> None:
    """Wait for what has no event to wait for."""
    began = time.monotonic()
    while not true():
        waited_s = time.monotonic() - began
        assert waited_s < within_s, f"not within {within_s:g} s: {what}"
        time.sleep(pause_s(waited_s))


@contextlib.contextmanager
def running(kube: KubeGateway) -> Iterator[KubeGateway]:
    try:
        yield kube.start()
    finally:
        kube.gateway.stop()
        for line in kube.gateway.lines:  # shown by pytest where a test has failed
            print(line)


@contextlib.contextmanager
def shared_kube(cluster: Cluster, kit: str, folder: Path) -> Iterator[KubeGateway]:
    """One for several tests, in a namespace of its own."""
    namespace = f"house-{uuid.uuid4().hex[:10]}"
    try:
        cluster.administrator.make_namespace(namespace)
        with running(KubeGateway(folder, cluster, namespace, kit)) as kube:
            yield kube
    finally:
        cluster.administrator.forget("Namespace", namespace)


@pytest.fixture(scope="session")
def kit(cluster: Cluster) -> str:
    """The sshd kit's image, on the node."""
    cluster.image("busybox")
    return kit_image(find_checkout())


@pytest.fixture
def make_kube(
    cluster: Cluster, fresh_namespace: Callable[..., str], kit: str, tmp_path: Path
) -> Iterator[Callable[..., KubeGateway]]:
    """Return a function that starts gateways, each in a namespace of its own unless one is named."""
    with contextlib.ExitStack() as stack:

        def make(namespace: str | None = None, **how: Any) -> KubeGateway:
            folder = tmp_path / f"house-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            kube = KubeGateway(folder, cluster, namespace or fresh_namespace(), kit, **how)
            return stack.enter_context(running(kube))

        yield make
