"""The benchmarks of the WebShell beside ssh and other web terminals, in a real Chromium and without one.

    python bench/web.py [--quick] [NAME…] [--out FOLDER] [--page FILE]

NAME is one or more of bulk, echo, slow_line, interrupt, start, escape, dead_line, wire, crowd (all, if
none is named). Progress and notes go to stderr, tables to stdout. `--out` writes every value to
FOLDER/web.json and pictures to FOLDER/web_NAME.svg; `--page` writes the tables between the markers of
FILE. A --quick run does neither. docs/performance-webshell.md says what is measured and how.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import measure
import tables
from benchmarks import (
    web_bulk,
    web_crowd,
    web_dead_line,
    web_echo,
    web_escape,
    web_interrupt,
    web_slow_line,
    web_start,
    web_wire,
)
from benchmarks.web_stage import Programs, programs
from columns import Table
from page import replaced
from series import Result
from stage import Stage
from targets import WEB_TARGETS

ALONE: dict[str, tuple[Table, Callable[[Stage, Programs], None]]] = {
    "bulk": (web_bulk.TABLE, web_bulk.run),
    "echo": (web_echo.TABLE, web_echo.run),
    "slow_line": (web_slow_line.TABLE, web_slow_line.run),
    "interrupt": (web_interrupt.TABLE, web_interrupt.run),
    "start": (web_start.TABLE, web_start.run),
    "escape": (web_escape.TABLE, web_escape.run),
    "dead_line": (web_dead_line.TABLE, web_dead_line.run),
    "wire": (web_wire.TABLE, web_wire.run),
}
CROWD = "crowd"
TABLES = (*(table for table, _ in ALONE.values()), web_crowd.MEMORY, web_crowd.STORM)
QUIET = 0.1  # the share of all cores above which other programs' use is noted for the reader
JSON = "web.json"


def main() -> int:
    """Run the benchmarks; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure; default: all")
    parser.add_argument("--quick", action="store_true", help="see in a minute that all works")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write values and pictures")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page's tables")
    arguments = parser.parse_args()
    known = [*ALONE, CROWD]
    for name in arguments.names:
        if name not in known:
            parser.error(f"there is no benchmark {name!r}; there are {', '.join(known)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all peers are stopped
    measure.adopt_orphans()  # shells outlive their gateway
    open_files = measure.raise_open_files()
    with tempfile.TemporaryDirectory(
        prefix="stagedoor-bench-",
        ignore_cleanup_errors=True,  # Chromium writes while it ends
    ) as name:
        folder = Path(name)
        folder.chmod(0o755)
        result = Result(measure.machine(open_files, folder), arguments.quick)
        stage = Stage(folder, result, arguments.quick, (), open_files)
        _measure(stage, arguments.names or known)
    left = [table.title for table in TABLES if not result.of(table.benchmark)]
    if left:
        stage.note(
            f"not measured in this run, and of an earlier one on the page: {', '.join(left)}"
        )
    print(f"# Machine\n\n{tables.machine(result)}")
    for table in TABLES:
        if result.of(table.benchmark):
            print(f"\n# {table.title}\n\n{tables.table(result, table)}")
    if not result.quick:
        print("\n# Targets\n\n" + tables.targets(result, WEB_TARGETS))
    print("\n# Notes\n\n" + tables.notes(result))
    return 0 if result.quick else _write(result, arguments.out, arguments.page)


def _measure(stage: Stage, names: list[str]) -> None:
    alone = [name for name in names if name != CROWD]
    if alone:
        with programs(stage) as running:
            for name in alone:
                _run(stage, name, partial(ALONE[name][1], stage, running))
    if CROWD in names:
        counts = (50,) if stage.quick else (500, 1000)
        _run(stage, CROWD, partial(web_crowd.run, stage, counts))


def _run(stage: Stage, name: str, run: Callable[[], None]) -> None:
    """Call `run`, and note how much of the machine other programs used meanwhile."""
    busy, begin = measure.busy_s(), time.perf_counter()
    ours = _ours_s()
    run()
    wall = time.perf_counter() - begin
    others = max(0.0, measure.busy_s() - busy - (_ours_s() - ours)) / wall / (os.cpu_count() or 1)
    stage.report(f"{name}: {wall:.0f} s; others took {others:.0%} of all cores")
    if others > QUIET:
        stage.note(f"{name}: the machine was not quiet; others took {others:.0%} of all cores")


def _ours_s() -> float:
    """Return the CPU seconds of this run so far."""
    return measure.cpu_s(measure.tree(os.getpid()))


def _write(result: Result, out: Path | None, page: Path | None) -> int:
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        result.write(out / JSON)
        from plot import plot

        try:
            plot(result, out, TABLES, ("svg",))
        except ImportError:
            print("no pictures: .venv/bin/pip install matplotlib", file=sys.stderr)
    if page is not None:
        page.write_text(filled(page.read_text(encoding="utf-8"), result), encoding="utf-8")
        print(f"{page} written", file=sys.stderr)
    return 0


def filled(page: str, result: Result) -> str:
    """Return `page` with the tables of the result; a table that was not measured stays, and a note names it.

    Raises ValueError for an unknown part.
    """
    parts: dict[str, Callable[[], str]] = {
        "machine": lambda: tables.machine(result),
        "targets": lambda: tables.targets(result, WEB_TARGETS),
        "notes": lambda: tables.notes(result),
    }
    for table in TABLES:
        parts[table.benchmark] = partial(tables.table, result, table)
    missing = {table.benchmark for table in TABLES if not result.of(table.benchmark)}
    return replaced(page, parts, lambda name: name not in missing)


if __name__ == "__main__":
    sys.exit(main())
