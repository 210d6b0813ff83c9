"""What the node's first process does to its own namespaces before it starts anything."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

from tests.cluster.commands import KUBELET_FOLDER, cni_config, containerd_config, kubelet_config
from tests.cluster.needs import cni_plugins
from tests.cluster.place import HOST_ADDRESS, NODE_ADDRESS, NODE_LINK, Place

_OWN_FOLDERS = ("/run", "/var/lib", "/var/log")
"""Where programs leave files whatever their settings are; the node sees empty ones that go with it."""

_KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What a kubelet sets for the whole machine. It finds these values in files of the node's own, and
leaves the machine alone (k8s.io/kubernetes/pkg/kubelet/cm, setupKernelTunables)."""

_NETWORK_SETTINGS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/forwarding": "1",
    # Without it two pods on the bridge talk past the firewall.
    "net/bridge/bridge-nf-call-iptables": "1",
}

_FROM_HOST = f"""
table inet stagedoor {{
  chain prerouting {{
    type filter hook prerouting priority mangle; policy accept;
    iifname "{NODE_LINK}" ip saddr {HOST_ADDRESS} meta mark set meta mark or 0x10000
  }}
}}
"""
"""kube-router lets the node itself reach every pod (0x10000 is its mark for "allowed"). This
machine counts as the node, so that a gateway or a test run on it can reach pods behind a policy."""


def set_up(place: Place) -> None:
    """Mounts, network and configuration files of the node.

    Raises:
        subprocess.CalledProcessError, OSError: the machine refused; the text says what.
    """
    _mounts(place)
    _network()
    overlay = _overlay_works(place)
    plugins = cni_plugins()
    assert plugins is not None, "checked before the start"
    (place.config / "cni").mkdir(parents=True, exist_ok=True)
    (place.config / "cni" / "pods.conflist").write_text(cni_config(place))
    for own in (place, replace(place, node="2")):
        (place.config / f"kubelet{own.node}.json").write_text(kubelet_config(own))
        (place.config / f"containerd{own.node}.toml").write_text(
            containerd_config(own, str(plugins), overlay=overlay)
        )


def _run(*arguments: str, text: str | None = None) -> None:
    subprocess.run(arguments, check=True, input=text, text=True)


def _mounts(place: Place) -> None:
    # -n everywhere: mount(8) would keep notes in a /run/mount that was not there.
    # The state folder may lie below one of those that the node covers: it is held open and put back.
    state = os.open(place.state, os.O_PATH)
    for folder in _OWN_FOLDERS:
        _run("mount", "-n", "-t", "tmpfs", "-o", "mode=0755", "stagedoor-cluster", folder)
    place.state.mkdir(parents=True, exist_ok=True)
    _run("mount", "-n", "--rbind", f"/proc/{os.getpid()}/fd/{state}", str(place.state))
    os.close(state)
    Path("/run/lock").mkdir(exist_ok=True)
    for path in (place.state / "kubelet", Path(KUBELET_FOLDER)):
        path.mkdir(exist_ok=True)
    _run("mount", "-n", "--bind", str(place.state / "kubelet"), KUBELET_FOLDER)
    settings = Path("/run/stagedoor-settings")
    for name, value in _KERNEL_SETTINGS.items():
        own = settings / name
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(value + "\n")
        if (Path("/proc/sys") / name).exists():
            _run("mount", "-n", "--bind", str(own), f"/proc/sys/{name}")
    # Volumes with mount propagation need a shared root; its peers are the node's own.
    _run("mount", "-n", "--make-rshared", "/")


def _network() -> None:
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "address", "add", f"{NODE_ADDRESS}/24", "dev", NODE_LINK)
    _run("ip", "link", "set", NODE_LINK, "up")
    for name, value in _NETWORK_SETTINGS.items():
        (Path("/proc/sys") / name).write_text(value)
    _run("nft", "-f", "-", text=_FROM_HOST)


def _overlay_works(place: Place) -> bool:
    """Return whether containers' root filesystems can be overlays: not if the state is on one itself."""
    probe = place.state / "overlay"
    parts = [probe / part for part in ("lower", "upper", "work", "merged")]
    for part in parts:
        part.mkdir(parents=True, exist_ok=True)
    lower, upper, work, merged = parts
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    mount = ["mount", "-n", "-t", "overlay", "-o", options, "overlay", str(merged)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        return False
    _run("umount", "-n", str(merged))
    return True
