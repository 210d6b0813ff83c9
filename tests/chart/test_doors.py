"""A trial of the chart behind a load balancer: PROXY protocol, TLS, and a store that outlives its pod."""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stagedoor.net.tls import make_client_context
from tests.chart.chart import merged
from tests.chart.release import RESTRICTED, Release, anchor, of_trial, until
from tests.cluster.asking import Manifest
from tests.fixtures.cluster import Cluster
from tests.kube.api.lone import make_ca, sign
from tests.listeners.wire import bearer, head
from tests.waiting import BOUND_S

pytestmark = pytest.mark.timeout(600)

DEVELOPER = "203.0.113.9"
"""An address that only a load balancer can vouch for (RFC 5737)."""
PROXY = f"PROXY TCP4 {DEVELOPER} 192.0.2.1 40000 443\r\n"
# As a ProxyCommand: first the load balancer's line, then whatever ssh says.
BALANCER = f"""
import socket, sys, threading
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60)
sock.sendall({PROXY.encode()!r})
def back():
    while data := sock.recv(65536):
        sys.stdout.buffer.write(data); sys.stdout.buffer.flush()
threading.Thread(target=back, daemon=True).start()
while data := sys.stdin.buffer.read1(65536):
    sock.sendall(data)
"""


@pytest.fixture(scope="module")
def release(
    cluster: Cluster, kit: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Release]:
    anchor(cluster)
    own, apps = (f"test-{kind}-{uuid.uuid4().hex[:8]}" for kind in ("doors", "apps"))
    folder = tmp_path_factory.mktemp("doors")
    # The node sees this folder, and nothing that was mounted since its start.
    volume = cluster.place.state / own
    disk_of = {"enabled": True, "size": "1Mi", "storageClassName": own}
    more: Manifest = {
        "apps": {"namespaces": [{"name": apps}]},
        "store": {"sqlite": {"persistence": disk_of}},
        "gateway": {
            "networks": [f"{DEVELOPER}/32"],
            "proxyProtocolFrom": [f"{cluster.host_address}/32"],
            "tls": {"secretName": "doors-tls"},
        },
    }
    made = Release(cluster, own, apps, folder, merged(of_trial(cluster, kit), more))
    cluster.administrator.make_namespace(own, RESTRICTED)
    cluster.administrator.make_namespace(apps)
    try:
        disk(made, volume)
        certificate(made, folder)
        made.install()
        # kube-proxy follows the Service a moment later, on a node that has just begun by seconds.
        until("the Service leads to it", lambda: answers(made))
        made.welcome(PROXY)
        yield made
    finally:
        made.uninstall()
        cluster.administrator.forget("Namespace", own, apps)
        cluster.administrator.forget("PersistentVolume", own)
        shutil.rmtree(volume, ignore_errors=True)


def disk(release: Release, folder: Path) -> None:
    """A volume that the chart's claim is bound to: the cluster of the tests makes none by itself."""
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)  # a hostPath is not given to the pod's fsGroup
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": release.own},
        "spec": {
            "capacity": {"storage": "1Mi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": release.own,
            "hostPath": {"path": str(folder), "type": "Directory"},
        },
    }
    release.api.has(volume)


def certificate(release: Release, folder: Path) -> None:
    make_ca(folder)
    sign(folder, "door", "/CN=gw", f"subjectAltName=IP:{release.cluster.node_address}")
    release.kubectl(
        *("create", "secret", "tls", "doors-tls"),
        *(f"--cert={folder}/door.crt", f"--key={folder}/door.key"),
    )


@contextlib.contextmanager
def door(release: Release, name: str, first: str) -> Iterator[socket.socket]:
    """A connection to one of the gateway's ports, on which `first` was said."""
    address = (release.cluster.node_address, release.port(name))
    with socket.create_connection(address, timeout=60) as sock:
        sock.sendall(first.encode())
        yield sock


def answer(sock: socket.socket, token: str, until_text: bytes = b"\r\n\r\n") -> bytes:
    """Return the answer to a CONNECT, as far as `until_text` or the end."""
    sock.sendall(head("app01.ssh:22", bearer(token)))
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while until_text not in got and (more := sock.recv(4096)):
            got += more
    return got


def last_opened(release: Release) -> dict[str, str]:
    events = [json.loads(line) for line in release.stagedoor("audit", "--json").splitlines()]
    return [event for event in events if event["kind"] == "session.opened"][-1]


def ssh(release: Release, *command: str) -> "subprocess.CompletedProcess[str]":
    """Through the jump host, behind the load balancer."""
    script = release.folder / "balancer.py"
    script.write_text(BALANCER)
    way = f"{sys.executable} {script} {release.cluster.node_address} {release.port('ssh')}"
    (release.folder / "behind").write_text(
        f"Host gw\n  ProxyCommand {way}\n" + (release.folder / "config").read_text()
    )
    return subprocess.run(
        ["ssh", "-F", release.folder / "behind", "app01.ssh", *command],
        capture_output=True,
        text=True,
        timeout=240,
        stdin=subprocess.DEVNULL,
    )


def answers(release: Release) -> bool:
    """Return whether a pod takes a connection to the Service's port for SSH."""
    address = (release.cluster.node_address, int(release.port("ssh")))
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=BOUND_S):
        return True
    return False


def test_the_load_balancer_s_word_stands_in_the_audit_over_tls_in_the_clear_and_over_ssh(
    release: Release,
) -> None:
    release.app()
    token = release.token
    context = make_client_context(release.folder / "ca.crt")
    with door(release, "tls", PROXY) as plain:
        name = release.cluster.node_address
        with context.wrap_socket(plain, server_hostname=name) as sock:
            got = answer(sock, token, b"\r\n\r\nSSH-2.0-")
    assert got.startswith(b"HTTP/1.1 200"), got
    assert last_opened(release)["source"].startswith(f"{DEVELOPER}:")
    with door(release, "tunnel", PROXY) as sock:
        assert answer(sock, token).startswith(b"HTTP/1.1 200")
    assert last_opened(release)["source"].startswith(f"{DEVELOPER}:")
    done = ssh(release, "echo here")
    assert done.stdout == "here\n", done.stderr + release.story()
    opened = last_opened(release)
    assert (opened["way"], opened["source"].rpartition(":")[0]) == ("jump", DEVELOPER)


def test_who_comes_past_the_load_balancer_or_from_elsewhere_is_not_let_in(release: Release) -> None:
    token = release.token
    with door(release, "tunnel", "") as sock:
        assert not answer(sock, token).startswith(b"HTTP/1.1 200")
    elsewhere = PROXY.replace(DEVELOPER, "198.51.100.7")
    with door(release, "tunnel", elsewhere) as sock:
        assert answer(sock, token).startswith(b"HTTP/1.1 403")


def test_people_grants_and_the_audit_outlive_the_pod(
    release: Release, record_property: Callable[[str, object], None]
) -> None:
    release.app()
    assert ssh(release, "true").returncode == 0
    before = {pod["metadata"]["name"] for pod in release.pods()}
    opened = last_opened(release)["session"]
    release.kubectl("delete", "pod", *before, "--wait=true")
    until(
        "another pod is ready",
        lambda: (
            not {pod["metadata"]["name"] for pod in release.pods()} & before
            and any(
                condition["type"] == "Ready" and condition["status"] == "True"
                for pod in release.pods()
                for condition in pod["status"].get("conditions", ())
            )
        ),
    )
    # Ready is the pod's word to the API; the node's rules for the Service hear of it a moment later.
    until("the Service leads to it", lambda: answers(release))
    done = ssh(release, "echo again")
    assert done.stdout == "again\n", done.stderr + release.story()
    kept = release.stagedoor("audit", "--json")
    assert opened in kept
    assert "dev" in release.stagedoor("user", "list")
