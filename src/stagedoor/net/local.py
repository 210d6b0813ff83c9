"""A test whether an address belongs to this machine."""

import errno
import socket

from stagedoor.model.source import Address

_ELSEWHERE = {4: "192.0.2.1", 6: "2001:db8::1"}
"""Addresses that no machine has (RFC 5737, RFC 3849)."""


def is_this_machine(address: Address) -> bool:
    """Return True if a connect to `address` reaches this machine itself.

    Loopback and the unspecified address, to which a connect reaches loopback, do. Any other address is
    local if a socket can be bound to it, ip(7). With `net.ipv4.ip_nonlocal_bind`, which fail-over pairs
    set, a socket can be bound to anything; then an address is local if the kernel would use it as the
    source of packets to itself. If this cannot be determined because no descriptors are left, the
    answer is True: callers ask in order to refuse.
    """
    if address.is_loopback or address.is_unspecified:
        return True
    try:
        if not _can_bind(address.version, str(address)):
            return False
        return not _can_bind(address.version, _ELSEWHERE[address.version]) or _speaks_from(address)
    except OSError:
        return True


def _can_bind(version: int, address: str) -> bool:
    with socket.socket(_family(version), socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            return False
    return True


def _speaks_from(address: Address) -> bool:
    """Return True if the kernel chooses `address` as the source. connect(2) on UDP sends nothing."""
    with socket.socket(_family(address.version), socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((str(address), 9))
        except OSError:  # there is no route to it
            return False
        return str(sock.getsockname()[0]) == str(address)


def _family(version: int) -> socket.AddressFamily:
    return socket.AF_INET6 if version == 6 else socket.AF_INET
