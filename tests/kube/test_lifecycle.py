"""A shell's life on a real cluster: OpenSSH's client, `stagedoor serve`, the controller, the kit.

What passes by the clock alone, a roll-out of the app, and one that is kept warm are in
`tests/controller/test_stories.py`.
"""

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stagedoor.admin.service import add_grant, add_user
from tests.fixtures.cluster import WITHIN_S, Cluster, KubeGateway, shared_kube, until
from tests.fixtures.laptop import new_key, public
from tests.fixtures.people import log_in
from tests.pace import allow

Make = Callable[..., KubeGateway]
pytestmark = pytest.mark.timeout(400)  # real clocks, on a machine that does other things too
GRACE_S = 3
IDLE_S = round(allow(20))
"""Longer than a login takes on a busy machine: until it is through, the shell counts as idle, and a
lease that was renewed a moment ago is not renewed for it."""


@pytest.mark.platform(38)
def test_a_shell_is_started_by_the_first_login_and_gone_when_idle_or_with_its_app(
    make_kube: Make,
) -> None:
    """The app has a GPU, of which the cluster has none; its shell does without."""
    kube = make_kube(idle_stop_s=IDLE_S, idle_delete_s=3)
    gpu = {"limits": {"nvidia.com/gpu": "1"}}
    kube.app(env={"GREETING": 'it\'s "quoted" ü'}, resources=gpu)
    assert kube.left("app01") == []
    assert kube.must("app01", 'echo "$GREETING"') == 'it\'s "quoted" ü\n'
    # Through the jump host it is the same shell; while a developer is inside it stays that.
    with kube.inside("app01"):
        pod = kube.shell_pod()
        assert kube.must("app01", "hostname", access_method="jump").strip() == pod
    # Everything is owned by the app, and nothing of it is selected by the app's own labels.
    for resource in kube.objects("deployments,services,configmaps,secrets,leases"):
        assert [owner["name"] for owner in resource["metadata"]["ownerReferences"]] == ["app01"]
        assert resource["metadata"]["labels"].get("app") is None
    until(lambda: kube.objects("pods") == [], "it is scaled to zero")
    until(lambda: kube.left("app01") == [], "all is deleted")
    # And once more from nothing.
    kube.must("app01")
    kube.kubectl("delete", "deployment", "app01")
    until(lambda: kube.left("app01") == [], "the garbage collector has taken all")
    done = kube.ssh("app01")
    assert done.returncode != 0
    assert "there is no app app01 here" in done.stderr
    assert "stagedoor.dev/shell=true" in done.stderr


def test_a_rollout_of_the_app_never_restarts_a_live_shell_and_reaches_the_next(
    make_kube: Make,
) -> None:
    kube = make_kube(grace_s=GRACE_S)
    kube.app(env={"RELEASE": "1"})

    def stale() -> bool:
        (shell,) = kube.objects("deployments")
        return "stagedoor.dev/stale" in shell["metadata"]["annotations"]

    with kube.inside("app01") as session:
        pod = kube.shell_pod()
        kube.app(env={"RELEASE": "2"})
        until(stale, "the shell is marked stale")
        # The kubelet brings the notice for those inside, and the greeting, within seconds.
        notice = "cat /etc/stagedoor/shell/notice 2>&1 | tail -n 1"
        explanation = (
            "; this shell still has the old version and is replaced when it has no open sessions;"
        )
        until(lambda: explanation in session.run(notice), "those inside are told", 20)
        assert "app01 has changed at 20" in session.run("grep changed /etc/stagedoor/shell/motd")
        assert "ShellOutdated" in kube.kubectl("get", "events.events.k8s.io")
        assert session.run("echo $RELEASE") == "1"
        # Who comes while it is in use comes into the one that is there.
        assert kube.must("app01", "echo $RELEASE") == "1\n"
        assert kube.shell_pod() == pod
    # That it is replaced by itself a minute later is a story of tests/controller.
    kube.gateway.command("app", "stop", "app01", "--yes")
    # A gateway that has not seen the stop yet dials the old pod, and says to try again.
    until(lambda: kube.ssh("app01", "echo $RELEASE").stdout == "2\n", "the new release", 60)
    assert kube.shell_pod() != pod
    # It let the hook know that it ended, and that one the kubelet, though the image's STOPSIGNAL is SIGKILL.
    assert "PreStopHook" not in kube.kubectl("get", "events.events.k8s.io")


@pytest.fixture(scope="module")
def entered(
    cluster: Cluster, kit: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KubeGateway]:
    """One whose app01 has a shell that runs, for tests that neither stop it nor change its app."""
    with shared_kube(cluster, kit, tmp_path_factory.mktemp("entered")) as kube:
        kube.app()
        kube.must("app01")
        yield kube


def test_who_gains_or_loses_a_key_or_grant_gets_in_or_not_within_seconds_in_a_running_shell(
    entered: KubeGateway,
) -> None:
    kube = entered

    def allowed() -> str:
        (config,) = kube.objects("configmaps")
        return str(config["data"]["authorized_keys"])

    assert "dev" in allowed()
    grants = json.loads(kube.gateway.command("grant", "list", "--json").stdout)
    (grant,) = [candidate for candidate in grants if "user:dev" in candidate.values()]
    kube.gateway.command("grant", "remove", str(grant["id"]))
    until(lambda: " dev" not in allowed(), "the ConfigMap follows", 30)
    assert kube.ssh("app01").returncode != 0
    kube.gateway.command("grant", "add", "user:dev", "app01")
    until(lambda: " dev" in allowed(), "the ConfigMap follows", 30)
    # The kubelet by itself would look once a minute.
    until(lambda: kube.ssh("app01").returncode == 0, "the pod has the new file", 45)


@pytest.mark.identity(23)
def test_a_stolen_key_certificate_and_secret_are_refused_once_the_sign_in_has_ended(
    entered: KubeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By direct login, as a jump host and by CONNECT, into a shell that runs, and by the shell's own sshd,
    which whoever may CONNECT reaches; on a quiet machine within five seconds."""
    kube, stolen, own = entered, new_key(tmp_path / "stolen"), str(entered.token_file)
    with kube.gateway.changed() as service:
        add_user(service, "alice")
        add_grant(service, "user:alice", "app01")
        secret, sign_in = log_in(service, "alice", public(stolen), 3600.0)
    token_file = tmp_path / "secret"
    token_file.touch(mode=0o600)
    token_file.write_text(secret)
    monkeypatch.setattr(kube, "key", stolen)
    monkeypatch.setattr(kube, "token_file", token_file)
    port = str(kube.gateway.port("ssh"))
    cert = kube.ssh_command("-p", port, "alice@localhost", "cert", access_method="direct")
    made = subprocess.run(cert, capture_output=True, check=True, timeout=WITHIN_S)
    stolen.with_name("stolen-cert.pub").write_bytes(made.stdout)  # which ssh reads beside the key
    jump, connect = (
        kube.ssh_command("app01.ssh", "echo in", access_method=w) for w in ("jump", "connect")
    )
    doors = {
        "direct": kube.ssh_command(
            "-p", port, "app01@localhost", "echo in", access_method="direct"
        ),
        "jump": [word.replace("dev@localhost", "alice@localhost") for word in jump],
        "connect": [word.replace("--user dev", "--user alice") for word in connect],
        "dev's connect": [word.replace(str(token_file), own) for word in connect],
    }

    def tried(door: str) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            doors[door], capture_output=True, timeout=WITHIN_S, stdin=subprocess.DEVNULL
        )

    for door in doors:
        until(lambda door=door: tried(door).stdout == b"in\n", f"{door} lets in")
    kube.gateway.command("sign-in", "end", sign_in.id.hex(), "--yes")
    ended = time.monotonic()
    for door in doors:
        until(lambda door=door: tried(door).returncode == 255, f"{door} refuses")
        print(f"{door} refuses after {time.monotonic() - ended:.1f} s")


def test_a_pod_that_was_replaced_a_moment_ago_is_found_at_its_new_address(
    entered: KubeGateway,
) -> None:
    kube = entered
    before = kube.shell_pod()
    address = json.loads(kube.kubectl("get", "pod", before, "-o", "json"))["status"]["podIP"]

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((address, 2222), timeout=5):
            return True
        return False

    # As an eviction or a dead node does it: gone at once, without a word to those who know it.
    kube.kubectl("delete", "pod", before, "--grace-period=0", "--force")
    # The kubelet hears of it last: until then its sshd takes in a developer who comes.
    until(lambda: not answers(), "the old pod is gone")
    after = kube.must("app01", "hostname").strip()
    assert after != before
    assert kube.pods() == [after]
