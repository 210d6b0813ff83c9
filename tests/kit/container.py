"""One container with the kit inside, run by runc as a kubelet would have it.

The mounts are those of a shell's pod: the kit read-only at /kit, memory at /run/stagedoor, the host
key and its certificate, who may log in. The network is the container's own, with loopback only:
sshd's port is fixed, and so many containers can run at once.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fixtures.runc import RuncContainer, mount, special, unmount
from tests.kit.people import People
from tests.openssh import KEX
from tests.waiting import BOUND_S, wait_until

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LEFT_TO_ROOT = """CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP
NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"""
ROOT_CAPABILITIES = tuple(f"CAP_{name}" for name in _LEFT_TO_ROOT.split())
"""The capabilities that containerd leaves root by default."""


@dataclass
class Container(RuncContainer):
    """Before `start`: how it shall be. After: the container, and ways to reach it."""

    tree: Path
    kit: Path
    people: People
    folder: Path
    uid: int = 12345
    gid: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = True
    capabilities: tuple[str, ...] = ()
    directory: str = "/"
    memory: int | None = None
    more_mounts: Sequence[dict[str, Any]] = ()

    def __post_init__(self) -> None:
        self.name = f"kit-{uuid.uuid4().hex[:12]}"

    # ---- its life

    def start(self) -> "Container":
        """Start it and wait until it says that it is there."""
        self.launch()
        wait_until(lambda: self.states or self.exit_status() is not None, what="it starts")
        assert self.states, self.log
        return self

    def launch(self) -> None:
        """Start it, whatever becomes of it."""
        self.launch_with(lambda: None)

    def launch_with(self, prepare: Callable[[], object]) -> None:
        """The same, where `prepare` changes its files before it starts."""
        self._lay_out()
        prepare()
        self.run_bundle(self._spec())

    def terminate(self) -> None:
        """SIGTERM to its first process."""
        os.kill(self.pid, signal.SIGTERM)

    def close(self) -> None:
        """End it and take it away."""
        self.take_away()
        unmount(self.folder / "run")

    # ---- what it says

    @property
    def states(self) -> list[str]:
        """Its lines on stdout, in order."""
        return (self.folder / "stdout").read_text().splitlines()

    def last_said(self) -> float:
        """Return the time at which the last line of its log was written, in seconds since the epoch."""
        return (self.folder / "stderr").stat().st_mtime

    # ---- what is inside

    def file(self, path: str) -> Path:
        """Return a file of the container's own /run/stagedoor, /etc/stagedoor/… or root, from outside."""
        for inside, outside in (
            ("/run/stagedoor", "run"),
            ("/etc/stagedoor/host", "host"),
            ("/etc/stagedoor/shell", "shell"),
        ):
            if path.startswith(inside):
                return self.folder / outside / path.removeprefix(inside).lstrip("/")
        return self.root / path.lstrip("/")

    def processes(self) -> dict[int, str]:
        """Return its processes: pid as this machine sees it, to the name."""
        listed = subprocess.run(
            [*self.runc, "ps", "--format", "json", self.name], capture_output=True, check=True
        )
        names = {}
        for pid in json.loads(listed.stdout) or ():
            try:
                names[pid] = Path(f"/proc/{pid}/comm").read_text().strip()
            except OSError:
                continue
        return names

    def run(self, *command: str) -> bytes:
        """Return what `kubectl exec` would print."""
        done = subprocess.run([*self.runc, "exec", self.name, *command], capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # ---- ways in

    def ssh_options(self, person: str = "alice", login_name: str = "dev") -> list[str]:
        """OpenSSH's options that reach it as `person`."""
        inside = f"nsenter --net=/proc/{self.pid}/ns/net nc 127.0.0.1 2222"
        return [
            *("-F", "none", "-o", f"ProxyCommand={inside}", "-l", login_name),
            *("-o", "HostKeyAlias=app01.ssh", "-o", "StrictHostKeyChecking=yes"),
            *("-o", f"UserKnownHostsFile={self.people.known_hosts}", "-o", "BatchMode=yes"),
            *("-o", f"IdentityFile={self.people.key(person)}", "-o", "IdentitiesOnly=yes"),
            *("-o", "GlobalKnownHostsFile=none", "-o", KEX),
        ]

    def ssh(
        self, *arguments: str, person: str = "alice", login_name: str = "dev", stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """`ssh OPTIONS app01.ssh ARGUMENTS`; options of ssh's own may come first."""
        split = 0
        while split < len(arguments) and arguments[split].startswith("-"):
            split += 2 if arguments[split] in ("-o", "-L", "-R", "-W") else 1
        options, command = arguments[:split], arguments[split:]
        return subprocess.run(
            ["ssh", *self.ssh_options(person, login_name), *options, "app01.ssh", *command],
            input=stdin,
            capture_output=True,
            timeout=BOUND_S,
        )

    def ssh_command(self, person: str = "alice") -> str:
        """Return a command for `rsync -e` and the like."""
        return shlex.join(["ssh", *self.ssh_options(person)])

    # ---- how it is made

    def _lay_out(self) -> None:
        self.mount_root(self.tree)
        (self.folder / "run").mkdir()
        # The kubelet makes such a volume writable by every user.
        mount("-t", "tmpfs", "-o", "mode=1777,size=16m", "tmpfs", self.folder / "run")
        self.people.lay_out(self.folder / "host", self.folder / "shell")
        (self.folder / "shell" / "motd").write_text("This is a shell of app01.\n")
        lines = {"STAGEDOOR_GRACE_S": "20", **self.settings}
        text = "".join(f"{key}={value}\n" for key, value in lines.items())
        (self.folder / "shell" / "settings").write_text(text)

    def _spec(self) -> dict[str, Any]:
        environment = {"PATH": PATH, **self.environment}
        sets = ("bounding", "effective", "permitted", "inheritable")
        memory = {"memory": {"limit": self.memory, "swap": self.memory}} if self.memory else {}
        return {
            "ociVersion": "1.0.2",
            "process": {
                "terminal": False,
                "user": {"uid": self.uid, "gid": self.gid},
                "args": ["/kit/bin/start"],
                "env": [f"{name}={value}" for name, value in environment.items()],
                "cwd": self.directory,
                "noNewPrivileges": not self.capabilities,
                "capabilities": dict.fromkeys(sets, self.capabilities),
            },
            "root": {"path": "rootfs", "readonly": self.read_only},
            "hostname": self.name,
            "mounts": [
                special("/proc", "proc"),
                special("/dev", "tmpfs", "nosuid", "strictatime", "mode=755"),
                special("/dev/pts", "devpts", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
                special("/dev/shm", "tmpfs", "nosuid", "nodev", "mode=1777"),
                _bound("/kit", self.kit, "ro"),
                _bound("/run/stagedoor", self.folder / "run", "rw"),
                _bound("/etc/stagedoor/host", self.folder / "host", "ro"),
                _bound("/etc/stagedoor/shell", self.folder / "shell", "ro"),
                *self.more_mounts,
            ],
            "linux": {
                "namespaces": [
                    {"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")
                ],
                "cgroupsPath": f"/stagedoor-tests/{self.name}",
                "resources": memory,
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
            },
        }


def _bound(target: str, source: Path, mode: str) -> dict[str, Any]:
    return {
        "destination": target,
        "type": "bind",
        "source": str(source),
        "options": ["rbind", mode, "nosuid", "nodev"],
    }


def missing() -> str | None:
    """Why containers cannot run here, or None."""
    if os.geteuid() != 0:
        return "containers need root"
    gone = [
        name
        for name in ("runc", "nsenter", "nc", "ssh", "debootstrap", "patchelf")
        if not shutil.which(name)
    ]
    if gone:
        return f"missing: {', '.join(gone)}; as root: script/test installs them"
    return None
