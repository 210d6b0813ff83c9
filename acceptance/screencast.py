"""Animated pictures of the demo: `python -m acceptance.screencast demo|continuity FILE.svg`.

`demo` shows the demo in a minute. The commands are really run and their output is shown; only the times at
which it appears are invented. `continuity` shows an ssh while the network is away and while the gateway is
upgraded, with the real times. The animation is SMIL, which browsers also play in an `<img>`.
"""

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from stagedoor.demo.gateway import DemoGateway, find_command, run_demo
from stagedoor.demo.keys import CUT_S
from stagedoor.demo.suggestions import list_suggestions
from stagedoor.model.errors import StagedoorError

COLUMNS, ROWS = 100, 24
ROW_PX, COLUMN_PX, EDGE_PX = 18, 7.8, 14
LENGTH_S = 60.0
TITLE = "The demo: logins by ssh and scp, a refusal, a grant that is removed"
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
COUNT = "ssh -F ssh_config app01.ssh 'i=0; while i=$((i+1)); do echo $i; sleep 1; done'"
PAUSE_S = 3.5
CUT_TITLE = (
    "An ssh that counts, while the network is away for five seconds and the gateway is upgraded"
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


def picture(lines: Sequence[Shown], title: str = TITLE, length_s: float = LENGTH_S) -> str:
    """Return the SVG, of `length_s` seconds. Without animation it shows the whole text."""
    width, height = COLUMNS * COLUMN_PX + 2 * EDGE_PX, ROWS * ROW_PX + 2 * EDGE_PX
    rows = [
        f'<text x="0" y="{number * ROW_PX}"{" class=" + chr(34) + "c" + chr(34) if line.command else ""}>'
        f"{escape(line.text)}"
        f'<animate attributeName="opacity" values="0;1" keyTimes="0;{line.at_s / length_s:.4f}" '
        f'dur="{length_s:g}s" calcMode="discrete" repeatCount="indefinite"/></text>'
        for number, line in enumerate(lines, 1)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img">',
            f"<title>{escape(title)}</title>",
            "<style>text{font:13px ui-monospace,monospace;fill:#d0d0d0;white-space:pre}"
            ".c{fill:#7ee787}</style>",
            '<rect width="100%" height="100%" rx="8" fill="#16181d"/>',
            f'<svg x="{EDGE_PX}" y="{EDGE_PX}" width="{width - EDGE_PX:g}" height="{ROWS * ROW_PX}">',
            f'<g xml:space="preserve">{_scroll(lines, length_s)}',
            *rows,
            "</g></svg></svg>\n",
        ]
    )


def _scroll(lines: Sequence[Shown], length_s: float) -> str:
    """Return the animation that scrolls by one row for each line beyond the last row."""
    moves = [("0", "0 0")]
    for number, line in enumerate(lines, 1):
        if number >= ROWS:
            moves.append((f"{line.at_s / length_s:.4f}", f"0 {-(number - ROWS + 1) * ROW_PX}"))
    return (
        f'<animateTransform attributeName="transform" type="translate" dur="{length_s:g}s" '
        f'calcMode="discrete" repeatCount="indefinite" keyTimes="{";".join(at for at, _ in moves)}" '
        f'values="{";".join(to for _, to in moves)}"/>'
    )


async def record() -> str:
    """Run the demo and return its picture. Raises StagedoorError."""
    async with run_demo() as (demo, _):
        return picture(timed(await asyncio.to_thread(_run, demo)))


async def record_continuity() -> str:
    """Run an ssh through a cut and an upgrade, and return its picture. Raises StagedoorError."""
    async with run_demo(cuts=True) as (demo, _):
        lines = await asyncio.to_thread(_count_on, demo)
    return picture(lines, CUT_TITLE, lines[-1].at_s + READ_S)


def _count_on(demo: DemoGateway) -> list[Shown]:
    """Return the lines of an ssh that counts, and what happens meanwhile, at their times."""
    network, began = demo.network, time.monotonic()
    assert network is not None, "it was asked for"
    upgrade = [*find_command(), "--config", str(demo.settings_file), "upgrade"]
    lines = [Shown(0.0, f"$ {COUNT}", command=True)]

    def show(text: str, wait_s: float) -> None:
        lines.append(Shown(time.monotonic() - began, f"      {text}", command=True))
        time.sleep(wait_s)

    def happen(ssh: "subprocess.Popen[bytes]") -> None:
        with ssh:
            time.sleep(PAUSE_S)
            network.cut()
            show("the network is away", CUT_S)
            network.restore()
            show("the network is back", PAUSE_S)
            show("stagedoor upgrade", 0)
            subprocess.run(upgrade, check=True, capture_output=True)
            show("the new program serves", PAUSE_S)
            ssh.terminate()

    ssh = subprocess.Popen(
        ["sh", "-c", f"exec {COUNT}"],
        cwd=demo.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert ssh.stdout is not None
    happening = threading.Thread(target=happen, args=(ssh,))
    happening.start()
    lines += (Shown(time.monotonic() - began, number.decode().rstrip()) for number in ssh.stdout)
    happening.join()
    return sorted(lines, key=lambda line: line.at_s)


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
    """Write the picture that the command line names to its file."""
    try:
        shown = record() if sys.argv[1] == "demo" else record_continuity()
        Path(sys.argv[2]).write_text(asyncio.run(shown), encoding="utf-8")
    except StagedoorError as error:
        sys.exit(f"stagedoor: {error}")


if __name__ == "__main__":
    main()
