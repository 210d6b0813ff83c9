"""The time until Ctrl-C stops a flood of output."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

from benchmarks.web_stage import Programs
from columns import Column, Table
from load.channel import Channel, typed
from load.tunnel import LoadError
from load.upstream import CHUNK
from load.web_browser import Page
from measure import tree
from rounds import rounds
from series import percentile
from stage import Stage

TABLE = Table(
    "web_interrupt",
    "Ctrl-C while `yes` runs",
    "terminal",
    (Column("p50", "ms", 0), Column("p95", "ms", 0)),
)
CASE = "until the prompt is seen"
FLOOD = "trap : INT; stty -echo; printf '!'; yes; printf '<%s' '>'"
FLOOD_S = 1.0
_END = b"<>"
_SLOW_S, _SLOW_ROUNDS = 2.0, 3
"""A subject that takes this long each time is measured only this often."""
_PATIENCE_S = 30.0


def run(stage: Stage, programs: Programs) -> None:
    """Measure Ctrl-C while `yes` runs in each terminal."""
    count = 2 if stage.quick else 10
    times: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        pages: dict[str, Page] = {}
        for name in programs.browsers():
            with stage.tolerating("web_interrupt", name):
                page = programs.page(name, "interrupt")
                if page is not None:
                    stack.callback(page.close)
                    pages[name] = page
        commands = programs.commands()
        for number, name in rounds([*commands, *pages], count):
            slow = name in times and min(times[name]) > _SLOW_S and number >= _SLOW_ROUNDS
            if slow or stage.has_failed("web_interrupt", name):
                continue
            stage.report(f"web_interrupt: {name}, {number + 1} of {count}")
            with stage.tolerating("web_interrupt", name):
                seconds = (
                    pages[name].interrupt_s(FLOOD_S)
                    if name in pages
                    else _command_s([*commands[name], FLOOD])
                )
                times.setdefault(name, []).append(seconds)
            if stage.has_failed("web_interrupt", name):
                _end_floods(programs.servers(name))
    for name, seconds_taken in times.items():
        for column in TABLE.columns:
            value = percentile(seconds_taken, float(column.measure[1:])) * 1e3
            stage.result.take("web_interrupt", CASE, name, column.measure, "ms", value)


def _command_s(argv: list[str]) -> float:
    with typed(argv) as channel:
        drain = _Drain(channel)
        drain.start()
        time.sleep(FLOOD_S)  # the flood is what is measured
        begin = time.perf_counter()
        os.write(channel.stdin, b"\x03")
        drain.join(_PATIENCE_S)
        if not drain.ended_at:
            raise LoadError(f"the flood went on for {_PATIENCE_S:g} s after Ctrl-C")
        return drain.ended_at - begin


def _end_floods(servers: list[int]) -> None:
    """End the flood of a terminal that outlives its page, which would slow down all later measurements."""
    for pid in {pid for server in servers for pid in tree(server)}:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() == "yes\n":
                os.kill(pid, signal.SIGKILL)


class _Drain(threading.Thread):
    """A thread that reads all output; `ended_at` is when the flood was over, 0 before."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(daemon=True)
        self._channel = channel
        self.ended_at = 0.0

    def run(self) -> None:
        """Read until the mark after the flood."""
        tail = b""
        while _END not in tail:
            read = os.read(self._channel.stdout, CHUNK)
            if not read:
                return
            tail = tail[-1:] + read
        self.ended_at = time.perf_counter()
