"""The time until the page reports a dead line, when a relay falls silent while a person types."""

import contextlib

from benchmarks.web_stage import Programs
from columns import Column, Table
from load.relay import Relay
from stage import Stage

TABLE = Table(
    "web_dead_line",
    "A dead line",
    "terminal",
    (Column("time", "s", 1),),
)
CASE = "from the key until the page says something"
BOUND_S = 20.0


def run(stage: Stage, programs: Programs) -> None:
    """Measure each page behind a relay that falls silent."""
    repeats, bound_s = (1, 8.0) if stage.quick else (2, BOUND_S)
    for name in programs.browsers():
        with stage.tolerating("web_dead_line", name):
            for number in range(repeats):
                stage.report(f"web_dead_line: {name}, {number + 1} of {repeats}")
                with contextlib.ExitStack() as stack:
                    relay = Relay(programs.port(name))
                    stack.callback(relay.close)
                    page = programs.page(name, f"dead{number}", relay.port)
                    assert page is not None, "it is a subject"
                    stack.callback(page.close)
                    page.show()
                    seconds, said = page.silence_s(relay.fall_silent, bound_s)
                if not seconds:
                    stage.note(f"web_dead_line: {name} said nothing for {bound_s:g} s")
                    break
                stage.report(f"  after {seconds:.1f} s: {said}")
                stage.result.take("web_dead_line", CASE, name, "time", "s", seconds)
