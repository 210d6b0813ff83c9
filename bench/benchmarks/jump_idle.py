"""The memory of an idle session of a jump host."""

from collections.abc import Callable

from benchmarks.jump_hosts import jump_hosts
from columns import Column, Table
from load.channel import channels
from load.greeting import HOLD, greet
from measure import proportional_kib, resident_kib, settled_kib, tree
from peers.jumps import JUMPS
from rounds import rounds
from stage import Stage

TABLE = Table(
    "jump_idle",
    "Idle sessions of a jump host",
    "jump host",
    (
        Column("resident", "KiB each", 0, against="sshd"),
        Column("shared pages once", "KiB each", 0, against="sshd"),
    ),
)
WARM = 16
READINGS: dict[str, Callable[[list[int]], float]] = {
    "resident": resident_kib,
    "shared pages once": proportional_kib,
}


def run(stage: Stage) -> None:
    """Measure each jump host with hundreds of idle sessions."""
    sessions, repeats = (50, 1) if stage.quick else (500, 1)
    case = f"{sessions} sessions"
    stage.report(f"jump_idle: {case}")
    for _, name in rounds(list(JUMPS), repeats):
        # Started again for each round, so that nothing from an earlier round is counted.
        with jump_hosts(stage, (name,)) as jumps, stage.tolerating("jump_idle", name):
            for jump in jumps:
                with channels(jump.channel, WARM, greet(HOLD)):
                    pass  # the first sessions allocate memory once, which is not the cost of a session
                settled_kib(jump.pid)
                before = {what: read(tree(jump.pid)) for what, read in READINGS.items()}
                with channels(jump.channel, sessions, greet(HOLD)):
                    settled_kib(jump.pid)
                    for what, read in READINGS.items():
                        each = (read(tree(jump.pid)) - before[what]) / sessions
                        stage.result.take("jump_idle", case, name, what, "KiB each", each)
