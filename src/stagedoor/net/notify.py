"""Word to the service manager: sd_notify(3), as systemd's `Type=notify` expects it."""

import os
import socket
from contextlib import suppress


def notify_service_manager(state: str) -> None:
    """Send `state` (`READY=1`, `STOPPING=1`) if a service manager listens; otherwise do nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), address)
