"""An OpenSSH server on loopback: the same upstream behind every access method."""

import getpass
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from peers import MissingError
from peers.process import Process, free_port, program

SETTINGS = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
TrustedUserCAKeys {folder}/user_ca.pub
AuthorizedPrincipalsFile {folder}/principals
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
PrintLastLog no
MaxStartups 100:30:200
Subsystem sftp internal-sftp
"""
CLIENT = """\
Host *
  User {user}
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  HostKeyAlias bench
  StrictHostKeyChecking yes
  BatchMode yes
  LogLevel ERROR
"""
ALIAS = "bench"


@dataclass
class Sshd:
    """A running sshd at `port` on 127.0.0.1; `client_settings` is for `ssh -F`.

    `folder` has `user_key`, with which `account` logs in, and `known_hosts`, which has the host key for
    `alias`.
    """

    port: int
    client_settings: Path
    process: Process
    folder: Path
    account: str
    alias: str = ALIAS

    @property
    def host_key(self) -> str:
        """The public host key, as settings have it."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    def trust(self, user_ca: str, principal: str) -> None:
        """Accept certificates of `user_ca` for `principal`."""
        (self.folder / "user_ca.pub").write_text(user_ca)
        (self.folder / "principals").write_text(f"{principal}\n")


def start(folder: Path) -> Sshd:
    """Start an sshd with its files in `folder`. Raises MissingError and StartError."""
    sshd, keygen = program("sshd"), program("ssh-keygen")
    if sshd is None or keygen is None or program("ssh") is None:
        raise MissingError(
            "OpenSSH is not installed (apt-get install openssh-client openssh-server)"
        )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd started by root demands it
    for key in ("host_key", "user_key"):
        subprocess.run(
            [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True
        )
    host_key = (folder / "host_key.pub").read_text()
    (folder / "known_hosts").write_text(f"{ALIAS} {host_key}")
    for empty in ("user_ca.pub", "principals"):
        (folder / empty).touch()
    port = free_port()
    settings, client_settings = folder / "sshd_config", folder / "ssh_config"
    settings.write_text(SETTINGS.format(port=port, folder=folder))
    client_settings.write_text(CLIENT.format(user=getpass.getuser(), folder=folder))
    process = Process([sshd, "-D", "-e", "-f", str(settings)], folder / "sshd.log")
    process.answers(port)
    return Sshd(port, client_settings, process, folder, getpass.getuser())
