"""The cluster itself is under test here, and a machine of its own for starting and ending one."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import lifecycle
from tests.cluster.place import ROOT, Place
from tests.cluster.start import START_TIMEOUT_S
from tests.fixtures.cluster import cluster, fresh_namespace
from tests.missing import missing

__all__ = ["cluster", "fresh_namespace"]


RUN_LIMIT_S = START_TIMEOUT_S + 60
"""A start that hangs shall say itself where, before the test loses patience."""
_FOLDERS = (
    "/var/lib/{kubelet,cni,containerd,etcd} /var/log/{pods,containers} /run/* /etc/cni "
    "/opt/{cni,containerd} ~/.kube ~/.config/helm"
)
"""Where the node's programs leave something if one lets them."""


@dataclass(frozen=True)
class Machine:
    """A machine as far as a cluster can see: its own processes, mounts and network.

    `first` is its process 1, by its number here.
    """

    first: int
    state: Path

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on it, and wait for its end."""
        with self.begin(*command) as running:
            out, err = running.communicate(timeout=RUN_LIMIT_S)
        if check and running.returncode != 0:
            raise AssertionError(f"{command} ended with {running.returncode}: {err}\n{out}")
        return subprocess.CompletedProcess(command, running.returncode, out, err)

    def begin(self, *command: str) -> subprocess.Popen[str]:
        """Start a command on it."""
        inside = ["nsenter", f"--target={self.first}", "--mount", "--net", "--pid"]
        return subprocess.Popen(
            [*inside, "--", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            env=os.environ | {"STAGEDOOR_CLUSTER_STATE": str(self.state)},
        )

    def cluster(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`script/cluster …` on it."""
        return self.run(str(ROOT / "script" / "cluster"), *words, check=check)

    def left(self, before: dict[str, list[str]]) -> dict[str, list[str]]:
        """Return the differences from `before`, `+` for new and `-` for gone; {} if there are none."""
        now = self.seen()
        changed = {
            kind: [f"+ {line}" for line in now[kind] if line not in before[kind]]
            + [f"- {line}" for line in before[kind] if line not in now[kind]]
            for kind in now
        }
        return {kind: lines for kind, lines in changed.items() if lines}

    def seen(self) -> dict[str, list[str]]:
        """All that a cluster could leave behind, kind by kind."""
        listing = {
            "processes": "exec ps -eo args --no-headers",
            # Not those of images that are built, or of containers of other tests that end, meanwhile.
            "mounts": "cut -d' ' -f2,3 /proc/self/mounts"
            " | grep -v -e /storage/overlay -e /rootfs[.] -e /container-[0-9]",
            "links": "ip -o link | cut -d: -f2",
            "routes": "ip route",
            "rules": "nft list ruleset; ipset list -name",
            "cgroups": f"find /sys/fs/cgroup -maxdepth 2 -name {Place(self.state).cgroup}",
            "folders": f"bash -c 'ls -d {_FOLDERS} 2>/dev/null'",
            "kernel": "sysctl vm.overcommit_memory kernel.panic kernel.panic_on_oops net.ipv4.ip_forward",
            "state": f"ls -d {self.state} 2>/dev/null",
        }
        seen = {
            kind: self.run("sh", "-c", how, check=False).stdout.splitlines()
            for kind, how in listing.items()
        }
        # Who asks is not meant, nor who has ended and waits for process 1 to take note.
        passing = ("ps -eo", "<defunct>")
        seen["processes"] = [
            line for line in seen["processes"] if not any(word in line for word in passing)
        ]
        return seen


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine without a cluster, so that what happens there disturbs no other test."""
    reason = lifecycle.why_not()
    if reason is not None:
        missing(reason)
    # Its process 1 only waits; when the pipe closes it ends, and with it all that is there.
    unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    script = "mount -n -t tmpfs none /run; ip link set lo up; exec 3<&0; echo here; cat <&3 & wait"
    with subprocess.Popen(
        [*unshare, "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "here\n"
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text()
        # The longest folder that is allowed: whatever has a socket below it has to cope.
        longest = lifecycle.LONGEST_STATE_BYTES - len(f"{tmp_path}/")
        made = Machine(int(children.split()[0]), tmp_path / "state".ljust(longest, "-"))
        try:
            yield made
        finally:
            made.cluster("down")
            running.communicate()
