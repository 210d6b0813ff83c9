"""The time until the first prompt of a shell that runs already."""

import contextlib
import time

from benchmarks.web_stage import Programs
from columns import Column, Table
from load.channel import typed
from load.web_browser import Page, first_prompt_s
from rounds import rounds
from stage import Stage

TABLE = Table(
    "web_start",
    "The first prompt",
    "terminal",
    (Column("time", "ms", 0), Column("CPU of the gateway", "ms", 1)),
)
CASE = "from the command, or the address, to the first prompt"
PROMPT = "printf '!'; exec cat"


def run(stage: Stage, programs: Programs) -> None:
    """Measure each client from its start, and each page from its address, to the first prompt."""
    repeats = 2 if stage.quick else 10
    with contextlib.ExitStack() as stack:
        pages: dict[str, Page] = {}
        for name in programs.browsers():
            with stage.tolerating("web_start", name):
                page = programs.page(name, "start")
                if page is not None:
                    stack.callback(page.close)
                    pages[name] = page
        commands = programs.commands()
        stage.report("web_start")
        for number, name in rounds([*commands, *pages], repeats + 1):
            if stage.has_failed("web_start", name):
                continue
            with stage.tolerating("web_start", name):
                used, begin = programs.cpu_s(name), time.perf_counter()
                if name in pages:
                    seconds = first_prompt_s(pages[name])
                else:
                    with typed([*commands[name], PROMPT]):
                        seconds = time.perf_counter() - begin
                if number:  # the first round warms up
                    cost = (programs.cpu_s(name) - used) * 1e3
                    stage.result.take("web_start", CASE, name, "time", "ms", seconds * 1e3)
                    stage.result.take("web_start", CASE, name, "CPU of the gateway", "ms", cost)
