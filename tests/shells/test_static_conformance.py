"""Static shells do what every kind must, in front of a real OpenSSH sshd; so does a directory."""

import os
import subprocess
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from stagedoor.model.shell import Shell
from stagedoor.model.target import Target
from stagedoor.serve.parts.shells import ShellDirectory
from stagedoor.shells.ports import Shells
from stagedoor.shells.static import StaticShells
from tests.fixtures.laptop import new_key
from tests.fixtures.people import APP01
from tests.ports import free_port
from tests.shells.conformance import *  # noqa: F403 - the suite
from tests.shells.conformance import Kind
from tests.shells.host import ShellHost, ssh_with
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def openssh(shared_host: ShellHost) -> Iterator[int]:
    """A real sshd that trusts our user CA and shows a certificate of our host CA; its port."""
    folder, port = shared_host.folder, free_port()
    for name in ("host_key",):
        new_key(folder / name)
    public = " ".join((folder / "host_key.pub").read_text().split()[:2])
    (folder / "host_key-cert.pub").write_text(
        shared_host.host_ca.sign_host(public, ["app01.ssh", "app01-ssh"], 600) + "\n"
    )
    me = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
    (folder / "principals").write_text("dev\n")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host_key\n"
        f"HostCertificate {folder}/host_key-cert.pub\nTrustedUserCAKeys {folder}/user_ca.pub\n"
        f"AuthorizedPrincipalsFile {folder}/principals\nAuthorizedKeysFile {folder}/authorized\n"
        f"PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nAllowUsers {me}\n"
        f"SetEnv HOME={folder}\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    log = (folder / "sshd.log").open("wb")
    sshd = subprocess.Popen(
        ["/usr/sbin/sshd", "-D", "-e", "-f", folder / "sshd_config"], stderr=log
    )
    try:
        wait_until(lambda: b"Server listening" in (folder / "sshd.log").read_bytes())
        yield port
    finally:
        sshd.terminate()
        sshd.wait()
        log.close()


@pytest.fixture(params=["static", "directory"])
def kind(request: pytest.FixtureRequest, openssh: int) -> Kind:
    def static() -> Shells:
        entry = Shell(APP01, "127.0.0.1", openssh, networks=(ip_network("127.0.0.0/8"),))
        return StaticShells([entry])

    def directory() -> Shells:
        other = StaticShells([Shell(Target("app00"), "192.0.2.1", 22)])
        # The second app01 is never looked at: the first adapter that knows a target has it.
        return ShellDirectory([other, static(), StaticShells([Shell(APP01, "192.0.2.2", 22)])])

    return Kind(APP01, static if request.param == "static" else directory, lambda: 0, False)


def test_a_certificate_of_ours_logs_in_to_openssh_and_its_host_certificate_needs_no_question(
    shared_host: ShellHost, openssh: int, tmp_path: Path
) -> None:
    public = (shared_host.folder / "id.pub").read_text()
    line = shared_host.user_ca.sign_user(" ".join(public.split()[:2]), "dev", ["dev"], 600)
    (shared_host.folder / "id-cert.pub").write_text(line + "\n")
    try:
        shell = Shell(Target("app01"), "127.0.0.1", openssh)
        done = ssh_with(shared_host.config(shell))("echo in")
        assert (done.stdout, done.stderr) == (b"in\n", b"")
    finally:
        (shared_host.folder / "id-cert.pub").unlink()


def test_an_entry_says_where_and_in_which_networks() -> None:
    networks = (ip_network("10.0.0.0/8"),)
    shells = StaticShells(
        [
            Shell(Target("b", "staging"), "b.example", 2222, networks=networks),
            Shell(Target("a"), "a.example", 22),
        ]
    )
    assert shells.list_targets() == (Target("a"), Target("b", "staging"))
