"""A result of bench/kubernetes.py as tables, as a plot, and on docs/performance-kubernetes.md.

python bench/kube_page.py        # rewrites page and plot from docs/performance/kubernetes.json
"""

import json
import re
import sys
from html import escape
from pathlib import Path
from typing import Any

from kube_starts import PLAIN, STEPS, WARM, WAYS, WHOLE

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "performance-kubernetes.md"
PLOT = DOCS / "performance" / "kubernetes.svg"
SHOWN = ("sibling", "image-volume")
"""The ways of the kit that the page compares; the first is the default."""
COLD = {"P50 ≤ 1.5 s": (0.5, 1.5), "P95 ≤ 2.5 s": (0.95, 2.5)}
LOGIN_P50_S = 0.3
COLOURS = (
    *("#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#edc948"),
    *("#76b7b2", "#e15759", "#ff9da7", "#9c755f", "#2f4b7c"),
)
Result = dict[str, Any]
"""The keys are `machine`; `starts`, the series of each way of the kit, and `seconds`, series by measure
(both from `kube_starts`); and `costs` (from `kube_many`)."""

_PART = re.compile(r"(<!-- bench:(?!end)(\w+) -->\n).*?(<!-- bench:end -->)", re.DOTALL)


def parts(result: Result) -> dict[str, str]:
    """Return the parts of the page that the result has, in Markdown."""
    starts, seconds = result.get("starts", {}), result.get("seconds", {})
    texts = {"machine": _pairs(result["machine"])}
    if starts:
        texts["start"] = _starts(starts, seconds)
    if seconds:
        texts["warm"] = _spreads("way", [(label, seconds[way]) for way, label in WARM.items()])
    if starts and seconds:
        texts["targets"] = _targets(starts, seconds)
    if "costs" in result:
        texts["costs"] = _costs(result)
    return texts


def write(result: Result) -> list[Path]:
    """Write the page's parts and the plot; return the files written."""
    texts = parts(result)
    page = PAGE.read_text(encoding="utf-8")
    page = _PART.sub(lambda part: f"{part[1]}{texts[part[2]]}\n{part[3]}", page)
    PAGE.write_text(page, encoding="utf-8")
    shown = {WAYS[way]: result["starts"][way] for way in SHOWN}
    PLOT.write_text(plot(shown, result["seconds"][PLAIN]), encoding="utf-8")
    return [PAGE, PLOT]


def at(part: float, values: list[float]) -> float:
    """Return the value below which that part of the values lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(part * (len(ordered) - 1)))]


def plot(starts: dict[str, dict[str, list[float]]], plain: list[float]) -> str:
    """Return an SVG: for each way a bar of the steps' medians, and below them the bar of a plain pod."""
    width, left, bar = 860, 260, 30
    rows = {
        label: {step: at(0.5, series[step]) for step in STEPS} for label, series in starts.items()
    }
    longest = max(at(0.5, plain), *(sum(medians.values()) for medians in rows.values())) * 1.04
    scale = (width - left - 20) / longest
    shapes, y = [], 20.0
    for label, medians in rows.items():
        x = float(left)
        for (step, value), colour in zip(medians.items(), COLOURS, strict=True):
            title = f"<title>{escape(STEPS[step])}: {value:.3f} s</title>"
            shapes.append(_box(x, y, value * scale, bar, colour, title))
            x += value * scale
        shapes.append(_text(left - 8, y + 20, label, "end"))
        y += 46
    middle = at(0.5, plain)
    shapes.append(_box(left, y, middle * scale, bar, "#8a9ba8", f"<title>{middle:.3f} s</title>"))
    shapes.append(_text(left - 8, y + 20, "a plain pod, to Ready", "end"))
    y += 36
    for tick in range(int(longest * 4) + 1):
        place = left + tick / 4 * scale
        shapes.append(f'<path d="M{place:.1f} {y:g}v5" stroke="#777"/>')
        shapes.append(_text(place, y + 19, f"{tick / 4:g}", "middle"))
    shapes.append(_text(width - 20, y + 38, "seconds, medians of each step", "end"))
    for number, (step, colour) in enumerate(zip(STEPS, COLOURS, strict=True)):
        place, line = 170 + number % 5 * 130, y + 60 + number // 5 * 22
        shapes.append(_box(place, line - 11, 12, 12, colour))
        shapes.append(_text(place + 17, line, step))
    height = y + 96
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" '
        'font-family="sans-serif" font-size="13">\n'
        f'<rect width="{width}" height="{height:g}" fill="#fff"/>\n'
        + "\n".join(shapes)
        + "\n</svg>\n"
    )


def _box(x: float, y: float, width: float, height: float, colour: str, inner: str = "") -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:g}" width="{width:.1f}" height="{height:g}" '
        f'fill="{colour}">{inner}</rect>'
    )


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'


def _rows(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _pairs(values: dict[str, str]) -> str:
    return _rows(["", ""], [[key, value] for key, value in values.items()])


def _spreads(first: str, rows: list[tuple[str, list[float]]]) -> str:
    return _rows(
        [first, "times", "least", "P50", "P95", "most"],
        [
            [
                label,
                str(len(values)),
                *(f"{value:.2f}" for value in (min(values), at(0.5, values))),
                *(f"{value:.2f}" for value in (at(0.95, values), max(values))),
            ]
            for label, values in rows
        ],
    )


def _starts(starts: dict[str, Any], seconds: dict[str, list[float]]) -> str:
    """Return the table of steps, with two columns for each way."""

    def cells(name: str) -> list[str]:
        return [f"{at(part, starts[way][name]):.2f}" for way in starts for part in (0.5, 0.95)]

    header = ["step", *(f"{WAYS[way]}, {part}" for way in starts for part in ("P50", "P95"))]
    rows = [[label, *cells(step)] for step, label in STEPS.items()]
    rows.append(["**all**", *(f"**{cell}**" for cell in cells(WHOLE))])
    text = f"Starts: {', '.join(f'{len(starts[way][WHOLE])} with {WAYS[way]}' for way in starts)}."
    if PLAIN in seconds:
        plain = seconds[PLAIN]
        text += (
            f" A plain pod of the same image is Ready after {at(0.5, plain):.2f} s (P50 of "
            f"{len(plain)}; P95 {at(0.95, plain):.2f})."
        )
    return f"{_rows(header, rows)}\n\n{text}"


def _targets(starts: dict[str, Any], seconds: dict[str, list[float]]) -> str:
    values = [
        (f"cold start to the banner, {WAYS[way]}, {label}", at(part, starts[way][WHOLE]), most)
        for way in starts
        for label, (part, most) in COLD.items()
    ]
    login = at(0.5, seconds["connect"])
    values.append(
        (f"`ssh app01.ssh true` by CONNECT, P50 ≤ {LOGIN_P50_S:.2f} s", login, LOGIN_P50_S)
    )
    rows = [
        [label, f"{value:.2f} s", "reached" if value <= most else "**missed**"]
        for label, value, most in values
    ]
    return _rows(["to reach", "found", ""], rows)


def _costs(result: Result) -> str:
    costs, apps = result["costs"], result["apps"]
    rows = [
        [label, *(f"{costs[name][key]:.0f}" for key in ("requests/min", "CPU ms/min", "RSS MiB"))]
        for name, label in (("none", "no shell"), ("all", f"{apps} shells"))
    ]
    idle = _rows(["", "requests a minute", "CPU, ms a minute", "resident, MiB"], rows)
    again, starts = costs["restart"], costs["starts"]
    return (
        f"{idle}\n\nAfter a restart over {apps} apps with {apps} shells, all are looked at "
        f"{again['s']:.1f} s after it began to lead, with {again['requests']:.0f} requests. "
        f"{apps} requests for shells in one moment are {starts['requests']:,.0f} requests."
    )


if __name__ == "__main__":
    sys.path.insert(0, str(DOCS.parent))
    for written in write(json.loads((DOCS / "performance" / "kubernetes.json").read_text())):
        print(f"{written} written")
