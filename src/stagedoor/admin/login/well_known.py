"""What a new machine has to know of this gateway: `/.well-known/stagedoor` (RFC 8615). Nothing secret."""

from ipaddress import ip_address

from stagedoor import __version__
from stagedoor.admin.certificates.authorities import host_ca_line
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import StagedoorError
from stagedoor.model.source import host_port
from stagedoor.settings.form import split_address
from stagedoor.settings.settings import Settings

NAMES = ("*.ssh", "*-ssh")
"""By which shells are called, as ssh's patterns."""


def describe(settings: Settings, host: str, *, logins: bool) -> dict[str, object] | Denial:
    """The document for who has asked by the name `host`. `logins`: whether a machine can log in.

    `ssh` is HOST:PORT of the SSH listener, `connect` the URL for CONNECT; None where there is none that is
    reached from other machines by that name. Where the settings tell no public address, they are `host` and
    the port that is listened on. Reads the host CA's key.
    """
    try:
        host_ca = host_ca_line(settings)
    except StagedoorError:
        return Denial(
            Reason.OVERLOADED,
            "the host CA of this gateway cannot be read (keys.host_ca_file), so no machine can be set up; an "
            "administrator makes it readable",
        )
    return {
        "version": __version__,
        "login": logins,
        "host_ca": [host_ca],
        "names": list(NAMES),
        "ssh": _ssh(settings, host),
        "connect": _connect(settings, host),
    }


def _ssh(settings: Settings, host: str) -> str | None:
    public = settings.ssh.public_at
    if public is not None:
        return host_port(*public)
    port = _port_for(settings.ssh.addresses, host)
    return None if port is None else host_port(host, settings.ssh.public_port or port)


def _connect(settings: Settings, host: str) -> str | None:
    tunnel = settings.tunnel
    if tunnel.public_url is not None:
        return tunnel.public_url
    for scheme, addresses in (("https", tunnel.tls_addresses), ("http", tunnel.addresses)):
        port = _port_for(addresses, host)
        if port is not None:
            return f"{scheme}://{host_port(host, port)}"
    return None


def _port_for(addresses: tuple[str, ...], host: str) -> int | None:
    """That of the first address which somebody who calls this machine `host` can reach."""
    for address in addresses:
        name, port = split_address(address)
        if port and (_loopback(host) or not _loopback(name)):
            return port
    return None


def _loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
