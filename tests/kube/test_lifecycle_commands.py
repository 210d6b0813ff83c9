"""`stagedoor app` on a real cluster, and the controller as a process of `stagedoor serve`."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.cluster import KubeGateway, until

Make = Callable[..., KubeGateway]
pytestmark = pytest.mark.timeout(400)  # real clocks, on a machine that does other things too


def listed(kube: KubeGateway) -> dict[str, dict[str, Any]]:
    rows = json.loads(kube.gateway.command("app", "list", "--json").stdout)
    return {row["target"]: row for row in rows}


def test_apps_are_listed_explained_started_looked_into_and_stopped(make_kube: Make) -> None:
    kube = make_kube()
    kube.app("app01", env={"A": "b"})
    kube.app("app02", image="stagedoor.test/no-such-image:1")
    rows = listed(kube)
    assert [(name, row["kind"], row["state"]) for name, row in rows.items()] == [
        ("app01.ssh", "kubernetes", "absent"),
        ("app02.ssh", "kubernetes", "absent"),
    ]

    explained = kube.gateway.command("app", "explain", "app01")
    assert "the shell of Deployment app01" in explained.stdout
    assert json.loads(kube.gateway.command("app", "explain", "app01", "--json").stdout)["notes"]

    started = kube.gateway.command("app", "start", "app01")
    assert "app01.ssh answers at 10." in started.stderr
    with kube.inside("app01") as session:
        row = listed(kube)["app01.ssh"]
        assert (row["state"], row["sessions"]) == ("ready", 1)
        assert row["address"].endswith(":2222")
        until(
            lambda: "busy sessions=1" in kube.gateway.command("app", "logs", "app01").stdout,
            "the shell says who is inside",
        )

        asked = kube.gateway.command("app", "stop", "app01", check=False)
        assert asked.returncode == 2
        assert "use --yes" in asked.stderr
        assert session.run("echo still") == "still"
        stopped = kube.gateway.command("app", "stop", "app01", "--yes")
        assert "Stopped the shell of app01.ssh." in stopped.stderr
        with pytest.raises(AssertionError, match="the session is over"):
            session.run("echo not any more")
    assert listed(kube)["app01.ssh"]["state"] == "absent"
    assert "was not running" in kube.gateway.command("app", "stop", "app01").stderr
    kube.must("app01")

    failed = kube.gateway.command("app", "start", "app02", check=False)
    assert failed.returncode == 1
    assert "no-such-image" in failed.stderr
    row = listed(kube)["app02.ssh"]
    assert row["state"] == "failed"
    assert "pulling image" in row["detail"]


@pytest.mark.parametrize("command", ["explain", "start", "stop", "logs"])
def test_what_is_no_app_is_not_found(make_kube: Make, command: str) -> None:
    kube = make_kube(controller=False)
    done = kube.gateway.command("app", command, "nowhere", check=False)
    assert done.returncode == 3
    assert "nowhere" in done.stderr


def test_the_controller_of_serve_is_started_again_when_it_dies(make_kube: Make) -> None:
    kube = make_kube()
    kube.app()

    def controller() -> list[int]:
        return [
            pid
            for pid in kube.gateway.worker_pids()
            if b"stagedoor.serve.controller" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]

    kube.gateway.wait_for(lambda line: line["event"] == "controller leads")
    (before,) = controller()
    seen = len(kube.gateway.lines)
    os.kill(before, signal.SIGKILL)
    kube.gateway.wait_for(lambda line: line["event"] == "controller leads", after=seen)
    (after,) = controller()
    assert after != before
    kube.must("app01")
    kube.gateway.signal(signal.SIGTERM)
    until(lambda: not Path(f"/proc/{after}").exists(), "it goes with the gateway")
