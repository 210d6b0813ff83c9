"""The facts about this gateway that a new machine needs, none secret: `/.well-known/stagedoor` (RFC 8615)."""

from stagedoor import __version__
from stagedoor.admin.certificates.authorities import read_host_ca
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import StagedoorError
from stagedoor.model.source import is_loopback, join_host_port
from stagedoor.settings.form import split_address
from stagedoor.settings.settings import Settings

NAMES = ("*.ssh", "*-ssh")
"""The host names of shells, as patterns for ssh."""


def describe(settings: Settings, host: str, *, logins: bool) -> dict[str, object] | Denial:
    """Return the document for a machine that reaches this gateway by the name `host`.

    `logins` is true if a machine can log in here. In the document, `ssh` is HOST:PORT of the SSH listener,
    and `connect` the URL for CONNECT; None if other machines cannot reach it by that name. If the settings
    have no public address, they are made of `host` and the port that is listened on. It reads the host CA's
    key.
    """
    try:
        host_ca = read_host_ca(settings)
    except StagedoorError:
        return Denial.with_fix(
            Reason.OVERLOADED,
            "the host CA of this gateway cannot be read, so no machine can be set up",
            "an administrator makes keys.host_ca_file readable",
            "ask an administrator",
        )
    return {
        "version": __version__,
        "login": logins,
        "host_ca": [host_ca],
        "names": list(NAMES),
        "ssh": _find_ssh(settings, host),
        "connect": _find_connect(settings, host),
    }


def _find_ssh(settings: Settings, host: str) -> str | None:
    public = settings.ssh.public_at
    if public is not None:
        return join_host_port(*public)
    port = _find_port(settings.ssh.addresses, host)
    return None if port is None else join_host_port(host, settings.ssh.public_port or port)


def _find_connect(settings: Settings, host: str) -> str | None:
    tunnel = settings.tunnel
    if tunnel.public_url is not None:
        return tunnel.public_url
    for scheme, addresses in (("https", tunnel.tls_addresses), ("http", tunnel.addresses)):
        port = _find_port(addresses, host)
        if port is not None:
            return f"{scheme}://{join_host_port(host, port)}"
    return None


def _find_port(addresses: tuple[str, ...], host: str) -> int | None:
    """Return the port of the first address that a client can reach by the name `host`, or None."""
    for address in addresses:
        name, port = split_address(address)
        if port and (is_loopback(host) or not is_loopback(name)):
            return port
    return None
