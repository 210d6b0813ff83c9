"""Is an address one of this machine's own?"""

import errno
import socket

from stagedoor.model.source import Address

_ELSEWHERE = {4: "192.0.2.1", 6: "2001:db8::1"}
"""Addresses that no machine has (RFC 5737, RFC 3849)."""


def is_this_machine(address: Address) -> bool:
    """Whether a connect to `address` reaches this machine itself.

    Loopback and the unspecified address (to which a connect reaches loopback) do. Any other is ours
    if a socket can be bound to it, ip(7); except where `net.ipv4.ip_nonlocal_bind` lets it be bound
    to anything (fail-over pairs set it): there it is ours if the kernel would speak to it from it.
    What cannot be found out (no descriptors are left) counts as ours: the caller asks so as to refuse.
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
    """The kernel's choice of source; connect(2) on UDP sends nothing."""
    with socket.socket(_family(address.version), socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((str(address), 9))
        except OSError:  # there is no way to it
            return False
        return str(sock.getsockname()[0]) == str(address)


def _family(version: int) -> socket.AddressFamily:
    return socket.AF_INET6 if version == 6 else socket.AF_INET
