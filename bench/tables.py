"""A result as Markdown tables, which are also readable on a terminal."""

import statistics
from collections.abc import Iterable, Sequence

from columns import Column, Table
from peers.gateway_ways import WAYS
from series import Result, Series, ordered, pairwise
from targets import Target
from web_subjects import WEB_ORDER

ORDER = (
    "direct",
    "sshd",
    "haproxy",
    "haproxy-1m",
    "haproxy-auto",
    "squid",
    "tinyproxy",
    "nc",
    "ncat",
    "corkscrew",
    "connect-proxy",
    "proxytunnel",
    "socat",
    "stagedoor",
    "stagedoor --no-resume",
    "stagedoor --fdpass",
    "mosh",
    *WAYS,
    *WEB_ORDER,
)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table with padded columns, without a newline at the end."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    padded = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    return "\n".join([padded[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *padded[1:]])


def table(result: Result, spec: Table) -> str:
    """Return a benchmark's table: medians, with least and most in parentheses, and ratios by rounds."""
    series = result.of(spec.benchmark)
    header = ["case", spec.first]
    for column in spec.columns:
        header.append(f"{column.measure}, {column.unit}")
        if column.against:
            header.append(f"{column.measure}, × {column.against}")
    rows = []
    for case in ordered(line.case for line in series):
        for subject in subjects(line.subject for line in series if line.case == case):
            row = [case, subject]
            for column in spec.columns:
                ours = result.find(spec.benchmark, case, subject, column.measure)
                row.append(_spread(ours, column))
                if column.against:
                    other = result.find(spec.benchmark, case, column.against, column.measure)
                    row.append(_ratio(ours, other))
            rows.append(row)
    return markdown(header, rows)


def subjects(names: Iterable[str]) -> list[str]:
    """Return each name once, in the order of `ORDER`."""
    return sorted(
        ordered(names), key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER)
    )


def _spread(series: Series | None, column: Column) -> str:
    if series is None:
        return "–"
    d = column.digits
    if len(series.values) == 1:
        return f"{series.median:,.{d}f}"
    return f"{series.median:,.{d}f} ({series.least:,.{d}f}–{series.most:,.{d}f})"


def _ratio(series: Series | None, other: Series | None) -> str:
    if series is None or other is None or series is other or series.subject == "direct":
        return "–"
    ratios = pairwise(series, other)
    if not ratios:
        return "–"
    if len(ratios) == 1:
        return f"{ratios[0]:.2f}"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def targets(result: Result, wanted: Sequence[Target]) -> str:
    """Return the table of targets."""
    verdicts = [target.judge(result) for target in wanted]
    return markdown(
        ["to reach", "found", ""],
        [[verdict.target, verdict.found, verdict.word] for verdict in verdicts],
    )


def machine(result: Result) -> str:
    """Return the table of facts about the machine."""
    rows = [
        [key, value]
        for key, value in result.machine.items()
        if not key.startswith(("peer ", "jump "))
    ]
    if result.quick:
        rows.append(["kind of run", "--quick: to see that it works, not what it costs"])
    return markdown(["", ""], rows)


def peers(result: Result, kind: str = "peer") -> str:
    """Return the table of the peers that were measured; `kind` is `peer` or `jump` (host)."""
    rows = []
    for key, value in result.machine.items():
        if key.startswith(f"{kind} "):
            version, _, logs = value.partition("; logs ")
            rows.append([key.removeprefix(f"{kind} "), version, logs])
    return markdown([kind, "version", "logs, authentication"], rows)


def notes(result: Result) -> str:
    """Return the notes as a list."""
    return "\n".join(f"- {note}" for note in result.notes) or "Nothing was left out."
