"""Messages to the service manager: sd_notify(3), as systemd's `Type=notify` expects."""

import os
import socket
from contextlib import suppress
from pathlib import Path


def reload_command() -> str:
    """Return the command with which an administrator makes the gateway reload its settings.

    Where systemd does not run (sd_booted(3)), as in a container, the command sends a signal.
    """
    if Path("/run/systemd/system").is_dir():
        return "systemctl reload stagedoor"
    return "kill -HUP PID, with the PID of stagedoor serve"


def has_service_manager() -> bool:
    """Return whether a service manager started this process, and follows it by sd_notify(3)."""
    return os.environ.get("NOTIFY_SOCKET", "").startswith(("/", "@"))


def notify_service_manager(state: str) -> None:
    """Send `state` (`READY=1`, `STOPPING=1`) if a service manager listens; otherwise do nothing."""
    if not has_service_manager():
        return
    address = os.environ["NOTIFY_SOCKET"]
    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), address)
