"""The delay that each peer adds to a keystroke's echo."""

import contextlib

from columns import Column, Table
from load.keystrokes import keystrokes, terminal
from load.upstream import upstream
from rounds import rounds
from series import percentile
from stage import Stage

TABLE = Table(
    "keystrokes",
    "Keystrokes",
    "peer",
    (
        Column("added p50", "µs", 1),
        Column("added p99", "µs", 1),
        Column("p50", "µs", 1, against="haproxy"),
        Column("p99", "µs", 1, against="haproxy"),
    ),
)
BLOCK = 100
CASE = "one byte there and back"


def run(stage: Stage) -> None:
    """Measure all peers in turn by blocks; the blocks of a round are ranked together."""
    repeats, blocks = (2, 5) if stage.quick else (6, 40)
    stage.report("keystrokes")
    with (
        upstream() as port,
        stage.peers({"load": port}) as peers,
        contextlib.ExitStack() as stack,
    ):
        terminals = {}
        for peer in peers:
            with stage.tolerating("keystrokes", peer.name):
                sock = stack.enter_context(terminal(peer.doors["load"]))
                keystrokes(sock, BLOCK)
                terminals[peer.name] = sock
        for _ in range(repeats):
            times: dict[str, list[float]] = {name: [] for name in terminals}
            for _, name in rounds(list(terminals), blocks):
                times[name] += keystrokes(terminals[name], BLOCK)
            for percent in (50, 99):
                values = {name: percentile(each, percent) * 1e6 for name, each in times.items()}
                for name, value in values.items():
                    stage.result.take("keystrokes", CASE, name, f"p{percent}", "µs", value)
                    if name != "direct" and "direct" in values:
                        stage.result.take(
                            "keystrokes",
                            CASE,
                            name,
                            f"added p{percent}",
                            "µs",
                            value - values["direct"],
                        )
