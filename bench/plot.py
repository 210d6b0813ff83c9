"""A plot of a result: one picture for each benchmark, with bars for medians, least and most.

    python bench/plot.py RESULT.json FOLDER

Needs matplotlib (the `bench` group of pyproject.toml).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from columns import Table
from page import SPECS
from peers.gateway_ways import WAYS
from series import Result, ordered, read_result
from tables import ORDER, subjects

OURS = "#b3261e"
OTHERS = "#8a9ba8"
PEERS = tuple(name for name in ORDER if not name.startswith(("stagedoor", *WAYS)))


def plot(
    result: Result,
    folder: Path,
    specs: Sequence[Table] = SPECS,
    kinds: Sequence[str] = ("svg", "png"),
) -> list[Path]:
    """Write NAME.svg and NAME.png for each benchmark with values; return their paths. Raises ImportError."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "stagedoor"  # the same file for the same result
    folder.mkdir(parents=True, exist_ok=True)
    return [path for spec in specs for path in _picture(result, spec, folder, kinds)]


def _picture(result: Result, spec: Table, folder: Path, kinds: Sequence[str]) -> list[Path]:
    from matplotlib.figure import Figure

    series = result.of(spec.benchmark)
    cases = ordered(line.case for line in series)
    panes = [(case, spec.columns[0], case) for case in cases]
    if spec.plot_columns:
        panes = [(case, column, column.measure) for case in cases for column in spec.columns]
    if not panes:
        return []
    names = [
        subjects(s.subject for s in series if s.case == case and s.measure == column.measure)
        for case, column, _ in panes
    ]
    figure = Figure(figsize=(4 + 3 * (len(panes) - 1), 1 + 0.4 * max(map(len, names))))
    axes = figure.subplots(1, len(panes), squeeze=False)[0]
    for pane, (case, column, title), subjects_here in zip(axes, panes, names, strict=True):
        bars = [
            line
            for name in subjects_here
            if (line := result.find(spec.benchmark, case, name, column.measure)) is not None
        ]
        pane.barh(
            [bar.subject for bar in bars],
            [bar.median for bar in bars],
            xerr=[
                [bar.median - bar.least for bar in bars],
                [bar.most - bar.median for bar in bars],
            ],
            color=[OTHERS if bar.subject in PEERS else OURS for bar in bars],
            error_kw={"elinewidth": 1, "capsize": 2},
        )
        pane.invert_yaxis()
        pane.set_title(title, fontsize="medium")
        pane.set_xlabel(column.unit if spec.plot_columns else f"{column.measure}, {column.unit}")
        pane.set_xlim(left=0)
    figure.suptitle(spec.title.replace("`", ""))
    figure.tight_layout()
    paths = [folder / f"{spec.benchmark}.{kind}" for kind in kinds]
    for path in paths:
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths


def main(argv: list[str]) -> int:
    """Draw the pictures; return the exit code."""
    if len(argv) != 2 or argv[0].startswith("-"):
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    try:
        paths = plot(read_result(Path(argv[0])), Path(argv[1]))
    except ImportError:
        print("matplotlib is missing: .venv/bin/pip install matplotlib", file=sys.stderr)
        return 1
    for path in paths:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
