"""A CA whose key is in OpenSSH's own ssh-agent: certificates that OpenSSH reads, and what goes wrong."""

import contextlib
import os
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.keys.ca import CertificateAuthority
from stagedoor.keys.files import make_key
from stagedoor.net.ssh_agent import AgentError, AgentKey
from stagedoor.wire.ssh.certificate import parse_certificate
from tests.keys.test_ca import public_key, shown
from tests.waiting import wait_until


@contextlib.contextmanager
def agent_with(folder: Path, *keys: str) -> Iterator[Path]:
    """ssh-agent in the foreground, with these private keys."""
    place = folder / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", place], stdout=subprocess.DEVNULL)
    try:
        env = {**os.environ, "SSH_AUTH_SOCK": str(place)}
        # The socket is there before it is listened on; ssh-add(1): 2 says that no agent answers.
        wait_until(
            lambda: subprocess.run(["ssh-add", "-l"], env=env, capture_output=True).returncode != 2
        )
        for key in keys:
            subprocess.run(["ssh-add", "-q", folder / key], env=env, check=True)
        yield place
    finally:
        agent.terminate()
        agent.wait(10)


@pytest.mark.identity(21)
@pytest.mark.parametrize("kind", [["-t", "ed25519"], ["-t", "ecdsa"], ["-t", "rsa", "-b", "2048"]])
def test_an_agent_signs_with_each_kind_of_key(tmp_path: Path, kind: list[str]) -> None:
    line = public_key(tmp_path, "ca", *kind)
    user = public_key(tmp_path, "id")
    with agent_with(tmp_path, "ca") as place:
        (tmp_path / "ca").unlink()  # the agent alone has it
        ca = CertificateAuthority(AgentKey(place, line), time.time)
        certificate = ca.sign_sign_in(user, "alice", 7, time.time() + 600, ())
    lines = shown(tmp_path, certificate)
    assert "Serial: 7" in lines
    # ssh-keygen -L names no damaged signature; a revocation check reads it whole.
    assert any(line.startswith("Signing CA") for line in lines)
    principals = lines.index("Principals:")
    assert lines[principals + 1 : principals + 3] == ["alice", "Critical Options: (none)"]
    if kind[1] == "rsa":
        assert any("using rsa-sha2-512" in line for line in lines)


def test_without_an_agent_or_without_the_key_one_line_says_so(tmp_path: Path) -> None:
    line = public_key(tmp_path, "ca")
    absent = AgentKey(tmp_path / "agent", line)
    with pytest.raises(AgentError, match="does not answer: No such file"):
        absent.sign(b"data")
    with agent_with(tmp_path), pytest.raises(AgentError, match="ssh-add -L"):
        absent.sign(b"data")


def test_a_certificate_reads_back_as_it_was_meant(tmp_path: Path) -> None:
    user = public_key(tmp_path, "id")
    line = CertificateAuthority(make_key(), lambda: 1_000.0).sign_user(
        user,
        "alice",
        ["alice", "bob"],
        60,
        extensions=["permit-pty", "permit-agent-forwarding"],
        critical_options={"source-address": "192.0.2.0/24", "force-command": "true"},
    )
    signed = parse_certificate(b64decode(line.split()[1]))
    assert signed is not None
    certificate = signed.certificate
    assert signed.key == b64decode(user.split()[1])
    assert certificate.principals == ("alice", "bob")
    assert (certificate.valid_after, certificate.valid_before) == (700, 1060)
    assert dict(certificate.critical_options) == {
        "force-command": "true",
        "source-address": "192.0.2.0/24",
    }
    assert certificate.extensions == {"permit-pty", "permit-agent-forwarding"}
