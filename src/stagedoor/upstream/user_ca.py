"""The check whether an SSH server trusts the user CA, without a login.

A server accepts or rejects a certificate before it requests a signature (RFC 4252 §7). So the key signs
nothing, and no session begins.
"""

import asyncio
from collections.abc import Sequence

import asyncssh
from asyncssh.public_key import SSHLocalKeyPair

from stagedoor.keys.ca import CertificateAuthority
from stagedoor.model.units import MINUTE_S

MOST_PRINCIPALS = 256
"""OpenSSH's SSHKEY_CERT_MAX_PRINCIPALS."""


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

    Raises OSError, and StagedoorError if the CA cannot sign.
    """
    key = asyncssh.generate_private_key("ssh-ed25519")
    line = ca.sign_user(
        key.export_public_key().decode().strip(),
        "stagedoor doctor",
        users[:MOST_PRINCIPALS],
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
