"""Checks of the gateway's own SSH: jumps over it, logins by an app's name, and its commands."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from acceptance import features
from acceptance.forwards import local_forward
from acceptance.reach import Reach
from acceptance.verdict import expect
from stagedoor.client.sshconfig import JUMP_HOST
from stagedoor.demo.clients import write_private_file

Drive = Callable[[Path], object]
_NEAR_ONLY = ("rsync over a jump", "LocalForward over a jump")


def drives(jump_config: Path, *, near: bool = True) -> dict[str, Drive]:
    """Return the checks by name. `jump_config` is an ssh_config that has the gateway as `JUMP_HOST`."""
    over = Reach(jump_config, "app01.ssh", near=near)
    checks: dict[str, Drive] = {
        "ssh -J": lambda folder: features.login(over, folder),
        "ssh -W as ProxyCommand": lambda folder: features.login(_stdio(over, folder), folder),
        "scp -J": lambda folder: features.scp(over, folder),
        "sftp -J": lambda folder: features.sftp(over, folder),
        "rsync over a jump": lambda folder: features.rsync(over, folder),
        "LocalForward over a jump": lambda folder: local_forward(over, folder),
        "ssh app01@gateway": lambda folder: features.login(_direct(over, folder), folder),
        "scp app01@gateway": lambda folder: features.scp(_direct(over, folder), folder),
        "sftp app01@gateway": lambda folder: features.sftp(_direct(over, folder), folder),
        "ssh dev@gateway ls --json": lambda _: _page(over),
        "refused: jumping elsewhere": lambda _: _elsewhere(over),
    }
    return {name: drive for name, drive in checks.items() if near or name not in _NEAR_ONLY}


def _stdio(over: Reach, folder: Path) -> Reach:
    """Return a reach by `ssh -W`, as in configurations from before ProxyJump."""
    command = f'ssh -q -F "{over.config}" -W %h:%p {JUMP_HOST}'
    return _configured(over, folder, over.host, f"  ProxyJump none\n  ProxyCommand {command}\n")


def _direct(over: Reach, folder: Path) -> Reach:
    """Return a reach for tools without jumps, in which the login name is the app."""
    return _configured(over, folder, JUMP_HOST, "  User app01\n")


def _configured(over: Reach, folder: Path, host: str, lines: str) -> Reach:
    config = write_private_file(
        folder / "ssh_config", f'Host {host}\n{lines}Include "{over.config}"\n'
    )
    return replace(over, config=config, host=host)


def _page(over: Reach) -> str:
    """Check the list of the user's apps that the gateway prints for scripts, and return it."""
    done = over.run(over.argv("ssh", JUMP_HOST, "ls", "--json"))
    expect(done.code == 0, f"it ended with {done.code}: {done.said}")
    apps = [entry["app"] for entry in json.loads(done.stdout)["apps"]]
    expect(apps == ["app01", "app02"], f"it listed {apps}")
    return ", ".join(apps)


def _elsewhere(over: Reach) -> str:
    done = over.run(over.argv("ssh", "-o", f"ProxyJump={JUMP_HOST}", "www.example.com", "true"))
    expect(done.code == 255, f"it ended with {done.code}")
    expect("administratively prohibited" in done.stderr, f"the reason was not told: {done.said}")
    return "administratively prohibited"
