"""Tunnels on a real cluster: the endpoint in the pod keeps them while gateways come and go."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from stagedoor.admin.service import read_policy, remove_grant
from stagedoor.resume.messages import GREETING
from stagedoor.shells.kubernetes.live.lifecycle import Activity, read_activity
from stagedoor.store.sessions import list_sessions
from stagedoor.upstream.shell_endpoint import SOCKET
from stagedoor.wire.tunnel.frames import OPEN, encode
from tests.fixtures.cluster import KubeGateway, until
from tests.fixtures.laptop import far_socket
from tests.kube.test_webshell import RESTRICTED, kill_gateway
from tests.pace import allow
from tests.path.wire_cut import cutting
from tests.ports import free_port
from tests.stopped import killed
from tests.waiting import BOUND_S

Make = Callable[..., KubeGateway]
pytestmark = pytest.mark.timeout(400)  # real clocks, on a machine that does other things too

END_S = allow(5.0)
COUNTS = 200_000
IDLE_S = round(allow(20))
"""A shell's idle stop: longer than a login takes on a busy machine."""
AWAY_S = 60
RESUME_PORT = 2223


def at_one_port() -> str:
    """Settings of a gateway that listens at the same port after it was killed."""
    return f'[tunnel]\naddresses = ["127.0.0.1:{free_port()}"]\n'


def keeps_tunnels(kube: KubeGateway) -> bool:
    """Return whether the endpoint on the gateway's own machine was started."""
    return (kube.gateway.data_dir / "resume/control").exists()


def activity(kube: KubeGateway) -> Activity | None:
    """Return what the shell last reported, as the controller reads it: lines of sshd may follow."""
    return read_activity(kube.kubectl("logs", kube.shell_pod(), "-c", "shell"))


def pod_address(kube: KubeGateway, app: str) -> str:
    [pod] = kube.objects("pods", f"stagedoor.dev/shell-of={app}")
    return str(pod["status"]["podIP"])


def is_cut(address: str, ticket: bytes) -> bool:
    """Return whether the endpoint hangs up on a ticket; it greets the client of a good one."""
    with socket.create_connection((address, RESUME_PORT), timeout=BOUND_S) as data:
        data.sendall(encode(OPEN, 0, ticket))
        with suppress(ConnectionResetError):
            return data.recv(100) == b""
        return True


@pytest.mark.continuity(6)
def test_ssh_goes_on_when_its_gateway_is_killed_and_another_takes_over(
    make_kube: Make, fresh_namespace: Callable[..., str]
) -> None:
    namespace = fresh_namespace({"pod-security.kubernetes.io/enforce": "restricted"})
    kube = make_kube(namespace, more=at_one_port())
    kube.app(securityContext=RESTRICTED)
    count = f"i=0; while [ $i -lt {COUNTS} ]; do echo $i; i=$((i+1)); done; read end; exit 7"
    with kube.inside("app01") as session:
        assert session.run("here=still; echo $here") == "still"
        command = kube.ssh_command("app01.ssh", count)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as counter:
            assert counter.stdin is not None
            assert counter.stdout is not None
            shown = [counter.stdout.readline()]
            rest = threading.Thread(target=lambda: shown.extend(counter.stdout or ()))
            rest.start()
            kill_gateway(kube)
            assert session.run("echo $here-there") == "still-there"
            counter.stdin.write(b"end\n")
            counter.stdin.close()
            rest.join(BOUND_S * 2)
            assert counter.wait(BOUND_S) == 7
        assert [int(line) for line in shown] == list(range(COUNTS))
        # If the gateway is away longer than GONE_TIMEOUT_S when ssh ends, the pod does not learn of the
        # end and keeps the session for `resume_s`. So both sessions end while there is a gateway.
        until(
            lambda: activity(kube) == Activity(1, 0), "the pod has learned that one session ended"
        )
        kill_gateway(kube)
        assert session.run("echo once more") == "once more"
    assert not keeps_tunnels(kube)
    until(
        lambda: activity(kube) == Activity(0, 0), "the gateway's login does not keep the shell busy"
    )


@contextmanager
def client_away(kube: KubeGateway) -> Iterator[Callable[[], bool]]:
    """Run a program in app01's shell, and yield what says whether it runs while its client is away."""
    pod = kube.shell_pod()

    def runs() -> bool:
        listed = kube.kubectl("exec", pod, "-c", "shell", "--", "/kit/busybox/ps", "-o", "args")
        return "sleep 4242" in listed.splitlines()

    with cutting(kube.gateway.port(), 1, most=1, cuts=0) as wire:
        at_wire = f"127.0.0.1:{wire.port}"
        words = kube.ssh_command("-tt", "app01.ssh", "sleep 4242")
        command = [word.replace(f"127.0.0.1:{kube.gateway.port()}", at_wire) for word in words]
        ssh = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        with killed(ssh):
            until(runs, "the program runs")
            wire.close_wire()
            assert runs()
            yield runs


@pytest.mark.continuity(8)
def test_a_grant_that_is_removed_while_the_client_is_away_ends_its_programs(
    make_kube: Make,
) -> None:
    kube = make_kube()
    kube.app()
    kube.must("app01")
    with client_away(kube) as runs:
        with kube.gateway.changed() as service:
            [rule] = read_policy(service).grants
            remove_grant(service, rule.id)
        until(lambda: not runs(), "the program has ended", END_S)
    ends = [event for event in kube.gateway.audit() if event["kind"] == "session.closed"]
    assert ends[-1]["reason"] == "revoked"


def test_a_client_that_is_away_keeps_its_shell_for_a_time_of_its_own(make_kube: Make) -> None:
    """It is longer here than the shell's own idle stop."""
    kube = make_kube(more=f"{at_one_port()}resume_s = {AWAY_S}\n", idle_stop_s=IDLE_S)
    kube.app()
    kube.must("app01")
    with client_away(kube) as runs:
        since = time.monotonic()
        with kube.gateway.service() as service:
            until(
                lambda: not list_sessions(service.database), "the session ends", allow(2 * AWAY_S)
            )
        assert time.monotonic() - since > AWAY_S - 5
        assert kube.objects("pods"), "the shell is there"
        until(lambda: not runs(), "the program has ended", END_S)
    ends = [event for event in kube.gateway.audit() if event["kind"] == "session.closed"]
    assert ends[-1]["reason"] == "downstream_lost"
    until(lambda: kube.objects("pods") == [], "it is scaled to zero")


@pytest.mark.continuity(9)
def test_a_ticket_is_good_once_and_in_its_own_shell(make_kube: Make) -> None:
    """A developer may ask the private socket of their own shell, and gains nothing by it elsewhere."""
    kube = make_kube()
    kube.app("app01")
    kube.app("app02")
    kube.must("app01")
    with far_socket(kube.ssh_command("app02.ssh"), SOCKET) as control:
        lines = control.makefile("rw")
        assert lines.readline() == f"{GREETING}\n"
        lines.write(f"{GREETING}\nopen 1 {os.urandom(16).hex()} s1 60 0 - mallory app01.ssh\n")
        lines.flush()
        answer = lines.readline()
        assert answer.startswith("ticket 1 ")
        ticket = bytes.fromhex(answer.split()[2])
        assert is_cut(pod_address(kube, "app01"), ticket)
        assert is_cut(pod_address(kube, "app02"), os.urandom(32))
        assert not is_cut(pod_address(kube, "app02"), ticket)
        assert is_cut(pod_address(kube, "app02"), ticket)


@pytest.mark.continuity(15)
def test_a_shell_without_an_endpoint_has_that_of_the_gateway(make_kube: Make) -> None:
    kube = make_kube()
    kube.app()
    kube.must("app01", "mv /run/stagedoor/tunnels /run/stagedoor/gone", access_method="jump")
    assert kube.must("app01", "echo here") == "here\n"
    assert keeps_tunnels(kube)
