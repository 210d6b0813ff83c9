"""The rate of logins through a jump host, and the CPU time of each."""

from benchmarks.jump_hosts import jump_hosts
from columns import Column, Table
from load.channel import logins
from measure import cpu_s, tree
from rounds import rounds
from stage import Stage

TABLE = Table(
    "jump_logins",
    "Logins through a jump",
    "jump host",
    (
        Column("CPU", "ms", 1, against="sshd"),
        Column("rate", "1/s", 1, against="sshd"),
    ),
)


def run(stage: Stage) -> None:
    """Measure one login after the other, then eight at once."""
    repeats = 2 if stage.quick else 4
    with jump_hosts(stage) as jumps:
        for at_once, full in ((1, 20), (8, 40)):
            case = f"{at_once} at once"
            count = full // 4 if stage.quick else full
            stage.report(f"jump_logins: {case}")
            for number, jump in rounds(jumps, repeats + 1):
                if stage.has_failed("jump_logins", jump.name):
                    continue
                with stage.tolerating("jump_logins", jump.name):
                    before = cpu_s(tree(jump.pid))
                    seconds = logins(jump.channel, count, at_once)
                    used = cpu_s(tree(jump.pid)) - before
                    if number:  # the first round warms up
                        take = stage.result.take
                        take("jump_logins", case, jump.name, "CPU", "ms", used / count * 1e3)
                        take("jump_logins", case, jump.name, "rate", "1/s", count / seconds)
