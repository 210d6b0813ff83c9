"""The cost of a login on each kind of store: CONNECTs a second, the time of each, and CPU time.

    .venv/bin/python bench/stores.py [--quick] [--page docs/performance-store.md]

It starts one gateway (one worker) on SQLite and one on a PostgreSQL server (`tests/store/server.py`;
fsync on, Unix socket, the same disk), and logs in at each in turn. `idle` is the CPU time of a gateway
and the server without any logins. It prints a table in Markdown with medians and the spread of the
rounds; --page writes it between the marks of a page.
"""

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.store.server import server_here

from load.logins import logins
from load.upstream import upstream
from markdown import hand_out, options
from measure import cpu_s, machine, raise_open_files, tree
from peers import NAME, PASSWORD, Door
from peers.process import Process, free_port
from peers.stagedoor import SETTINGS, SHELL, commands, find
from series import percentile
from stagedoor.settings.store_location import StoreServer

CASES = ((1, 1000), (64, 5000))
ROUNDS = 5
IDLE_S = 20.0


@dataclass
class Side:
    """One gateway; `server` is the process of its database server, if it has one."""

    name: str
    door: Door
    process: Process
    server: int | None

    def cpu_s(self) -> tuple[float, float]:
        """Return the CPU seconds so far of the gateway, and of the database server."""
        ours = cpu_s(tree(self.process.pid))
        return ours, cpu_s(tree(self.server)) if self.server else 0.0


def gateway(
    folder: Path,
    name: str,
    upstream_port: int,
    store: StoreServer | None,
    prepare: Callable[[Path], None] = lambda _: None,
) -> Side:
    """Start a gateway. `prepare` is called with the settings file before that."""
    home = folder / name
    home.mkdir()
    port = free_port()
    file = home / "stagedoor.toml"
    text = SETTINGS.format(folder=home, port=port)
    text += SHELL.format(name="load", upstream=upstream_port)
    if store is not None:
        text += f'[store]\nurl = "{store.url}"\npassword_file = "{store.password_file}"\n'
    file.write_text(text)
    command = commands(find(), file)
    command("user", "add", NAME, "--password-stdin", given=PASSWORD + "\n")
    command("grant", "add", f"user:{NAME}", "*")
    prepare(file)
    process = Process([find(), "--config", str(file), "serve"], home / "log")
    process.answers(port)
    return Side(name, Door(("127.0.0.1", port), ("load.ssh", 22)), process, None)


@contextlib.contextmanager
def sides(folder: Path, upstream_port: int) -> Iterator[list[Side]]:
    """Run both gateways, and the server of one of them."""
    with server_here() as here, contextlib.ExitStack() as stack:
        both = []
        for name, store in (("SQLite", None), ("PostgreSQL", here.database())):
            side = gateway(folder, name, upstream_port, store)
            stack.callback(side.process.stop)
            side.server = here.postmaster() if store else None
            both.append(side)
        yield both


def spread(values: list[float], digits: int = 0) -> str:
    """Return a text with the median, the least and the greatest value."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def table(results: Mapping[tuple[str, str], Mapping[str, Sequence[float]]]) -> Iterator[str]:
    """Yield the lines of the table of logins."""
    yield "| | store | logins a second | p50, ms | p99, ms | gateway's CPU, µs | server's CPU, µs |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    for (case, name), took in results.items():
        server = spread(took["server"]) if name != "SQLite" else "-"
        yield (
            f"| {case} | {name} | {spread(took['rate'])} | {spread(took['p50'], 2)} "
            f"| {spread(took['p99'], 1)} | {spread(took['gateway'])} | {server} |"
        )


def describe_idle(idle: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Yield a line for the CPU time of each gateway, and of its server, without logins."""
    for name, (ours, theirs) in idle.items():
        yield f"Without logins, {name}: gateway {ours:.1f} ms, server {theirs:.1f} ms of CPU each second."


def main() -> int:
    """Run the benchmark; return the exit code."""
    given, load_before = options(__doc__, "a tenth of the logins, two rounds"), os.getloadavg()[0]
    quick = given.quick
    open_files = raise_open_files()
    results: dict[tuple[str, str], dict[str, list[float]]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="stagedoor-bench-") as folder,
        upstream() as port,
        sides(Path(folder), port) as both,
    ):
        about = machine(open_files, Path(folder))
        for at_once, full in CASES:
            count = full // 10 if quick else full
            for number in range((2 if quick else ROUNDS) + 1):
                # In turn, and each first as often as last, so that a slow minute affects both.
                for side in both if number % 2 else reversed(both):
                    before = side.cpu_s()
                    seconds, times = logins(side.door, count, at_once)
                    used = [now - then for now, then in zip(side.cpu_s(), before, strict=True)]
                    if number == 0:
                        continue  # warms up
                    took = results.setdefault((f"{at_once} at once", side.name), {})
                    for what, value in (
                        ("rate", count / seconds),
                        ("p50", percentile(times, 50) * 1e3),
                        ("p99", percentile(times, 99) * 1e3),
                        ("gateway", used[0] / count * 1e6),
                        ("server", used[1] / count * 1e6),
                    ):
                        took.setdefault(what, []).append(value)
                print(f"{at_once} at once, round {number}", file=sys.stderr, flush=True)
        idle = {}
        before_idle = [side.cpu_s() for side in both]
        time.sleep(2 if quick else IDLE_S)  # the idle time is the measurement here
        for side, before in zip(both, before_idle, strict=True):
            span = 2 if quick else IDLE_S
            idle[side.name] = [
                (a - b) / span * 1e3 for a, b in zip(side.cpu_s(), before, strict=True)
            ]
    for name, value in about.items():
        print(f"- {name}: {value}")
    hand_out([*table(results), "", *describe_idle(idle)], load_before, given.page, "stores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
