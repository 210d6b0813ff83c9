"""Our gateway with all its access methods, in front of one sshd: CONNECT, jump and direct login."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from peers import NAME, sshd
from peers.jumps import CIPHER
from peers.process import Process, free_port
from peers.stagedoor import add_user, commands, find

WAYS = ("CONNECT", "jump", "direct login")
SETTINGS = """\
data_dir = "{folder}/data"
[tunnel]
addresses = ["127.0.0.1:{tunnel}"]
[ssh]
addresses = ["127.0.0.1:{ssh}"]
handshakes_per_s = 1000
[workers]
count = 1
[log]
format = "json"
[[shells.static]]
app = "app01"
host = "127.0.0.1"
port = {shell.port}
networks = ["127.0.0.0/8"]
login_name = "{shell.account}"
host_keys = ["{shell.host_key}"]
"""
CLIENT = """\
IgnoreUnknown ObscureKeystrokeTiming
Host *
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  Ciphers {cipher}
  BatchMode yes
  LogLevel ERROR
  ObscureKeystrokeTiming no
Host jump direct
  HostName 127.0.0.1
  Port {ssh}
Host jump
  User {name}
Host direct
  User app01
Host connect jumped
  HostName app01.ssh
  Port 22
  User {shell.account}
  IdentityFile {shell.folder}/user_key
  HostKeyAlias {shell.alias}
Host connect
  ProxyCommand {stagedoor} tunnel --fdpass --gateway 127.0.0.1:{tunnel} --user {name} \
--token-file {folder}/token %h %p
  ProxyUseFdpass yes
Host jumped
  ProxyJump jump
"""
_HOSTS = {"CONNECT": "connect", "jump": "jumped", "direct login": "direct"}


@dataclass(frozen=True)
class Gateway:
    """A running gateway. `ssh` has the beginning of a command for each of `WAYS`; a shell command follows."""

    process: Process
    ssh: Mapping[str, list[str]]


def start(folder: Path, shell: sshd.Sshd) -> Gateway:
    """Start a gateway in front of `shell`. Raises MissingError and StartError."""
    tunnel, ssh = free_port(), free_port()
    file = folder / "stagedoor.toml"
    file.write_text(SETTINGS.format(folder=folder, tunnel=tunnel, ssh=ssh, shell=shell))
    command = commands(find(), file)
    add_user(command, folder)
    process = Process([find(), "--config", str(file), "serve"], folder / "stagedoor.log")
    for port in (tunnel, ssh):
        process.answers(port)
    keys = folder / "data" / "keys"
    shell.trust((keys / "user_ca.pub").read_text(), NAME)
    known = (shell.folder / "known_hosts").read_text()
    (folder / "known_hosts").write_text(
        f"{known}@cert-authority * {(keys / 'host_ca.pub').read_text()}"
    )
    config = folder / "ways_config"
    config.write_text(
        CLIENT.format(
            folder=folder, tunnel=tunnel, ssh=ssh, name=NAME, shell=shell, cipher=CIPHER,
            stagedoor=find(),
        )
    )  # fmt: skip
    return Gateway(process, {way: ["ssh", "-F", str(config), host] for way, host in _HOSTS.items()})
