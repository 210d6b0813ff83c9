"""The real ssh, through the tunnel, to a real sshd that knows us: what a developer does all day."""

import getpass
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from stagedoor.client import sshconfig
from stagedoor.laptop.tunnel.onefile import build_tunnel_file
from stagedoor.model.target import Target
from tests.laptop.scripted_gateway import OPENED, ScriptedGateway, refusing
from tests.openssh import KEX
from tests.pace import allow

SSH_PATIENCE_S = allow(90.0)


@dataclass
class Sshd:
    """OpenSSH's sshd, one process for each tunnel, on the tunnel's own socket (sshd(8), -i)."""

    program: str
    folder: Path

    def __post_init__(self) -> None:
        for name in ("host", "user", "ca"):
            self.keygen("-q", "-t", "ed25519", "-N", "", "-f", name)
        names = ",".join(Target("app01").principals)
        self.keygen("-q", "-s", "ca", "-h", "-I", "app01", "-n", names, "-V", "+1h", "host.pub")
        (self.folder / "sshd_config").write_text(
            f"HostKey {self.folder}/host\n"
            f"HostCertificate {self.folder}/host-cert.pub\n"
            f"AuthorizedKeysFile {self.folder}/user.pub\n"
            "StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nLogLevel ERROR\n"
            f"SetEnv HOME={self.folder}\n"
        )

    def keygen(self, *args: str) -> None:
        subprocess.run(["ssh-keygen", *args], cwd=self.folder, check=True)

    def answer(self, conn: socket.socket, _target: str) -> None:
        conn.setblocking(True)
        conn.sendall(OPENED)
        subprocess.run(
            [self.program, "-i", "-e", "-f", self.folder / "sshd_config"],
            stdin=conn.fileno(),
            stdout=conn.fileno(),
        )

    @property
    def host_ca(self) -> str:
        return (self.folder / "ca.pub").read_text().strip()


@pytest.fixture
def sshd(tmp_path: Path) -> Sshd:
    program = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
    if program is None or shutil.which("ssh") is None:
        pytest.skip("needs ssh and sshd: apt-get install openssh-client openssh-server")
    if os.geteuid() == 0:  # the folder that root's sshd empties itself into, made at boot
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    folder = tmp_path / "sshd"
    folder.mkdir()
    return Sshd(program, folder)


Ssh = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def ssh(sshd: Sshd, env: dict[str, str], tmp_path: Path) -> Ssh:
    """`ssh(gateway, *options, command=…)` by the printed client and the written config, without a prompt."""
    script = tmp_path / "tun.py"
    script.write_bytes(build_tunnel_file())

    def run(
        gateway: str,
        *options: str,
        command: str,
        host: str = "app01.ssh",
        fdpass: bool = False,
        stdin: bytes = b"",
    ) -> "subprocess.CompletedProcess[bytes]":
        access = sshconfig.SshAccess(
            gateway,
            (sshd.host_ca,),
            user="anna",
            client=(sys.executable, str(script)),
            login_name=getpass.getuser(),
            fdpass=fdpass,
        )
        written = sshconfig.write(access, tmp_path / "access", ssh_config=tmp_path / "config")
        return subprocess.run(
            [
                *("ssh", "-F", written.config, "-i", sshd.folder / "user"),
                *("-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", KEX),
                *(*options, host, command),
            ],
            input=stdin,
            capture_output=True,
            env=env,
            timeout=SSH_PATIENCE_S,
        )

    return run


@pytest.mark.parametrize("fdpass", [False, True])
@pytest.mark.parametrize("host", ["app01.ssh", "app01-ssh"])
def test_ssh_logs_in_without_a_prompt_and_the_exit_code_comes_back(
    ssh: Ssh, sshd: Sshd, host: str, fdpass: bool
) -> None:
    with ScriptedGateway([sshd.answer]) as gateway:
        done = ssh(gateway.address, command="echo in; exit 7", host=host, fdpass=fdpass)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"in\n", b"")
    assert gateway.requests[0].startswith(f"CONNECT {host}:22 ".encode())


def test_a_host_without_a_certificate_of_the_ca_is_refused(ssh: Ssh, sshd: Sshd) -> None:
    config = sshd.folder / "sshd_config"
    config.write_text(config.read_text().replace("HostCertificate", "# HostCertificate"))
    with ScriptedGateway([sshd.answer]) as gateway:
        done = ssh(gateway.address, command="echo in")
    assert done.returncode == 255
    assert done.stdout == b""
    assert b"Host key verification failed" in done.stderr


def test_a_certificate_for_another_app_is_refused(ssh: Ssh, sshd: Sshd) -> None:
    with ScriptedGateway([sshd.answer]) as gateway:
        done = ssh(gateway.address, command="echo in", host="app02.ssh")
    assert done.returncode == 255
    assert done.stdout == b""
    assert b"name is not a listed principal" in done.stderr


@pytest.mark.parametrize("fdpass", [False, True])
def test_the_reason_stands_before_sshs_own_words(ssh: Ssh, fdpass: bool) -> None:
    with ScriptedGateway([refusing(403, "anna has no grant for app01")]) as gateway:
        done = ssh(gateway.address, command="echo in", fdpass=fdpass)
    assert done.returncode == 255
    first = done.stderr.decode().splitlines()[0]
    reason = "app01.ssh:22 is not open to anna: anna has no grant for app01"
    assert first == f"stagedoor: {reason}"
    if fdpass:
        *_, said, last = done.stderr.decode().splitlines()
        assert said.endswith(f":11: {reason}")
        assert last.startswith("Disconnected from ")


def test_the_one_line_form_of_the_issue_works(
    sshd: Sshd, env: dict[str, str], tmp_path: Path
) -> None:
    """ssh -o "ProxyCommand=stagedoor tunnel --gateway HOST:PORT %h %p"."""
    (tmp_path / "known").write_text(f"@cert-authority * {sshd.host_ca}\n")
    with ScriptedGateway([sshd.answer]) as gateway:
        program = shlex.join([sys.executable, "-m", "stagedoor", "tunnel"])
        done = subprocess.run(
            [
                *("ssh", "-F", "none", "-i", sshd.folder / "user", "-o", "BatchMode=yes"),
                *("-o", f"ProxyCommand={program} --gateway {gateway.address} %h %p"),
                *("-o", f"UserKnownHostsFile={tmp_path}/known", "-o", "StrictHostKeyChecking=yes"),
                *("-l", getpass.getuser(), "app01.ssh", "exit 7"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=env,
            timeout=SSH_PATIENCE_S,
        )
    assert (done.returncode, done.stderr) == (7, b"")
