"""Playback of a recording in another person's terminal: when, and what of it. Pure.

A recording has all that a program sent to a terminal, hostile sequences too. Of it goes on what draws
(`wire.terminal.output_parser`), as for a person who watches while it happens.
"""

from collections.abc import Iterable, Iterator

from stagedoor.wire.terminal.asciicast import AsciicastEvent, Code
from stagedoor.wire.terminal.output_parser import OutputParser


def pace_events(
    events: Iterable[AsciicastEvent],
    *,
    speed: float = 1.0,
    idle_limit_s: float | None = None,
    utf8: bool = True,
) -> Iterator[tuple[float, str]]:
    """Yield what to show, each with the seconds to wait before it.

    `speed` 2 is twice as fast; a pause longer than `idle_limit_s` (by the recording's clock) is
    cut to that. Events that show nothing only pass time. `utf8` says whether the terminal takes it.
    """
    drawing = OutputParser(utf8=utf8)
    before = 0.0
    wait_s = 0.0
    for event in events:
        pause_s = max(0.0, event.at - before)
        before = max(before, event.at)
        if idle_limit_s is not None:
            pause_s = min(pause_s, idle_limit_s)
        wait_s += pause_s / speed
        if event.code == Code.OUTPUT and (text := drawing.draw(event.data)):
            yield wait_s, text
            wait_s = 0.0
