"""The host key or certificate that an SSH server shows before a login."""

import asyncio

import asyncssh


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


class _Shown(asyncssh.SSHClient):
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
    shown = _Shown(asyncssh.import_public_key(ca_line))
    try:
        async with asyncio.timeout(timeout_s):
            connection = await asyncssh.connect(
                host, port, config=None, host_key_alias=name, known_hosts=([], [], []),
                client_factory=lambda: shown, client_keys=None, agent_path=None, gss_host=None,
                password_auth=False, kbdint_auth=False, public_key_auth=False, username="stagedoor",
                server_host_key_algs="default",  # certificates first
            )  # fmt: skip
            connection.abort()
    except asyncssh.HostKeyNotVerifiable as error:
        return shown.fault or f"its certificate does not hold: {error.reason}"
    except asyncssh.PermissionDenied:
        pass  # after the key exchange: the certificate was accepted
    except (asyncssh.Error, TimeoutError) as error:
        raise OSError(str(error) or f"no host key within {timeout_s:g} s") from None
    return shown.fault
