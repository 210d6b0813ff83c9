"""A cluster comes up and goes without a trace, whatever interrupts it."""

import signal
import time
from pathlib import Path

import pytest

from tests.cluster.conftest import Machine
from tests.cluster.place import ROOT
from tests.cluster.start import make_environment

pytestmark = pytest.mark.timeout(600)


def test_a_node_s_programs_collect_garbage_as_often_as_script_test_says() -> None:
    ours = {
        "PATH": "/bin",
        "XDG_CACHE_HOME": "/c",
        "GOGC": "400",
        "GOFLAGS": "-mod=mod",
        "LANG": "C",
    }
    made = make_environment(ours)
    assert made.keys() - {"PYTHONPATH", "HOME", "PYTHONDONTWRITEBYTECODE"} == ours.keys() - {
        "GOFLAGS",
        "LANG",
    }
    assert made["GOGC"] == "400"


def test_up_is_ready_and_down_leaves_nothing(machine: Machine) -> None:
    before = machine.seen()

    # As the workers of a test run do: one starts it, the other waits for that.
    with machine.begin(str(ROOT / "script" / "cluster"), "up") as other:
        output = machine.cluster("up").stdout
        assert "The cluster is ready" in output
        assert "The cluster is ready" in other.communicate(timeout=60)[0]
    assert str(machine.state / "secrets" / "admin.kubeconfig") in output
    assert machine.cluster("status").stdout.startswith("ready: ")
    nodes = machine.cluster("kubectl", "get", "nodes", "--no-headers").stdout.split()
    assert nodes[:2] == ["stagedoor", "Ready"]
    assert machine.seen()["links"] != before["links"], "nothing to leave behind: a blind test"
    stands = machine.cluster("status").stdout
    machine.cluster("up")
    assert machine.cluster("status").stdout == stands, "a second `up` started something"

    machine.cluster("down")
    assert machine.left(before) == {}
    assert machine.cluster("status", check=False).returncode == 3


def test_down_after_the_start_was_killed_at_any_step(machine: Machine) -> None:
    before = machine.seen()
    for sign in ("secrets/ca.crt", "node.sock", "containerd.sock", "log/kubelet.log"):
        starting = machine.begin(str(ROOT / "script" / "cluster"), "up")
        _wait_for(machine.state / sign)
        starting.kill()
        starting.communicate()
        _kill_all(machine, "tests.cluster up")
        machine.cluster("down")
        assert machine.left(before) == {}, f"killed at {sign}"


def test_up_goes_on_where_a_killed_start_ended(machine: Machine) -> None:
    starting = machine.begin(str(ROOT / "script" / "cluster"), "up")
    _wait_for(machine.state / "containerd.sock")
    _kill_all(machine, "tests.cluster up")
    starting.communicate()
    assert "The cluster is ready" in machine.cluster("up").stdout


def test_the_node_killed_takes_everything_with_it(machine: Machine) -> None:
    before = machine.seen()
    machine.cluster("up")
    _kill_all(machine, "tests.cluster.node")
    # No command of ours cleans up here: the kernel does. The link may stay as long as a socket of
    # the node waits for its last answer, so the next start has to cope with it.
    end = time.monotonic() + 60
    while left := machine.left(before).keys() & {"processes", "mounts"}:
        assert time.monotonic() < end, left
    assert "The cluster is ready" in machine.cluster("up").stdout
    machine.cluster("down")
    assert machine.left(before) == {}


def test_a_second_cluster_on_one_machine_is_refused_by_name(machine: Machine) -> None:
    machine.cluster("up")
    refused = machine.cluster("up", "--state", str(machine.state.with_name("2")), check=False)
    assert refused.returncode == 1
    assert f"script/cluster down --state {machine.state}" in refused.stderr
    assert machine.cluster("status").stdout.startswith("ready: ")


def _wait_for(path: Path) -> None:
    end = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not appear"
        time.sleep(0.01)


def _kill_all(machine: Machine, what: str) -> None:
    """SIGKILL to those whose arguments say `what`: on this machine of the test, which sees no other."""
    listed = machine.run("pgrep", "-f", "--", f"-m {what}", check=False).stdout.split()
    for pid in listed:
        machine.run("kill", f"-{signal.SIGKILL}", pid, check=False)
