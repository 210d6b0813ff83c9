"""The requirements of the cluster, each with the command that installs it."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.fault import ClusterError

PROGRAMS = {
    "runc": "runc",
    "etcd": "etcd-server",
    "busybox": "busybox-static",
    "ip": "iproute2",
    "nft": "nftables",
    "iptables": "iptables",
    "ipset": "ipset",
    "openssl": "openssl",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
}
"""Program: the Debian package that brings it."""
FOR_IMAGES = {"debootstrap": "debootstrap", "buildah": "buildah"}
"""The same for making and taking images; the cluster itself does without."""
_CNI = "containernetworking-plugins"
_CNI_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")
_NETAVARK = "netavark"
_NETAVARK_FOLDERS = ("/usr/lib/podman", "/usr/libexec/podman", "/usr/local/lib/podman")
_MODULES = ("overlay", "veth", "bridge", "br_netfilter", "nf_tables", "ip_set", "nf_conntrack")


def cni_plugins() -> Path | None:
    """The folder of the CNI plugins; None if there is none."""
    for folder in _CNI_FOLDERS:
        if (Path(folder) / "bridge").exists():
            return Path(folder)
    return None


def _lacks_netavark() -> bool:
    """By which buildah makes a container's network since Debian 13; before, by the CNI plugins."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return False
    is_recent = release["ID"] == "debian" and int(release.get("VERSION_ID", "99")) >= 13
    return is_recent and not any((Path(place) / _NETAVARK).exists() for place in _NETAVARK_FOLDERS)


def why_not() -> str | None:
    """Why this machine cannot run a cluster whatever is installed; None if it can."""
    if sys.platform != "linux":
        return f"the cluster needs Linux; this is {sys.platform}"
    if os.geteuid() != 0:
        return "the cluster needs root, for namespaces, mounts and cgroups; run it with sudo"
    probe = ["unshare", "--mount", "--net", "--pid", "--fork", "true"]
    try:
        done = subprocess.run(probe, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None  # missing, and check() says so
    if done.returncode != 0:
        return f"this machine lets even root make no namespaces: {done.stderr.strip()}"
    return None


def missing_packages(wanted: Mapping[str, str] = PROGRAMS) -> list[str]:
    """The Debian packages of the programs that are not here, whatever else may have brought them.

    So a machine with Docker keeps its own runc, which Debian's would replace.
    """
    packages = [package for name, package in wanted.items() if shutil.which(name) is None]
    if cni_plugins() is None:
        packages.append(_CNI)
    if "buildah" in wanted and _lacks_netavark():
        packages.append(_NETAVARK)
    return sorted(set(packages))


def check() -> None:
    """Make sure that the cluster can run here.

    Raises:
        ClusterError: it cannot; the text says why and what helps.
    """
    if reason := why_not():
        raise ClusterError(reason)
    if missing := missing_packages():
        names = " ".join(missing)
        raise ClusterError(f"the cluster needs programs that are not here; apt-get install {names}")


def load_modules() -> None:
    """Ask for the kernel's modules; where they are built in there is nothing to ask."""
    if shutil.which("modprobe") is not None:
        for module in _MODULES:
            subprocess.run(["modprobe", "-q", module], check=False, capture_output=True)
