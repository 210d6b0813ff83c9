"""A writer of the tests' run times into docs/contributing/tests.md: `python bench/suite.py [TIMES]`.

TIMES is the file that a whole run of script/test writes (.cache/test-times.json), with the wall and CPU
seconds of each test. It prints the long test files that are not among those that begin first.
"""

import json
import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.plan import LONGEST, ROOT

PAGE = ROOT / "docs/contributing/tests.md"
BEGIN, END = "<!-- bench/suite.py: begin -->", "<!-- bench/suite.py: end -->"
SLOWEST = 20
LONG_S = 30.0


def report(times: Mapping[str, Any], cores: int) -> str:
    """Return the page's section. A test's time includes that of its fixtures."""
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
            for folder, (number, wall, cpu) in sorted(folders.items(), key=lambda row: -row[1][1])
        ),
        "",
        "The slowest:",
        "",
        "| test | s | CPU-s |",
        "|---|---:|---:|",
    ]
    slowest = sorted(tests.items(), key=lambda test: -test[1][0])[:SLOWEST]
    lines += [f"| `{_short(test)}` | {wall:.1f} | {cpu:.1f} |" for test, (wall, cpu) in slowest]
    return "\n".join(lines)


def unlisted(times: Mapping[str, Any], listed: Sequence[str]) -> list[tuple[str, float]]:
    """Return the files of LONG_S and more that are not listed, with their wall seconds, the longest first."""
    files: dict[str, float] = defaultdict(float)
    for test, (wall_s, _) in times["tests"].items():
        files[test.partition("::")[0]] += wall_s
    long = [
        (file, wall_s) for file, wall_s in files.items() if wall_s >= LONG_S and file not in listed
    ]
    return sorted(long, key=lambda entry: -entry[1])


def _short(test: str) -> str:
    return test.removeprefix("tests/").replace("|", "\\|")


def written(page: str, section: str) -> str:
    """Return the page with `section` between its marks. Raises ValueError if it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{BEGIN} … {END} are missing from the page")
    return f"{before}{BEGIN}\n{section}\n{END}{after}"


def main(arguments: list[str]) -> None:
    """Write the page."""
    file = Path(arguments[0]) if arguments else ROOT / ".cache/test-times.json"
    times = json.loads(file.read_text("utf-8"))
    section = report(times, os.cpu_count() or 1)
    PAGE.write_text(written(PAGE.read_text("utf-8"), section), encoding="utf-8")
    for name, wall_s in unlisted(times, LONGEST):
        print(
            f"{name} took {wall_s:.0f} s and is not in LONGEST of tests/plan.py, whose files begin first"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
