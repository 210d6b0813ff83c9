"""The memory of an idle tunnel."""

import contextlib
import math

from columns import Column, Table
from load.idle import SPARE_FILES, idle_tunnels
from load.upstream import upstream
from measure import settled_kib
from rounds import rounds
from stage import Stage

TABLE = Table(
    "idle",
    "Idle tunnels",
    "peer",
    (Column("memory", "KiB each", 2, against="haproxy"),),
)
WARM = 32


def run(stage: Stage) -> None:
    """Measure each peer with thousands of idle tunnels."""
    repeats = 1 if stage.quick else 2
    names = [name for name in stage.wanted if name != "direct"]
    for tunnels in (500,) if stage.quick else (5000, 20000):
        case = f"{tunnels:,} tunnels"
        stage.report(f"idle: {case}")
        for _, name in rounds(names, repeats):
            if not stage.has_failed("idle", name):
                with stage.tolerating("idle", name):
                    _measure(stage, case, name, tunnels)


def _measure(stage: Stage, case: str, name: str, tunnels: int) -> None:
    """Measure one peer, which needs two sockets for each tunnel.

    If a process may not open that many files, several copies of the peer share the tunnels.
    """
    copies = math.ceil(tunnels / ((stage.open_files - SPARE_FILES) // 2))
    if copies > 1:
        stage.note(
            f"idle: {case} need {2 * tunnels:,} open files, and a process here may have "
            f"{stage.open_files:,}: each peer ran {copies} times, with its share of the tunnels, and "
            "the memory of all copies is added up"
        )
    endpoints = math.ceil(tunnels / (0.9 * (stage.open_files - SPARE_FILES)))
    share = math.ceil(tunnels / copies)
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(upstream(endpoints))
        peers = []
        for _ in range(copies):
            peer = stage.start(stack, name, {"load": port}, share + WARM + 16)
            if peer is None:
                return
            peers.append(peer)
        pids = [peer.pid for peer in peers if peer.pid is not None]
        doors = [peer.doors["load"] for peer in peers]
        with idle_tunnels([(door, WARM) for door in doors], stage.open_files):
            pass  # the first tunnels allocate memory once, which is not the cost of a tunnel
        before = sum(settled_kib(pid) for pid in pids)
        with idle_tunnels([(door, share) for door in doors], stage.open_files):
            after = sum(settled_kib(pid) for pid in pids)
        stage.result.take(
            "idle", case, name, "memory", "KiB each", (after - before) / (share * copies)
        )
