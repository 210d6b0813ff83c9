"""Changes of routes and addresses, as Linux reports them. Other systems report none."""

from __future__ import annotations

from stagedoor.laptop.tunnel.wire import socket

_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""The links, addresses and routes of IPv4 and IPv6 (RTMGRP_… in linux/rtnetlink.h)."""
_READ_BYTES = 64 * 1024


class RouteWatch:
    """The kernel's reports of changes, rtnetlink(7). `fd` is readable after one, or -1 if there are none."""

    def __init__(self) -> None:
        self.fd = -1
        try:
            self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            self.sock.setblocking(False)
            self.sock.bind((0, _GROUPS))
            self.fd = self.sock.fileno()
        except (AttributeError, OSError):
            pass  # another system, or a sandbox: PINGs find a dead connection later

    def take_changes(self) -> bool:
        """Discard all reports. Return True if there were any."""
        has_changes = False
        while self.fd >= 0:
            try:
                self.sock.recv(_READ_BYTES)
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS: some reports were lost
                pass
            has_changes = True
        return has_changes

    def stop(self) -> None:
        """Stop listening."""
        if self.fd >= 0:
            self.fd = -1
            self.sock.close()


def has_moved(sock: socket.socket) -> bool:
    """Return True if a new connection to the peer of `sock` would come from another address.

    Without any route, return False: the connection may survive until the network returns.
    """
    probe = None
    try:
        probe = socket.socket(sock.family, socket.SOCK_DGRAM)
        probe.connect(sock.getpeername())  # UDP sends nothing here
        return bool(probe.getsockname()[0] != sock.getsockname()[0])
    except OSError:
        return False
    finally:
        if probe is not None:
            probe.close()
