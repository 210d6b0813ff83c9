"""The benchmarks of Stagedoor beside other programs on this machine.

    python bench/run.py [--quick] [NAME…] [--json FILE] [--plot FOLDER] [--peers NAME,…]
                        [--stock-ciphers]

NAME is one or more of the benchmarks (all, if none is named). Progress and notes go to stderr,
tables to stdout. docs/performance.md says what is measured and how.
"""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import measure
import tables
from benchmarks import (
    connects,
    idle,
    jump_bulk,
    jump_idle,
    jump_keystrokes,
    jump_logins,
    keystrokes,
    login,
    resume,
    scp,
    throughput,
    ways,
)
from columns import Table
from peers import jumps
from series import Result
from stage import STARTS, USUAL, Stage
from targets import JUMP_TARGETS, TARGETS

BENCHMARKS: dict[str, tuple[Table, Callable[[Stage], None]]] = {
    module.TABLE.benchmark: (module.TABLE, module.run)
    for module in (
        throughput,
        connects,
        idle,
        keystrokes,
        login,
        scp,
        resume,
        jump_bulk,
        jump_logins,
        jump_keystrokes,
        jump_idle,
        ways,
    )
}
QUIET = 0.05  # the share of all cores above which other programs' use is noted for the reader


def main() -> int:
    """Run the benchmarks; return the exit code."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog="benchmarks: " + ", ".join(f"{n} ({t.title})" for n, (t, _) in BENCHMARKS.items()),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure; default: all")
    parser.add_argument("--quick", action="store_true", help="see in a minute that all works")
    parser.add_argument(
        "--stock-ciphers", action="store_true", help="jump_*: ssh takes its own list of ciphers"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single value")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw SVG and PNG pictures")
    parser.add_argument(
        "--peers",
        default=",".join(USUAL),
        metavar="NAME,…",
        help=f"of {', '.join(STARTS)}; default: %(default)s",
    )
    arguments = parser.parse_args()
    jumps.stock_ciphers = arguments.stock_ciphers
    for kind, given, known in (
        ("benchmark", arguments.names, list(BENCHMARKS)),
        ("peer", arguments.peers.split(","), list(STARTS)),
    ):
        for name in given:
            if name not in known:
                parser.error(f"there is no {kind} {name!r}; there are {', '.join(known)}")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all peers are stopped
    open_files = measure.raise_open_files()
    with tempfile.TemporaryDirectory(prefix="stagedoor-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # squid changes to another user
        result = Result(measure.machine(open_files, folder), arguments.quick)
        stage = Stage(folder, result, arguments.quick, arguments.peers.split(","), open_files)
        with contextlib.suppress(KeyboardInterrupt):
            for benchmark in arguments.names or BENCHMARKS:
                _run(stage, benchmark)
                if arguments.json:
                    result.write(arguments.json)  # each time, since a later one may fail
    _print(result, arguments.names or list(BENCHMARKS))
    if arguments.plot:
        from plot import plot

        try:
            plot(result, arguments.plot)
        except ImportError:
            print("no pictures: .venv/bin/pip install matplotlib", file=sys.stderr)
            return 1
    return 0


def _run(stage: Stage, name: str) -> None:
    """Run one benchmark, and note how much of the machine other programs used meanwhile."""
    before = measure.busy_s(), measure.cpu_s(measure.tree(os.getpid())), time.perf_counter()
    BENCHMARKS[name][1](stage)
    busy, ours, wall = (
        measure.busy_s() - before[0],
        measure.cpu_s(measure.tree(os.getpid())) - before[1],
        time.perf_counter() - before[2],
    )
    others = max(0.0, busy - ours) / wall / (os.cpu_count() or 1)
    stage.report(f"{name}: {wall:.0f} s; others took {others:.0%} of all cores")
    if others > QUIET:
        stage.note(
            f"{name}: the machine was not quiet; others took {others:.0%} of all cores meanwhile"
        )


def _print(result: Result, names: list[str]) -> None:
    print("# Machine\n\n" + tables.machine(result))
    print("\n# Peers\n\n" + tables.peers(result))
    print("\n# Jump hosts\n\n" + tables.peers(result, "jump"))
    for name in names:
        spec, _ = BENCHMARKS[name]
        print(f"\n# {spec.title}\n\n{tables.table(result, spec)}")
    wanted = [target for target in (*TARGETS, *JUMP_TARGETS) if target.benchmark in names]
    if wanted and not result.quick:
        print("\n# Targets\n\n" + tables.targets(result, wanted))
    print("\n# Notes\n\n" + tables.notes(result))


if __name__ == "__main__":
    sys.exit(main())
