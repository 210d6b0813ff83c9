"""The addresses that connections come from."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from msgspec import Struct

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Source(Struct, frozen=True):
    """The downstream's address and port. An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) is unmapped."""

    address: Address
    port: int

    @classmethod
    def of(cls, host: str, port: int) -> "Source":
        """Make a source from the first two members of a socket's peer name, without a zone id (RFC 4007).

        Raises ValueError if `host` is not an address.
        """
        return cls(_read(host), port)

    def __str__(self) -> str:
        return join_host_port(_text(self.address), self.port)


def join_host_port(host: str, port: int) -> str:
    """Join a host and a port as in a URL (RFC 3986 §3.2.2): `127.0.0.1:8022`, `[::1]:8022`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@lru_cache(maxsize=4096)  # a few machines connect repeatedly
def _read(host: str) -> Address:
    return unmap(ip_address(host.partition("%")[0]))


_text = lru_cache(maxsize=4096)(str)
"""An address as text, which each login needs several times."""


def unmap(address: Address) -> Address:
    """Return an IPv4-mapped IPv6 address as IPv4, and any other address unchanged."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_address(host: str) -> bool:
    """Return True if `host` is an address and not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return True if `host` as written is this machine: `localhost`, or a loopback address."""
    return host.lower() == "localhost" or (is_address(host) and ip_address(host).is_loopback)


def find_source_network(address: Address) -> str:
    """Return the network that counts as one source: an IPv4 address, or an IPv6 /64.

    A subscriber has such a /64 (RFC 6177).
    """
    if isinstance(address, IPv6Address):
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return _text(address)


@lru_cache(maxsize=4096)  # every arrival counts all waiting entries
def list_networks(source: str) -> tuple[str, ...]:
    """Return the networks that a source (`find_source_network`) is counted in, the largest first.

    They are the IPv6 /48 and /56 that a subscriber or an office may have (RFC 6177 §2), and `source` itself.
    An IPv4 address, like any other kind of source, is in no larger network.
    """
    address, slash, _ = source.partition("/")
    if not slash:
        return (source,)
    prefix = int(IPv6Address(address))
    return f"{IPv6Address(prefix >> 80 << 80)}/48", f"{IPv6Address(prefix >> 72 << 72)}/56", source


def find_site_network(source: str) -> str:
    """Return the largest network that a source is counted in: an IPv6 /48, or `source` itself."""
    return list_networks(source)[0]


def is_within(address: Address, networks: tuple[Network, ...]) -> bool:
    """Return True if one of `networks` contains `address`. A network of the other family never does."""
    for network in networks:  # noqa: SIM110 - a generator costs more, and each login asks several times
        if address.version == network.version and address in network:
            return True
    return False
