"""The CPU time of a GiB through a jump host, and its speed."""

from benchmarks.jump_hosts import jump_hosts
from columns import Column, Table
from load.channel import flood
from measure import cpu_s, tree
from peers.jumps import Jump
from rounds import rounds
from stage import Stage

TABLE = Table(
    "jump_bulk",
    "Bulk data through a jump",
    "jump host",
    (
        Column("CPU", "s/GiB", 2, against="sshd"),
        Column("speed", "MB/s", 0, against="sshd"),
    ),
)
GIB = 1 << 30


def run(stage: Stage) -> None:
    """Measure one stream and eight, in both directions."""
    total = GIB // 8 if stage.quick else GIB
    repeats = 2 if stage.quick else 4
    with jump_hosts(stage) as jumps:
        for up in (True, False):
            for streams in (1, 8):
                case = f"{streams} stream{'s' if streams > 1 else ''} {'up' if up else 'down'}"
                stage.report(f"jump_bulk: {case}")
                for number, jump in rounds(jumps, repeats + 1):
                    if stage.has_failed("jump_bulk", jump.name):
                        continue
                    with stage.tolerating("jump_bulk", jump.name):
                        used, seconds = _flood(jump, streams, total // streams, up=up)
                        if number == 0:
                            continue  # the first round warms up
                        take = stage.result.take
                        take("jump_bulk", case, jump.name, "CPU", "s/GiB", used / (total / GIB))
                        take("jump_bulk", case, jump.name, "speed", "MB/s", total / seconds / 1e6)


def _flood(jump: Jump, streams: int, each: int, *, up: bool) -> tuple[float, float]:
    """Return CPU seconds of the jump host and wall seconds, both counted once all channels are open."""
    before = 0.0

    def started() -> None:
        nonlocal before
        before = cpu_s(tree(jump.pid))

    seconds = flood(jump.channel, streams, each, up=up, started=started)
    return cpu_s(tree(jump.pid)) - before, seconds
