"""This machine's end of the cable to the node, and the ways to pods and Services through it."""

import json
import subprocess
from ipaddress import ip_network
from pathlib import Path

from tests.cluster.fault import ClusterError
from tests.cluster.place import (
    HOST_ADDRESS,
    HOST_LINK,
    NODE_ADDRESS,
    NODE_LINK,
    POD_NETWORK,
    SERVICE_NETWORK,
)


def there() -> bool:
    """Return whether the link exists."""
    return subprocess.run(["ip", "link", "show", HOST_LINK], capture_output=True).returncode == 0


def lay(pid: int) -> None:
    """Connect this machine with the network namespace of process `pid`.

    Raises:
        ClusterError: this machine uses one of the cluster's networks itself.
    """
    taken = _taken()
    if taken:
        raise ClusterError(
            f"this machine has a route to {taken}, which the cluster would cover; "
            f"it needs {', '.join(_NETWORKS)} for itself"
        )
    _ip("link", "add", HOST_LINK, "type", "veth", "peer", "name", NODE_LINK, "netns", str(pid))
    # IPv6 would only bring this machine's own chatter into the node.
    ipv6 = Path(f"/proc/sys/net/ipv6/conf/{HOST_LINK}/disable_ipv6")
    if ipv6.exists():
        ipv6.write_text("1")
    _ip("address", "add", f"{HOST_ADDRESS}/24", "dev", HOST_LINK)
    _ip("link", "set", HOST_LINK, "up")
    for network in (POD_NETWORK, SERVICE_NETWORK):
        _ip("route", "add", network, "via", NODE_ADDRESS)


def cut() -> None:
    """Remove the link, if it is there; the routes go with it."""
    if there():
        subprocess.run(["ip", "link", "delete", HOST_LINK], check=False, capture_output=True)


_NETWORKS = (f"{HOST_ADDRESS.rpartition('.')[0]}.0/24", POD_NETWORK, SERVICE_NETWORK)


def _taken() -> str | None:
    ours = [ip_network(network) for network in _NETWORKS]
    listed = subprocess.run(["ip", "-j", "-4", "route"], capture_output=True, check=True).stdout
    for route in json.loads(listed or "[]"):
        if route["dst"] == "default":
            continue
        if any(ip_network(route["dst"], strict=False).overlaps(own) for own in ours):
            return str(route["dst"])
    return None


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
