"""The cluster's cgroup in every hierarchy of this machine: version 1, 2 or both at once (cgroups(7))."""

import contextlib
import os
import signal
import time
from pathlib import Path

from tests.cluster.place import Place

_COPIED = ("cpuset.cpus", "cpuset.mems")
"""Version 1 makes a cpuset empty, and lets no process in until these are set."""


def hierarchies() -> list[Path]:
    """The mount points of all cgroup hierarchies, version 2's among them."""
    groups = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind in ("cgroup", "cgroup2"):
            groups.append(Path(place))
    return groups


def enter(place: Place) -> None:
    """Make the cluster's cgroups and move this process into `node` below them.

    The pods of the second node are in `second`: a kubelet removes the pods' cgroups that it does not know.
    """
    for top in hierarchies():
        ours = top / place.cgroup / "node"
        _delegate(top)
        (top / place.cgroup).mkdir(exist_ok=True)
        _inherit(top, top / place.cgroup)
        _delegate(top / place.cgroup)
        for group in (ours, top / place.cgroup / "second"):
            group.mkdir(exist_ok=True)
            _inherit(top / place.cgroup, group)
        (ours / "cgroup.procs").write_text(str(os.getpid()))


def _delegate(folder: Path) -> None:
    """Version 2: hand every controller on to the groups below."""
    control = folder / "cgroup.subtree_control"
    if not control.exists():
        return
    for controller in (folder / "cgroup.controllers").read_text().split():
        with contextlib.suppress(
            OSError
        ):  # one that cannot be handed on, such as busy realtime cpu
            control.write_text(f"+{controller}")


def _inherit(above: Path, below: Path) -> None:
    for name in _COPIED:
        if (below / name).exists() and not (above / "cgroup.subtree_control").exists():
            (below / name).write_text((above / name).read_text())


def remove(place: Place, within_s: float = 60.0) -> None:
    """End whatever is left in the cluster's cgroups, and remove them.

    Raises:
        OSError: they are still in use after `within_s` seconds.
    """
    end = time.monotonic() + within_s
    while True:
        try:
            for top in hierarchies():
                _remove(top / place.cgroup)
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)  # a dying process leaves no event behind in version 1


def _remove(group: Path) -> None:
    if not group.exists():
        return
    folders = [Path(path) for path, _, _ in os.walk(group, topdown=False)]
    for folder in folders:
        for pid in (folder / "cgroup.procs").read_text().split():
            if pid != "0":  # that is a process of another PID namespace, not all of our own
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        folder.rmdir()
