"""Where bytes come from."""

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Source:
    """The downstream's address, with an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) unmapped."""

    address: Address
    port: int

    @classmethod
    def of(cls, host: str, port: int) -> "Source":
        """Take the first two members of a socket's peer name; a zone id (RFC 4007) is dropped.

        Raises ValueError when `host` is no address.
        """
        return cls(_read(host), port)

    def __str__(self) -> str:
        return host_port(str(self.address), self.port)


def host_port(host: str, port: int) -> str:
    """`127.0.0.1:8022`, `[::1]:8022`: as in a URL (RFC 3986 §3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@lru_cache(maxsize=4096)  # the same few machines come again and again, and one address serves all
def _read(host: str) -> Address:
    return unmapped(ip_address(host.partition("%")[0]))


def unmapped(address: Address) -> Address:
    """An IPv4-mapped IPv6 address as what it is."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_address(host: str) -> bool:
    """Whether `host` is an address already, and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine by what is written: `localhost`, or a loopback literal."""
    return host.lower() == "localhost" or (is_address(host) and ip_address(host).is_loopback)


def source_network(address: Address) -> str:
    """What counts as one source: an IPv4 address, or the IPv6 /64 that one subscriber has (RFC 6177)."""
    if isinstance(address, IPv6Address):
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)


@lru_cache(maxsize=4096)  # those who wait are counted for each who comes
def site_network(source: str) -> str:
    """The IPv6 /48 that a subscriber or an office may have (RFC 6177 §2), of a `source_network`; an IPv4
    address is a site of its own."""
    address, slash, _ = source.partition("/")
    return f"{IPv6Address(int(IPv6Address(address)) >> 80 << 80)}/48" if slash else source


def within(address: Address, networks: tuple[Network, ...]) -> bool:
    """Whether one of `networks` holds `address`; networks of the other family never do."""
    return any(address.version == n.version and address in n for n in networks)
