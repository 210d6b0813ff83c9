"""Our gateway with the WebShell and direct login, in front of one local shell."""

import json
from dataclasses import dataclass
from pathlib import Path

from peers import NAME
from peers.process import Process, free_port
from peers.stagedoor import add_user, commands, find
from stagedoor.serve.parts.shells import stop_local_shells
from stagedoor.settings.file import load_settings

APP = "app01"
SETTINGS = """\
data_dir = "{folder}/data"
[tunnel]
addresses = ["127.0.0.1:{tunnel}"]
[ssh]
addresses = ["127.0.0.1:{ssh}"]
[web]
addresses = ["127.0.0.1:{web}"]
tmux = {tmux}
[workers]
count = 1
[log]
format = "json"
[[shells.local]]
app = "{app}"
login_shell = "/bin/sh"
"""
CLIENT = """\
IgnoreUnknown ObscureKeystrokeTiming
Host gateway
  HostName 127.0.0.1
  Port {ssh}
  User {app}
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
  LogLevel ERROR
  ObscureKeystrokeTiming no
"""


@dataclass(frozen=True)
class WebGateway:
    """A running gateway with the WebShell at the port `web`.

    `attach` and `ssh` are the beginnings of commands; the shell's command follows.
    """

    process: Process
    folder: Path
    web: int
    version: str
    attach: list[str]
    ssh: list[str]

    @property
    def shell_pid(self) -> int:
        """The pid of the local shell, after the first login."""
        (state,) = (self.folder / "data").rglob("state.json")
        return int(json.loads(state.read_text())["pid"])

    def stop(self) -> None:
        """Stop the gateway, and its shell with all terminals in it."""
        self.process.stop()
        stop_local_shells(load_settings(self.folder / "stagedoor.toml"))


def start(folder: Path, *, tmux: bool = False) -> WebGateway:
    """Start a gateway, whose page starts tmux if `tmux` is True. Raises MissingError and StartError."""
    tunnel, ssh, web = free_port(), free_port(), free_port()
    file = folder / "stagedoor.toml"
    file.write_text(
        SETTINGS.format(
            folder=folder, tunnel=tunnel, ssh=ssh, web=web, app=APP, tmux=str(tmux).lower()
        )
    )
    command = commands(find(), file)
    add_user(command, folder)
    process = Process([find(), "--config", str(file), "serve"], folder / "stagedoor.log")
    for port in (ssh, web):
        process.answers(port)
    host_ca = (folder / "data" / "keys" / "host_ca.pub").read_text()
    (folder / "known_hosts").write_text(f"@cert-authority * {host_ca}")
    config = folder / "ssh_config"
    config.write_text(CLIENT.format(folder=folder, ssh=ssh, app=APP))
    return WebGateway(
        process,
        folder,
        web,
        command("--version").strip(),
        [
            find(), "attach", "--url", f"http://127.0.0.1:{web}", "--user", NAME,
            "--token-file", str(folder / "token"), APP,
        ],
        ["ssh", "-F", str(config), "gateway"],
    )  # fmt: skip
