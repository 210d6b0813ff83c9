"""The CPU time of a GiB through a tunnel, and its speed."""

from columns import Column, Table
from load.flood import flood
from load.upstream import upstream
from peers import Peer
from rounds import rounds
from stage import Stage, peer_cpu_s

TABLE = Table(
    "throughput",
    "Bulk data",
    "peer",
    (
        Column("CPU", "s/GiB", 3, against="haproxy"),
        Column("speed", "MB/s", 0),
    ),
)
GIB = 1 << 30


def run(stage: Stage) -> None:
    """Measure one stream and 32, in both directions."""
    total = GIB // 4 if stage.quick else 2 * GIB
    repeats = 2 if stage.quick else 5
    with upstream() as port, stage.peers({"load": port}) as peers:
        for up in (True, False):
            for streams in (1, 32):
                case = f"{streams} stream{'s' if streams > 1 else ''} {'up' if up else 'down'}"
                stage.report(f"throughput: {case}")
                for number, peer in rounds(peers, repeats + 1):
                    if stage.has_failed("throughput", peer.name):
                        continue
                    with stage.tolerating("throughput", peer.name):
                        used, seconds = _flood(peer, streams, total // streams, up=up)
                        if number == 0:
                            continue  # the first round warms up
                        take = stage.result.take
                        if peer.process:
                            take(
                                "throughput", case, peer.name, "CPU", "s/GiB", used / (total / GIB)
                            )
                        take("throughput", case, peer.name, "speed", "MB/s", total / seconds / 1e6)


def _flood(peer: Peer, streams: int, each: int, *, up: bool) -> tuple[float, float]:
    """Return CPU seconds of the peer and wall seconds, both counted once all tunnels are open."""
    before = 0.0

    def started() -> None:
        nonlocal before
        before = peer_cpu_s(peer)

    seconds = flood(peer.doors["load"], streams, each, up=up, started=started)
    return peer_cpu_s(peer) - before, seconds
