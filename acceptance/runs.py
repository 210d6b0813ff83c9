"""Checks of runs: by stock ssh, and by `stagedoor run`."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from acceptance.reach import Reach
from acceptance.verdict import expect
from stagedoor.client.sshconfig import JUMP_HOST
from stagedoor.demo.clients import DemoLogin

RUN_S = 60.0
Drive = Callable[[Path], object]


def drives(
    jump_config: Path, stagedoor: tuple[str, ...], url: str, login: DemoLogin
) -> dict[str, Drive]:
    """Return the checks by name. `jump_config` is an ssh_config that has the gateway as `JUMP_HOST`."""
    over = Reach(jump_config, JUMP_HOST)
    return {
        "ssh dev@gateway run": lambda _: _by_ssh(over),
        "stagedoor run": lambda _: _by_client(stagedoor, url, login),
    }


def _by_ssh(over: Reach) -> str:
    """Start a detached run, wait for it, and read its log."""
    command = "echo in=$((40+2))-$APP_NAME; exit 7"
    started = over.ssh(f"run --detach app01 -- {command}")
    expect(started.code == 0, f"it ended with {started.code}: {started.said}")
    run_id = started.stdout.decode().strip()
    waited = over.ssh(f"run wait {run_id} --json")
    expect(waited.code == 7, f"run wait ended with {waited.code}: {waited.said}")
    state = json.loads(waited.stdout)["state"]
    expect(state == "exited", f"the run is {state}")
    log = over.ssh(f"run logs {run_id}").stdout
    expect(log == b"in=42-app01\n", f"its log is {log!r}")
    return "detached, its code and its log"


def _by_client(stagedoor: tuple[str, ...], url: str, login: DemoLogin) -> str:
    """Run a task with piped input, and compare its output and its exit code."""
    reach = ["--url", url, "--user", login.user, "--token-file", str(login.token_file)]
    task = ["sh", "-c", 'read word; echo "$word-$APP_NAME"; exit 7']
    done = subprocess.run(
        [*stagedoor, "run", *reach, "app01", "--", *task],
        input=b"piped\n",
        capture_output=True,
        timeout=RUN_S,
        check=False,
    )
    expect(done.returncode == 7, f"it ended with {done.returncode}: {done.stderr.decode()}")
    expect(done.stdout == b"piped-app01\n", f"it showed {done.stdout!r}")
    return "piped input, its code"
