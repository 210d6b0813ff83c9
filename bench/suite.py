"""Writes what a run of the tests cost into docs/contributing/tests.md: `python bench/suite.py [TIMES]`.

TIMES is the file that a whole run of script/test writes (.cache/test-times.json): seconds by the clock,
and of the processor, of each test.
"""

import json
import os
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/contributing/tests.md"
BEGIN, END = "<!-- bench/suite.py: begin -->", "<!-- bench/suite.py: end -->"
SLOWEST = 20


def report(times: Mapping[str, Any], cores: int) -> str:
    """The page's section. A test's time includes the fixtures that were made for it."""
    tests: dict[str, list[float]] = times["tests"]
    folders: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
    for test, (wall_s, cpu_s) in tests.items():
        row = folders["/".join(test.partition("::")[0].split("/")[:2])]
        row[0], row[1], row[2] = row[0] + 1, row[1] + wall_s, row[2] + cpu_s
    cpu_s = sum(cpu for _, cpu in tests.values())
    lines = [
        f"{len(tests)} tests in {times['wall_s'] / 60:.1f} minutes on {cores} cores; "
        f"{cpu_s / 60:.1f} minutes of the processor.",
        "",
        "| folder | tests | s | CPU-s |",
        "|---|---:|---:|---:|",
        *(
            f"| `{folder}` | {number} | {wall:.0f} | {cpu:.0f} |"
            for folder, (number, wall, cpu) in sorted(folders.items(), key=lambda one: -one[1][1])
        ),
        "",
        "The slowest:",
        "",
        "| test | s | CPU-s |",
        "|---|---:|---:|",
    ]
    slowest = sorted(tests.items(), key=lambda one: -one[1][0])[:SLOWEST]
    lines += [f"| `{_short(test)}` | {wall:.1f} | {cpu:.1f} |" for test, (wall, cpu) in slowest]
    return "\n".join(lines)


def _short(test: str) -> str:
    return test.removeprefix("tests/").replace("|", "\\|")


def written(page: str, section: str) -> str:
    """The page with `section` between its marks. Raises ValueError if it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{BEGIN} … {END} are missing from the page")
    return f"{before}{BEGIN}\n{section}\n{END}{after}"


def main(arguments: list[str]) -> None:
    file = Path(arguments[0]) if arguments else ROOT / ".cache/test-times.json"
    section = report(json.loads(file.read_text("utf-8")), os.cpu_count() or 1)
    PAGE.write_text(written(PAGE.read_text("utf-8"), section), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
