"""Tables of measured values in Markdown, and their place in a page."""

import os
from collections.abc import Sequence
from pathlib import Path

from series import percentile

HEAD = ["| | values | p50 | p95 | p99 | | at most |", "|---|---:|---:|---:|---:|---|---|"]
END = "<!-- bench:end -->"


def row(name: str, values: Sequence[float], unit: str, bound: str) -> str:
    """`bound` is what the figure may be at most, as it is shown."""
    p50, p95, p99 = (percentile(values, share) for share in (50, 95, 99))
    shown = [f"{value:.1f}" if unit == "ms" else f"{value:.2f}" for value in (p50, p95, p99)]
    return f"| {name} | {len(values)} | {' | '.join(shown)} | {unit} | {bound} |"


def told(lines: Sequence[str], load_before: float) -> str:
    """A table's lines, and how busy the machine was."""
    load = f"{load_before:.1f} at the start, {os.getloadavg()[0]:.1f} at the end"
    return "\n".join([*lines, "", f"{os.cpu_count()} processors; load average {load}."])


def put_into(page: Path, mark: str, text: str) -> None:
    """Replace what stands between `<!-- bench:MARK -->` and the next end mark."""
    before, begin, rest = page.read_text().partition(f"<!-- bench:{mark} -->\n")
    _, end, after = rest.partition(END)
    assert end, f"{page} has no marks for {mark}"
    page.write_text(f"{before}{begin}{text}\n{end}{after}")
