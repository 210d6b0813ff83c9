"""A minimal Debian with systemd as its first process, in a container of runc.

The container has a cgroup namespace, and the unified hierarchy (cgroups(7)) as its only one. Where this
machine uses version 1, that hierarchy has no controllers: systemd follows processes, and limits neither
memory nor processor. The sandboxes of services, notifications and signals are the real ones.
"""

import os
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.bare.machine import Machine, base
from tests.fixtures.runc import RuncContainer, special
from tests.missing import missing
from tests.waiting import wait_until

PROGRAMS = ("debootstrap", "dpkg-deb", "runc", "nsenter")
PACKAGES = (
    *("systemd", "systemd-sysv", "init-system-helpers", "adduser", "procps"),
    *("openssh-server", "openssh-client", "python3"),
)
"""Besides the minimum: what Stagedoor's packages depend on, so that no test needs Debian's archive."""
_CAPABILITIES = """AUDIT_WRITE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID IPC_OWNER KILL LEASE
LINUX_IMMUTABLE MKNOD NET_ADMIN NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_ADMIN SYS_CHROOT
SYS_NICE SYS_PTRACE SYS_TTY_CONFIG"""
"""As systemd-nspawn(1) leaves them, but for some that root has not everywhere."""


def why_not() -> str | None:
    """Return why systemd cannot be booted here, or None."""
    if os.geteuid() != 0:
        return "a container needs root"
    if lacking := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"missing: {', '.join(lacking)}; as root: apt-get install debootstrap dpkg runc util-linux"
    if "cgroup2" not in Path("/proc/filesystems").read_text():
        return "this kernel has no cgroup2"
    return None


class BootedDebian(RuncContainer):
    """A Debian that systemd has booted. `take_away` cuts its power, and its disk stays in `folder`."""

    def __init__(self, suite: str, folder: Path) -> None:
        self.suite = suite
        self.folder = folder
        self.name = f"booted-{uuid.uuid4().hex[:12]}"
        self.machine = Machine(self, Path("/"))

    def boot(self) -> None:
        """Boot it, and wait until all that is enabled runs."""
        self.mount_root(base(self.suite, "booted", PACKAGES))
        self.run_bundle(_spec(self.name))
        if self.exit_status() is not None:
            missing(f"a machine on which runc may start systemd; here it said: {self.log.strip()}")
        wait_until(lambda: self._has_booted() or self.exit_status() is not None, 60, costly=True)
        state = self.machine.succeed("systemctl is-system-running || systemctl --failed").strip()
        assert state == "running", (state, self.log)

    def _has_booted(self) -> bool:
        command = self.command(
            Path("/"), ["systemctl", "is-system-running", "--wait"], outside=False
        )
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return done.stdout.strip() in ("running", "degraded")

    def command(self, root: Path, command: Sequence[str], *, outside: bool) -> list[str]:
        """As argv of this machine."""
        assert not outside, "its disk has all that a test needs"
        return ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--uts", *command]

    def __enter__(self) -> Self:
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        self.take_away()
        shutil.rmtree(self.folder)


def _spec(name: str) -> dict[str, Any]:
    capabilities = [f"CAP_{name}" for name in _CAPABILITIES.split()]
    sets = ("bounding", "effective", "permitted", "inheritable")
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["/lib/systemd/systemd", "--log-target=console"],
            "env": ["PATH=/usr/sbin:/usr/bin", "container=oci"],
            "cwd": "/",
            "capabilities": dict.fromkeys(sets, capabilities),
        },
        "root": {"path": "rootfs", "readonly": False},
        "mounts": [
            special("/proc", "proc", "nodev"),
            special("/dev", "tmpfs", "strictatime", "mode=755"),
            special("/dev/pts", "devpts", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
            special("/dev/shm", "tmpfs", "nodev", "mode=1777"),
            # What is read-only systemd takes for the host's: it neither tunes the kernel nor starts udev.
            special("/sys", "sysfs", "nodev", "ro"),
            special("/sys/fs/cgroup", "cgroup2", "nodev"),
            special("/run", "tmpfs", "nodev", "mode=755"),
            special("/run/lock", "tmpfs", "nodev", "mode=1777"),
        ],
        "linux": {
            "namespaces": [
                {"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")
            ],
            "cgroupsPath": f"/stagedoor-tests/{name}",
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }  # fmt: skip
