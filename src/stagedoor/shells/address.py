"""A filter of the addresses that a shell may have, since a name that others control may resolve to anything.

Lines 19 to 21 of the CONNECT conformance list. Callers resolve a name once, pass all its addresses to
`filter_addresses`, and dial only those that it returns. So a second, different answer of the name server
has no effect.
"""

from collections.abc import Iterable
from enum import Enum, auto
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from stagedoor.model.shell import Shell
from stagedoor.model.source import Address, Network, is_within


def _networks(*names: str) -> tuple[Network, ...]:
    return tuple(ip_network(name) for name in names)


LOOPBACK = _networks("127.0.0.0/8", "::1/128")

# No shell is at these addresses, whatever the settings allow.
NEVER = _networks(
    "0.0.0.0/8",  # this network (RFC 1122); 0.0.0.0 reaches loopback on Linux
    "::/128",
    "224.0.0.0/4",  # multicast
    "ff00::/8",
    "240.0.0.0/4",  # reserved and limited broadcast
    # All IPv6 forms of IPv4 addresses are refused.
    "::/96",  # IPv4-compatible (RFC 4291 §2.5.5.1); ::1 is checked before this
    "::ffff:0:0/96",  # IPv4-mapped (RFC 4291 §2.5.5.2)
    "::ffff:0:0:0/96",  # IPv4-translated (RFC 2765)
    # Cloud metadata services: a client that reaches one may get the machine's own credentials.
    "169.254.169.254/32",  # nearly all clouds
    "169.254.170.2/32",  # AWS ECS
    "169.254.170.23/32",  # AWS EKS
    "fd00:ec2::254/128",  # AWS
    "fd00:ec2::23/128",  # AWS EKS
    "fd20:ce::254/128",  # Google
    "fd00:c1::a9fe:a9fe/128",  # Oracle
    "100.100.100.200/32",  # Alibaba
    "168.63.129.16/32",  # Azure
    "192.0.0.0/24",  # IETF protocol assignments; 192.0.0.192 is Oracle's
)

# Forbidden unless the shell's settings name a network that contains the address.
UNLESS_NAMED = _networks(
    "169.254.0.0/16",  # link-local
    "fe80::/10",
    "fec0::/10",  # site-local, deprecated (RFC 3879)
    "64:ff9b::/96",  # NAT64 (RFC 6052): contains an IPv4 address
    "64:ff9b:1::/48",  # NAT64, local use (RFC 8215)
    "2002::/16",  # 6to4 (RFC 3056)
    "2001::/32",  # Teredo (RFC 4380)
)


class _Rule(Enum):
    """The condition under which an address is allowed."""

    ALWAYS = auto()
    NEVER = auto()
    IF_NAMED = auto()
    OWN_OR_NAMED = auto()


def filter_addresses(addresses: Iterable[Address], shell: Shell) -> tuple[Address, ...]:
    """Return those of `addresses` that may be dialled for `shell`, in the given order.

    Loopback is allowed for a shell that the gateway started itself, and within the networks of `shell`. The
    caller must check that an address is not the gateway's own listener, since only it knows the port.
    """
    return tuple(address for address in addresses if _is_allowed(address, shell))


def _is_allowed(address: Address, shell: Shell) -> bool:
    bare = _without_zone(address)
    match _rule_for(bare):
        case _Rule.NEVER:
            return False
        case _Rule.OWN_OR_NAMED if shell.started_by_us:
            return True
        case _Rule.ALWAYS:
            return True
    return is_within(bare, shell.networks)


# Each address is compared with forty networks, and the same shells are used again and again.
@lru_cache(maxsize=4096)
def _rule_for(address: Address) -> _Rule:
    if is_within(address, LOOPBACK):
        return _Rule.OWN_OR_NAMED
    if is_within(address, NEVER):
        return _Rule.NEVER
    return _Rule.IF_NAMED if is_within(address, UNLESS_NAMED) else _Rule.ALWAYS


def _without_zone(address: Address) -> IPv4Address | IPv6Address:
    """Return the address without its zone id (RFC 4007), since with one it would be in no network."""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return ip_address(int(address).to_bytes(16, "big"))
    return address
