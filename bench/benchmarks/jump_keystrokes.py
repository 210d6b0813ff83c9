"""The time of a keystroke's echo through a jump host."""

import contextlib

from benchmarks.jump_hosts import jump_hosts
from columns import Column, Table
from load.channel import Channel, keystrokes, terminal, typed
from rounds import rounds
from series import percentile
from stage import Stage

TABLE = Table(
    "jump_keystrokes",
    "Keystrokes through a jump",
    "jump host",
    (
        Column("p50", "µs", 0, against="sshd"),
        Column("p99", "µs", 0, against="sshd"),
    ),
)
BLOCK = 100
BARE = "one byte over a bare channel"
WHOLE = "a key typed into ssh -J"


def run(stage: Stage) -> None:
    """Measure as for tunnels: jump hosts take turns by blocks, and a round's blocks are ranked together."""
    repeats, blocks = (2, 5) if stage.quick else (9, 20)
    with jump_hosts(stage) as jumps:
        for case in (WHOLE, BARE):
            stage.report(f"jump_keystrokes: {case}")
            with contextlib.ExitStack() as stack:
                terminals = {}
                for jump in jumps:
                    with stage.tolerating("jump_keystrokes", jump.name):
                        opening = typed(jump.echo) if case == WHOLE else terminal(jump.channel)
                        terminals[jump.name] = stack.enter_context(opening)
                        keystrokes(terminals[jump.name], BLOCK)
                _measure(stage, case, terminals, repeats, blocks)


def _measure(
    stage: Stage, case: str, terminals: dict[str, Channel], repeats: int, blocks: int
) -> None:
    for _ in range(repeats):
        times: dict[str, list[float]] = {name: [] for name in terminals}
        for _, name in rounds(list(terminals), blocks):
            times[name] += keystrokes(terminals[name], BLOCK)
        for name, each in times.items():
            for percent in (50, 99):
                value = percentile(each, percent) * 1e6
                stage.result.take("jump_keystrokes", case, name, f"p{percent}", "µs", value)
