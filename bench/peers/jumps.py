"""The jump hosts: OpenSSH's sshd, and our gateway. Stock `ssh -W` goes through each of them."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from peers import NAME, sshd
from peers.process import Process, free_port, program, version_of
from peers.stagedoor import SHELL, add_user, commands, find

CIPHER = "aes128-gcm@openssh.com"
"""The cipher for every jump host, the fastest that both have."""
stock_ciphers = False
"""True if the ssh that jumps uses its own list of ciphers (bench/run.py --stock-ciphers)."""
KEX = "curve25519-sha256"
"""The key exchange for every jump host: by default each would negotiate the newest, at different costs."""
SETTINGS = """\
data_dir = "{folder}/data"
[tunnel]
addresses = []
[ssh]
addresses = ["127.0.0.1:{port}"]
handshakes_per_s = 1000
[workers]
count = {workers}
[log]
format = "json"
"""
CLIENT = """\
IgnoreUnknown ObscureKeystrokeTiming
Host jump
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {key}
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {known}
  GlobalKnownHostsFile /dev/null
  HostKeyAlias {alias}
  StrictHostKeyChecking yes
{outer}  KexAlgorithms {kex}
  BatchMode yes
  LogLevel ERROR
Host inner
  HostName {inner_host}
  Port {inner_port}
  User {inner.account}
  IdentityFile {inner.folder}/user_key
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {inner.folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  HostKeyAlias {inner.alias}
  StrictHostKeyChecking yes
  Ciphers {cipher}
  BatchMode yes
  LogLevel ERROR
  ProxyJump jump
  ObscureKeystrokeTiming no
"""


@dataclass(frozen=True)
class Behind:
    """The servers behind a jump host: the load's upstream, and an sshd as an app's shell."""

    load: int
    shell: sshd.Sshd


@dataclass(frozen=True)
class Jump:
    """A running jump host. `settings` is an ssh_config with the hosts `jump` and, behind it, `inner`."""

    name: str
    settings: Path
    target: str
    process: Process
    version: str
    logs: str

    @property
    def pid(self) -> int:
        """The pid of its process."""
        return self.process.pid

    @property
    def channel(self) -> list[str]:
        """The outer half of `ssh -J`: a command with the bytes of one channel on stdin and stdout."""
        return ["ssh", "-F", str(self.settings), "-W", self.target, "jump"]

    @property
    def echo(self) -> list[str]:
        """An `ssh -J` to a terminal that prints an exclamation mark and then echoes its input."""
        command = "stty raw -echo; printf !; exec cat"
        return ["ssh", "-F", str(self.settings), "-tt", "inner", command]


def _outer() -> str:
    return "" if stock_ciphers else f"  Ciphers {CIPHER}\n"


def openssh(folder: Path, behind: Behind) -> Jump:
    """Start an sshd as a jump host. Raises MissingError and StartError."""
    server = sshd.start(folder)
    text = CLIENT.format(
        port=server.port,
        user=server.account,
        key=folder / "user_key",
        known=folder / "known_hosts",
        alias=server.alias,
        outer=_outer(),
        cipher=CIPHER,
        kex=KEX,
        inner=behind.shell,
        inner_host="127.0.0.1",
        inner_port=behind.shell.port,
    )
    return Jump(
        "sshd",
        _write(folder / "jump_config", text),
        f"127.0.0.1:{behind.load}",
        server.process,
        version_of(program("ssh") or "ssh", "-V"),
        "a few lines for each login, written to a file; public key",
    )


def stagedoor(folder: Path, behind: Behind) -> Jump:
    """Start our gateway as a jump host with a worker for each core.

    sshd likewise has a process for each connection. Raises MissingError and StartError.
    """
    port = free_port()
    file = folder / "stagedoor.toml"
    head = SETTINGS.format(folder=folder, port=port, workers=os.cpu_count() or 1)
    ports = {"load": behind.load, "app01": behind.shell.port}
    file.write_text(
        head + "".join(SHELL.format(name=name, upstream=port) for name, port in ports.items())
    )
    command = commands(find(), file)
    add_user(command, folder)
    process = Process([find(), "--config", str(file), "serve"], folder / "stagedoor.log")
    process.answers(port)
    authority = (folder / "data" / "keys" / "host_ca.pub").read_text()
    known = _write(folder / "known_hosts", f"@cert-authority * {authority}")
    text = CLIENT.format(
        port=port,
        user=NAME,
        key=folder / "user_key",
        known=known,
        alias="127.0.0.1",
        outer=_outer(),
        cipher=CIPHER,
        kex=KEX,
        inner=behind.shell,
        inner_host="app01.ssh",
        inner_port=22,
    )
    return Jump(
        "stagedoor",
        _write(folder / "jump_config", text),
        "load.ssh:22",
        process,
        f"{command('--version').strip()}, {os.cpu_count()} workers",
        "two audit records for each session, the first durable (fsync) before the first byte, and "
        "one line in a file; public key",
    )


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


JUMPS: Mapping[str, Callable[[Path, Behind], Jump]] = {"sshd": openssh, "stagedoor": stagedoor}
