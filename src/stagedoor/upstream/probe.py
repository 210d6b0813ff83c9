"""Questions to an SSH server that need no login: what it shows, and what it would accept."""

import asyncio
from collections.abc import Sequence

import asyncssh
from asyncssh.public_key import SSHLocalKeyPair

from stagedoor.keys.ca import CertificateAuthority
from stagedoor.model.units import MINUTE_S

MAX_PRINCIPALS = 256
"""OpenSSH's SSHKEY_CERT_MAX_PRINCIPALS."""


async def fetch_host_key(
    host: str, port: int, algorithms: tuple[str, ...], timeout_s: float
) -> str | None:
    """Return the server's key as `type base64`, or None if it has none of these types. Raises OSError."""
    try:
        async with asyncio.timeout(timeout_s):
            key = await asyncssh.get_server_host_key(
                host, port, server_host_key_algs=list(algorithms) or "default", config=None
            )
    except asyncssh.KeyExchangeFailed:
        return None
    except (asyncssh.Error, TimeoutError) as error:
        raise OSError(str(error) or f"no host key within {timeout_s:g} s") from None
    if key is None:
        return None
    return " ".join(key.export_public_key().decode("ascii").split()[:2])


class _CertificateCheck(asyncssh.SSHClient):
    """A client that trusts one CA and no keys. `fault` is why ssh would not accept what the server shows."""

    def __init__(self, ca: asyncssh.SSHKey) -> None:
        self._ca = ca
        self.fault: str | None = "it shows a key without a certificate"

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        trusted = key == self._ca
        self.fault = None if trusted else "its certificate is of another CA"
        return trusted


async def find_certificate_fault(
    host: str, port: int, name: str, ca_line: str, timeout_s: float
) -> str | None:
    """Return why ssh would not accept the server as `name` by a certificate of this CA, or None.

    This does not log in. Raises OSError.
    """
    check = _CertificateCheck(asyncssh.import_public_key(ca_line))
    try:
        async with asyncio.timeout(timeout_s):
            connection = await asyncssh.connect(
                host, port, config=None, host_key_alias=name, known_hosts=([], [], []),
                client_factory=lambda: check, client_keys=None, agent_path=None, gss_host=None,
                password_auth=False, kbdint_auth=False, public_key_auth=False, username="stagedoor",
                server_host_key_algs="default",  # certificates first
            )  # fmt: skip
            connection.abort()
    except asyncssh.HostKeyNotVerifiable as error:
        return check.fault or f"its certificate does not hold: {error.reason}"
    except asyncssh.PermissionDenied:
        pass  # after the key exchange: the certificate was accepted
    except (asyncssh.Error, TimeoutError) as error:
        raise OSError(str(error) or f"no host key within {timeout_s:g} s") from None
    return check.fault


class _Offer(SSHLocalKeyPair):
    """A certificate that is only offered. `is_accepted` is set once the server requests a signature."""

    is_accepted = False

    def sign(self, data: bytes) -> bytes:
        self.is_accepted = True
        raise ValueError("this key signs nothing")


async def is_certificate_accepted(
    place: tuple[str, int],
    account: str,
    users: Sequence[str],
    ca: CertificateAuthority,
    timeout_s: float,
) -> bool:
    """Return whether the server accepts a certificate for one of `users` as a login to `account`.

    A server accepts or rejects a certificate before it requests a signature (RFC 4252 §7). So the key signs
    nothing, and no session begins. Raises OSError, and StagedoorError if the CA cannot sign.
    """
    key = asyncssh.generate_private_key("ssh-ed25519")
    line = ca.sign_user(
        key.export_public_key().decode().strip(),
        "stagedoor doctor",
        users[:MAX_PRINCIPALS],
        MINUTE_S,
        extensions=(),
    )
    offer = _Offer(key, None, asyncssh.import_certificate(line), None)
    try:
        async with asyncio.timeout(timeout_s):
            connection = await asyncssh.connect(
                *place, config=None, known_hosts=None, username=account, client_keys=[offer],
                agent_path=None, gss_host=None, preferred_auth="publickey",
            )  # fmt: skip
            connection.abort()
    except asyncssh.PermissionDenied:
        pass
    except (asyncssh.Error, TimeoutError) as error:
        raise OSError(str(error) or f"no answer within {timeout_s:g} s") from None
    return offer.is_accepted
