"""A writer of a result's tables into the pages of docs/, between the markers there.

    python bench/page.py RESULT.json [PAGE.md]

No figure on those pages is typed by hand: the text between `<!-- bench:NAME -->` and
`<!-- bench:end -->` is replaced, if the result has that part. Tunnels and jump hosts may be measured
in separate runs, so each of the two has its own machine, targets and notes.
"""

import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

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
from series import Result, read_result
from targets import JUMP_TARGETS, TARGETS

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = tuple(
    DOCS / f"{name}.md" for name in ("performance", "performance-connect", "performance-jump")
)
TUNNELS: tuple[Table, ...] = (
    throughput.TABLE,
    connects.TABLE,
    idle.TABLE,
    keystrokes.TABLE,
    login.TABLE,
    scp.TABLE,
    resume.TABLE,
)
JUMPS: tuple[Table, ...] = (
    jump_bulk.TABLE,
    jump_logins.TABLE,
    jump_keystrokes.TABLE,
    jump_idle.TABLE,
    ways.TABLE,
)
SPECS = (*TUNNELS, *JUMPS)
_PART = re.compile(r"(<!-- bench:(?!end)(\w+) -->\n).*?(<!-- bench:end -->)", re.DOTALL)


def filled(page: str, result: Result) -> str:
    """Return `page` with the parts that the result has. Raises ValueError for an unknown part."""
    known: dict[str, Callable[[], str]] = {
        "machine": lambda: tables.machine(result),
        "peers": lambda: tables.peers(result),
        "targets": lambda: tables.targets(result, TARGETS),
        "notes": lambda: tables.notes(result),
        "jump_machine": lambda: tables.machine(result),
        "jump_peers": lambda: tables.peers(result, "jump"),
        "jump_targets": lambda: tables.targets(result, JUMP_TARGETS),
        "jump_notes": lambda: tables.notes(result),
        **{spec.benchmark: partial(tables.table, result, spec) for spec in SPECS},
    }
    tunnels = any(result.of(spec.benchmark) for spec in TUNNELS)
    jumps = any(result.of(spec.benchmark) for spec in JUMPS)

    def measured(name: str) -> bool:
        of_jumps = name.startswith("jump_") or name in {spec.benchmark for spec in JUMPS}
        return jumps if of_jumps else tunnels

    return replaced(page, known, measured)


def replaced(
    page: str,
    parts: Mapping[str, Callable[[], str]],
    measured: Callable[[str], bool] = lambda _: True,
) -> str:
    """Return `page` with each part that was `measured` replaced. Raises ValueError for an unknown one."""

    def part(match: re.Match[str]) -> str:
        name = match[2]
        if name not in parts:
            raise ValueError(f"the page has a part {name!r}; there are {', '.join(parts)}")
        return f"{match[1]}{parts[name]()}\n{match[3]}" if measured(name) else match[0]

    return _PART.sub(part, page)


def main(argv: list[str]) -> int:
    """Write the pages; return the exit code."""
    if len(argv) not in (1, 2) or argv[0].startswith("-"):
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    pages = (Path(argv[1]),) if len(argv) == 2 else PAGES
    result = read_result(Path(argv[0]))
    if result.quick:
        print("that was a --quick run: its figures mean nothing", file=sys.stderr)
        return 1
    for page in pages:
        page.write_text(filled(page.read_text(encoding="utf-8"), result), encoding="utf-8")
        print(f"{page} written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
