"""The CPU time of a CONNECT, the rate, and how long each takes."""

from columns import Column, Table
from load.logins import logins
from load.upstream import upstream
from rounds import rounds
from series import percentile
from stage import Stage, peer_cpu_s

TABLE = Table(
    "connects",
    "CONNECT with a name and password",
    "peer",
    (
        Column("CPU", "µs", 0, against="squid"),
        Column("rate", "1/s", 0),
        Column("p50", "ms", 2),
        Column("p99", "ms", 2),
    ),
)


def run(stage: Stage) -> None:
    """Measure one CONNECT after the other, then 64 at once."""
    repeats = 2 if stage.quick else 5
    with upstream() as port, stage.peers({"load": port}) as peers:
        for at_once, full in ((1, 2000), (64, 10000)):
            case = f"{at_once} at once"
            count = full // 10 if stage.quick else full
            stage.report(f"connects: {case}")
            for number, peer in rounds(peers, repeats + 1):
                if stage.has_failed("connects", peer.name):
                    continue
                with stage.tolerating("connects", peer.name):
                    before = peer_cpu_s(peer)
                    seconds, times = logins(peer.doors["load"], count, at_once)
                    used = peer_cpu_s(peer) - before
                    if number == 0:
                        continue  # the first round warms up, for example password caches
                    take = stage.result.take
                    if peer.process:
                        take("connects", case, peer.name, "CPU", "µs", used / count * 1e6)
                    take("connects", case, peer.name, "rate", "1/s", count / seconds)
                    for percent in (50, 99):
                        value = percentile(times, percent) * 1e3
                        take("connects", case, peer.name, f"p{percent}", "ms", value)
