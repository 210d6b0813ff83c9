"""An animated picture of the demo in a minute: `python -m acceptance.screencast FILE.svg`.

The commands are really run and their output is shown; only the times at which it appears are invented. The
animation is SMIL, which browsers also play in an `<img>`.
"""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from stagedoor.demo.gateway import DemoGateway, find_command, run_demo
from stagedoor.demo.show import list_suggestions
from stagedoor.model.errors import StagedoorError

COLUMNS, ROWS = 100, 24
ROW_PX, COLUMN_PX, EDGE_PX = 18, 7.8, 14
LENGTH_S = 60.0
READ_S, LINE_S = 3.5, 0.15
"""Seconds between a command's output and the next command, and between lines of output."""
COMMANDS = (
    "ssh -F ssh_config app01.ssh 'echo $APP_NAME: $GREETING'",
    "echo id,amount > report.csv; scp -q -F ssh_config report.csv app02.ssh:/tmp/",
    "ssh -F ssh_config app02.ssh 'cat /tmp/report.csv; env | grep FLAGS'",
    "ssh -F ssh_config app03.ssh",
    "stagedoor --config stagedoor.toml grant list",
    "stagedoor --config stagedoor.toml grant remove 2",
    "ssh -F ssh_config app02.ssh true",
    "stagedoor --config stagedoor.toml audit --kind session.denied --json | jq -r '.fields.message'",
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Shown:
    """A line of the picture, and when it appears."""

    at_s: float
    text: str
    command: bool = False


def timed(steps: Iterable[tuple[str, Sequence[str]]]) -> list[Shown]:
    """Return the lines of commands and their output, spread over a minute."""
    lines: list[Shown] = []
    at_s = 0.5
    for command, printed in steps:
        lines.append(Shown(at_s, f"$ {command}", command=True))
        at_s += 1.0
        for text in printed:
            lines += [Shown(at_s, part) for part in wrapped(text)]
            at_s += LINE_S
        at_s += READ_S
    scale = min(1.0, (LENGTH_S - READ_S) / at_s)
    return [Shown(line.at_s * scale, line.text, line.command) for line in lines]


def wrapped(text: str) -> list[str]:
    """Return the lines into which a terminal wraps `text`."""
    plain = _COLOUR.sub("", text).rstrip()
    return [plain[at : at + COLUMNS] for at in range(0, len(plain), COLUMNS)] or [""]


def picture(lines: Sequence[Shown]) -> str:
    """Return the SVG. Without animation it shows the whole text."""
    width, height = COLUMNS * COLUMN_PX + 2 * EDGE_PX, ROWS * ROW_PX + 2 * EDGE_PX
    rows = [
        f'<text x="0" y="{number * ROW_PX}"{" class=" + chr(34) + "c" + chr(34) if line.command else ""}>'
        f"{escape(line.text)}"
        f'<animate attributeName="opacity" values="0;1" keyTimes="0;{line.at_s / LENGTH_S:.4f}" '
        f'dur="{LENGTH_S:g}s" calcMode="discrete" repeatCount="indefinite"/></text>'
        for number, line in enumerate(lines, 1)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img">',
            "<title>The demo: logins by ssh and scp, a refusal, a grant that is removed</title>",
            "<style>text{font:13px ui-monospace,monospace;fill:#d0d0d0;white-space:pre}"
            ".c{fill:#7ee787}</style>",
            '<rect width="100%" height="100%" rx="8" fill="#16181d"/>',
            f'<svg x="{EDGE_PX}" y="{EDGE_PX}" width="{width - EDGE_PX:g}" height="{ROWS * ROW_PX}">',
            f'<g xml:space="preserve">{_scroll(lines)}',
            *rows,
            "</g></svg></svg>\n",
        ]
    )


def _scroll(lines: Sequence[Shown]) -> str:
    """Return the animation that scrolls by one row for each line beyond the last row."""
    moves = [("0", "0 0")]
    for number, line in enumerate(lines, 1):
        if number >= ROWS:
            moves.append((f"{line.at_s / LENGTH_S:.4f}", f"0 {-(number - ROWS + 1) * ROW_PX}"))
    return (
        f'<animateTransform attributeName="transform" type="translate" dur="{LENGTH_S:g}s" '
        f'calcMode="discrete" repeatCount="indefinite" keyTimes="{";".join(at for at, _ in moves)}" '
        f'values="{";".join(to for _, to in moves)}"/>'
    )


async def record() -> str:
    """Run the demo and return its picture. Raises StagedoorError."""
    async with run_demo("error") as (demo, _):
        return picture(timed(await asyncio.to_thread(_run, demo)))


def _run(demo: DemoGateway) -> list[tuple[str, list[str]]]:
    text = list_suggestions(demo, more=False)
    text = re.sub(r"(#)\S+", r"\1…", re.sub(r"password \S+,", "password …,", text))
    steps = [("script/demo", text.strip("\n").splitlines())]
    programs = f"{Path(find_command()[0]).parent}{os.pathsep}{os.environ['PATH']}"
    for command in COMMANDS:
        done = subprocess.run(
            ["sh", "-c", command], cwd=demo.folder, env={**os.environ, "PATH": programs},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=60,
        )  # fmt: skip
        steps.append((command, [line for line in done.stdout.splitlines() if not _is_noise(line)]))
    # These values differ in each demo; replaced, the picture changes only when the demo does.
    steady = {f"{demo.folder}/": "", demo.web: "http://127.0.0.1:8088"}
    for old, new in steady.items():
        steps = [(step, [line.replace(old, new) for line in lines]) for step, lines in steps]
    return steps


def _is_noise(line: str) -> bool:
    """Return True for OpenSSH's own lines below the gateway's reason (docs/how-to/connect-messages.md)."""
    return line.startswith(
        ("Received disconnect", "Disconnected", "kex_exchange", "Pseudo-terminal")
    )


def main() -> None:
    """Write the picture to the file that the command line names."""
    try:
        Path(sys.argv[1]).write_text(asyncio.run(record()), encoding="utf-8")
    except StagedoorError as error:
        sys.exit(f"stagedoor: {error}")


if __name__ == "__main__":
    main()
