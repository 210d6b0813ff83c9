"""News of the network: Linux reports that routes or addresses have changed. Elsewhere there are none."""

from __future__ import annotations

from stagedoor.laptop.tunnel.wire import socket

_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""Links, and addresses and routes of IPv4 and IPv6 (RTMGRP_… in linux/rtnetlink.h)."""
_READ_BYTES = 64 * 1024


class RouteWatch:
    """The kernel's news of routes and addresses, rtnetlink(7). `fd` is readable when there are any, or -1."""

    def __init__(self) -> None:
        self.fd = -1
        try:
            self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            self.sock.setblocking(False)
            self.sock.bind((0, _GROUPS))
            self.fd = self.sock.fileno()
        except (AttributeError, OSError):
            pass  # another system, or a sandbox: PINGs find a dead connection later

    def take_news(self) -> bool:
        """Return whether there was any news, and forget it."""
        has_news = False
        while self.fd >= 0:
            try:
                self.sock.recv(_READ_BYTES)
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS: some of it was lost
                pass
            has_news = True
        return has_news

    def stop(self) -> None:
        """Listen no more."""
        if self.fd >= 0:
            self.fd = -1
            self.sock.close()


def has_moved(sock: socket.socket) -> bool:
    """Return whether the peer of a connection would be reached from another address now.

    If there is no way to it at present, the connection may still live on when the network is back.
    """
    probe = None
    try:
        probe = socket.socket(sock.family, socket.SOCK_DGRAM)
        probe.connect(sock.getpeername())  # UDP: it sends nothing
        return bool(probe.getsockname()[0] != sock.getsockname()[0])
    except OSError:
        return False
    finally:
        if probe is not None:
            probe.close()
