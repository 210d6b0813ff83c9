"""What the cluster says where it cannot run: what is wrong, and the command that helps."""

import os
import re
import time
from pathlib import Path

import pytest

from tests.cluster import needs
from tests.cluster.conftest import Machine
from tests.cluster.fault import ClusterError
from tests.cluster.place import ROOT
from tests.cluster.start import START_TIMEOUT_S
from tests.waiting import wait_until


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match=r"needs root.*sudo"):
        needs.check()


def test_on_another_system_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(ClusterError, match="needs Linux; this is darwin"):
        needs.check()


def test_missing_packages_are_named_with_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in needs.PROGRAMS.keys() - {"etcd", "ipset"}:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(needs, "_CNI_FOLDERS", (str(tmp_path / "none"),))
    with pytest.raises(ClusterError) as caught:
        needs.check()
    wanted = "apt-get install containernetworking-plugins etcd-server ipset"
    assert str(caught.value).endswith(wanted)


def test_a_network_in_use_is_named_and_left_alone(machine: Machine) -> None:
    machine.run("ip", "route", "add", "10.244.0.128/25", "dev", "lo")
    before = machine.seen()
    refused = machine.cluster("up", check=False)
    assert refused.returncode == 1
    assert "this machine has a route to 10.244.0.128/25" in refused.stderr
    assert "Traceback" not in refused.stderr
    machine.cluster("down")
    assert machine.left(before) == {}


def test_too_long_a_folder_is_refused_before_anything_starts(machine: Machine) -> None:
    folder = machine.state / ("long" * 25)
    refused = machine.cluster("up", "--state", str(folder), check=False)
    assert refused.returncode == 1
    assert f"{folder} is too long a path for sockets" in refused.stderr
    assert not folder.exists()


def test_a_node_that_dies_while_it_starts_is_told_at_once(machine: Machine) -> None:
    starting = machine.begin(str(ROOT / "script" / "cluster"), "up")
    wait_until((machine.state / "containerd.sock").exists, what="containerd starts")
    began = time.monotonic()
    machine.run("pkill", "-KILL", "-f", "--", "-m tests.cluster.node")
    _, err = starting.communicate(timeout=60)
    assert starting.returncode == 1
    assert time.monotonic() - began < START_TIMEOUT_S / 2, "a dead node was waited for"
    assert re.search(r"the node ended|no cluster runs|the node refused", err), err
    assert "script/cluster down --state" in err


def test_a_program_that_cannot_run_is_told_by_name_and_with_its_last_words(
    machine: Machine, tmp_path: Path
) -> None:
    broken = tmp_path / "bin" / "etcd"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
    broken.chmod(0o755)
    up = f"PATH={broken.parent}:$PATH exec {ROOT}/script/cluster up"
    refused = machine.run("sh", "-c", up, check=False)
    assert refused.returncode == 1
    # Five times are enough to give up; on a busy machine one more may have come before the test looked.
    assert re.search(r"etcd ended [5-9] times while API server was waited for", refused.stderr)
    assert "out of order" in refused.stderr


def test_commands_for_a_cluster_that_is_down_say_how_to_start_it(machine: Machine) -> None:
    for words in (["kubeconfig"], ["kubectl", "get", "pods"], ["stop", "kubelet"]):
        refused = machine.cluster(*words, check=False)
        assert refused.returncode == 1
        assert f"no cluster runs in {machine.state}" in refused.stderr
        assert "script/cluster up" in refused.stderr


def test_the_page_names_commands_that_exist(machine: Machine) -> None:
    page = (ROOT / "docs" / "how-to" / "test-cluster.md").read_text(encoding="utf-8")
    named = set(re.findall(r"script/cluster\s+([a-z-]+)", page))
    known = machine.cluster("--help").stdout
    assert named >= {"up", "down", "kubectl", "load-image", "image", "packages"}
    assert {name for name in named if not re.search(rf"^    {name} ", known, re.MULTILINE)} == set()
