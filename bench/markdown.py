"""Tables of measured values in Markdown, and their insertion into a page."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from measure import version
from series import percentile

HEAD = ["| | values | p50 | p95 | p99 | | at most |", "|---|---:|---:|---:|---:|---|---|"]
END = "<!-- bench:end -->"


def options(about: str | None, quick: str) -> argparse.Namespace:
    """Parse a command line with `--quick`, which `quick` describes, and `--page`.

    `about` is the program's docstring, whose first line is the summary.
    """
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"{quick}: does everything work?")
    parser.add_argument("--page", type=Path, help="a page with the marks")
    return parser.parse_args()


def row(name: str, values: Sequence[float], unit: str, bound: str) -> str:
    """Return a row of the table. `bound` is a text for the greatest value that is accepted."""
    p50, p95, p99 = (percentile(values, share) for share in (50, 95, 99))
    shown = [f"{value:.1f}" if unit == "ms" else f"{value:.2f}" for value in (p50, p95, p99)]
    return f"| {name} | {len(values)} | {' | '.join(shown)} | {unit} | {bound} |"


def hand_out(lines: Sequence[str], load_before: float, page: Path | None, mark: str) -> None:
    """Print a table's lines and the machine's load, and write them into `page` if it is not None."""
    load = f"{load_before:.1f} at the start, {os.getloadavg()[0]:.1f} at the end"
    place = (
        f"Measured with Stagedoor {version()} on {os.cpu_count()} processors; load average {load}."
    )
    text = "\n".join([*lines, "", place])
    print(text)
    if page is not None:
        put_into(page, mark, text)


def put_into(page: Path, mark: str, text: str) -> None:
    """Replace the text between `<!-- bench:MARK -->` and the next end mark."""
    before, begin, rest = page.read_text().partition(f"<!-- bench:{mark} -->\n")
    _, end, after = rest.partition(END)
    assert end, f"{page} has no marks for {mark}"
    page.write_text(f"{before}{begin}{text}\n{end}{after}")
