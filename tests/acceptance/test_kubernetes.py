"""`script/demo --kubernetes` on the real cluster: what it prints works, and nothing of it stays."""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance import kubernetes_tools as tools
from acceptance.clients import CLIENTS
from acceptance.kubernetes_apps import app
from acceptance.kubernetes_show import event_of
from acceptance.prompted import run
from stagedoor.demo.show import describe
from stagedoor.model.errors import StagedoorError
from tests.demo.test_show import Demo
from tests.fixtures.cluster import Cluster, cluster
from tests.pace import allow
from tests.waiting import wait_until

__all__ = ["cluster"]
ROOT = Path(__file__).resolve().parents[2]
DEMO = [sys.executable, "-m", "acceptance", "--kubernetes"]
BOUND_S = allow(540.0)
"""Its images are built where the sources have changed."""
REMOVED_S = allow(180.0)
KINDS = "namespaces,clusterroles,clusterrolebindings,validatingadmissionpolicies"
CLUSTER = pytest.mark.timeout(600)


@pytest.fixture
def environment(cluster: Cluster, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a demo that finds the tests' cluster, with its own temporary folder."""
    state = str(cluster.place.state)
    return {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "STAGEDOOR_CLUSTER_STATE": state,
        "PYTHONPATH": str(ROOT),
    }


def assert_nothing_is_left(cluster: Cluster, said: str) -> None:
    """Return the cluster-wide objects that the demo with this output made: another may run beside it.

    But one policy that refuses nothing stays, if the cluster had none of its kind.
    """
    [word] = set(re.findall(r"--namespace stagedoor-demo-([0-9a-f]+)", said))
    names = cluster.kubectl("get", KINDS, "-o", "name").split()
    its = [name for name in names if f"stagedoor-demo-{word}" in name or f"/apps-{word}" in name]
    assert [name for name in its if "/anchor.stagedoor." not in name] == []


@CLUSTER
def test_the_check_drives_every_way_in_on_the_cluster_and_passes(
    cluster: Cluster, environment: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [*DEMO, "--check", "--json"],
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
        env=environment,
    )
    assert done.stdout, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert [row for row in rows.values() if row["result"] == "FAILED"] == [], done.stderr
    assert done.returncode == 0
    wanted = {
        *(client.name for client in CLIENTS),
        "the first login starts the shell",
        "the shell has the app's environment",
        "scp (sftp protocol)",
        "LocalForward to the app's Service",
        "ssh -J",
        "ssh app01@gateway",
        "WebShell by HTTP and WebSocket",
        "WebShell in a browser",
        "stagedoor attach",
        "ssh dev@gateway run",
        "stagedoor run",
        "refused: no grant",
        "grant remove closes what it covered",
        "the serving pods are as they were",
    }
    assert wanted <= rows.keys()
    missing = [row for row in rows.values() if row["result"] == "not here"]
    assert not missing or os.environ.get("CI") != "true", missing
    assert_nothing_is_left(cluster, done.stderr)
    assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def demo(folder: Path, environment: dict[str, str]) -> Iterator[Demo]:
    with Demo(folder, [*DEMO], environment) as running:
        try:
            yield running
        finally:
            if running.process.poll() is None:
                os.kill(running.process.pid, signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.process.wait(REMOVED_S)


@CLUSTER
def test_what_it_prints_works_and_ctrl_c_removes_what_it_made(
    cluster: Cluster, environment: dict[str, str], tmp_path: Path
) -> None:
    with demo(tmp_path, environment) as shown:
        assert "uid 12345" in shown.line("says it's", within_s=BOUND_S)
        for host, config in (("app01.ssh", "/ssh_config"), ("app01@", "/jump_config")):
            command = shlex.split(shown.line("ssh -F", config, host).strip())
            done = run([*command, "echo $APP_NAME"], timeout_s=60.0)
            assert done.stdout == b"app01\n", done.stderr
        shown.line("dev → app01", "open, from")
        lines = [shlex.split(line) for line in shown.lines if "script/cluster" in line]
        assert len(lines) == 6
        with subprocess.Popen(
            [*command, "echo inside; cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as stays:
            assert stays.stdout is not None
            assert stays.stdout.readline() == "inside\n"
            for words in lines:
                result = subprocess.run(words, capture_output=True, text=True, env=environment)
                assert result.returncode == 0, (words, result.stderr)
                assert result.stdout, words
            stays.kill()
        os.kill(shown.process.pid, signal.SIGINT)
        assert shown.process.wait(REMOVED_S) == 0, shown.lines
    assert_nothing_is_left(cluster, "\n".join(shown.lines))
    assert list(tmp_path.iterdir()) == []


def test_outside_a_checkout_it_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "_ROOT", tmp_path)
    with pytest.raises(StagedoorError, match=r"in a checkout, run: script/demo --kubernetes$"):
        tools.find_checkout()


def test_programs_that_are_missing_are_named_with_their_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StagedoorError, match=r"apt-get install binutils buildah .*patchelf$"):
        tools.find_checkout()


def test_a_program_that_fails_is_told_with_what_it_said(tmp_path: Path) -> None:
    program = tmp_path / "script"
    program.write_text("#!/bin/sh\necho no such thing >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(StagedoorError, match=r"^script one two ended with 3: no such thing$"):
        tools.Checkout(tmp_path).run("script", "one", "two", "three")


def test_a_program_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    program, pid_file = tmp_path / "script", tmp_path / "pid"
    program.write_text(f"#!/bin/sh\nsleep 300 &\necho $! >{pid_file}\nwait\n")
    program.chmod(0o755)
    with pytest.raises(StagedoorError, match="took longer than 5 s"):
        tools.Checkout(tmp_path).run("script", within_s=5)
    stat = Path(f"/proc/{pid_file.read_text().strip()}/stat")

    def dead() -> bool:
        with contextlib.suppress(OSError):
            return stat.read_text().rpartition(")")[2].split()[0] == "Z"
        return True

    wait_until(dead)  # the signal is on its way when it has been sent


def test_an_app_of_the_demo_is_opted_in_and_has_what_an_app_has() -> None:
    manifests = {manifest["kind"]: manifest for manifest in app("apps", "app01", "image:1")}
    assert list(manifests) == ["Secret", "Deployment", "Service", "Ingress"]
    assert manifests["Deployment"]["metadata"]["labels"]["stagedoor.dev/shell"] == "true"
    assert {manifest["metadata"]["namespace"] for manifest in manifests.values()} == {"apps"}


def test_a_line_of_the_audit_is_shown_as_the_store_s_own_entry_is() -> None:
    line = {
        "seq": 7,
        "at": "2026-12-31T18:00:00Z",
        "kind": "session.opened",
        "session": "0199",
        "identity": "dev",
        "target": "app01",
        "source": "192.0.2.1:5",
        "way": "connect",
        "reason": None,
        "instance": "gateway/1",
        "fields": {},
    }
    shown = describe(event_of(json.dumps(line)))
    assert shown is not None
    assert (shown.text, shown.good) == ("dev → app01  open, from 192.0.2.1:5", True)
