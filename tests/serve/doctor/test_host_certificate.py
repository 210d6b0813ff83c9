"""The certificate that a server shows before a login: whether ssh would accept it by the host CA alone."""

import asyncio
import time

import asyncssh
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stagedoor.keys.ca import CertificateAuthority
from stagedoor.serve.doctor import judge
from stagedoor.upstream.probe import find_certificate_fault
from stagedoor.wire.finding import Level

DAY_S = 86400.0
OURS, OTHER, YESTERDAY = (
    CertificateAuthority(Ed25519PrivateKey.generate(), now)
    for now in (time.time, time.time, lambda: time.time() - 2 * DAY_S)
)


async def fault_of(
    ca: CertificateAuthority | None, trusted: CertificateAuthority, name: str = "app01.ssh"
) -> str | None:
    """As `name`, of a server with a certificate for `app01.ssh` by that CA, or with none."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    shown = [key]
    if ca is not None:
        line = ca.sign_host(key.export_public_key().decode(), ("app01.ssh",), DAY_S)
        shown = [(key, asyncssh.import_certificate(line))]
    server = await asyncssh.create_server(
        asyncssh.SSHServer, "127.0.0.1", 0, server_host_keys=shown
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await find_certificate_fault(
            "127.0.0.1", port, name, trusted.format_public_line(), 60
        )


@pytest.mark.parametrize(
    ("ca", "trusted", "words"),
    [
        (OURS, OURS, None),
        (None, OURS, "without a certificate"),
        (OTHER, OURS, "of another CA"),
        (YESTERDAY, YESTERDAY, "does not hold: Certificate expired"),
    ],
)
def test_a_server_is_accepted_by_a_certificate_of_the_host_ca_alone(
    ca: CertificateAuthority | None, trusted: CertificateAuthority, words: str | None
) -> None:
    fault = asyncio.run(fault_of(ca, trusted))
    assert (fault is None) if words is None else (words in (fault or ""))
    finding = judge.judge_host_certificate("far at h", "app01.ssh", fault)
    assert finding.level is (Level.OK if fault is None else Level.WARN)
    assert ("--name app01.ssh" in finding.fix) == (fault is not None)


def test_a_certificate_for_another_name_does_not_count() -> None:
    assert "does not hold" in (asyncio.run(fault_of(OURS, OURS, "app02.ssh")) or "")
