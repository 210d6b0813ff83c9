"""The time from a key until its letter is drawn on a slow line, by local echo where a page has it."""

import contextlib
from dataclasses import replace

from benchmarks.web_stage import Programs
from columns import Column, Table
from load.relay import Relay
from load.web_browser import Page
from series import percentile
from stage import Stage

TABLE = Table(
    "web_slow_line",
    "Keystrokes on a slow line",
    "terminal",
    (Column("p50", "ms", 1), Column("p95", "ms", 1)),
)
CASE = "from the key to the letter, 300 ms there and back"
_ONE_WAY_S = 0.15
_PROVES = 6
"""The letters after which a page may show predictions, which are not counted."""
_LETTERS = "abcdefghij"
_SHOWN = """
((rows) => {
  const predicted = document.getElementById("predicted");
  if (predicted && !predicted.hidden) rows[0] = (rows[0] ?? "").trimEnd() + predicted.textContent;
  return rows;
})(%s)
"""
"""JavaScript for the rows as they are seen: with the letters that are drawn over the first one."""


def run(stage: Stage, programs: Programs) -> None:
    """Measure each page behind a relay that delays all bytes."""
    keys, repeats = (10, 1) if stage.quick else (40, 3)
    for name in programs.browsers():
        relay = Relay(programs.port(name), _ONE_WAY_S)
        for repeat in range(repeats):
            stage.report(f"web_slow_line: {name}")
            with stage.tolerating("web_slow_line", name), contextlib.ExitStack() as stack:
                page = programs.page(name, f"slow{repeat}", relay.port)
                assert page is not None, "it is a subject"
                stack.callback(page.close)
                _measure(stage, name, replace(page, rows=_SHOWN % page.rows), keys)
        relay.close()


def _measure(stage: Stage, name: str, page: Page, keys: int) -> None:
    page.raw()
    shown, times_s = "", []
    for at in range(_PROVES + keys):
        letter = _LETTERS[at % len(_LETTERS)]
        shown = (shown + letter)[-8:]
        times_s.append(page.key_s(letter, shown))
    for column in TABLE.columns:
        value = percentile(times_s[_PROVES:], float(column.measure[1:])) * 1e3
        stage.result.take("web_slow_line", CASE, name, column.measure, "ms", value)
