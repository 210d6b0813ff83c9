"""Playing a recording to somebody else's terminal: when, and what of it. Pure.

A recording holds whatever a program sent to a terminal, the hostile ones too. Shown again, it must
not write into the viewer's clipboard, nor make the viewer's terminal answer: an answer is input.
"""

import re
from collections.abc import Iterable, Iterator

from stagedoor.wire.asciicast import Code, Event

RESET = (
    "\x1b[0m\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1006l\x1b[?2004l\x1b[?1049l"
)
"""Colours, cursor, mouse, focus, pasting and the other screen, as they were."""

_CANCEL = "\x18"
"""In the place of what is left out: CAN ends a sequence that was begun before it (ECMA-48 §8.3.6),
so that what stood around it does not join to what was to be left out."""
_UNFINISHED = 64 * 1024
"""Characters of one control string; what is longer is no control string but a way to hide."""
# ECMA-48 §5.6 and §8.3: strings from OSC, DCS, SOS, PM and APC to ST (or BEL, as xterm has it).
_STRING = re.compile(
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|\x1b(?=[^\\]))"
)
_STRING_BEGUN = re.compile(r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*\x1b?\Z")
# Control sequences that are answered (DA, DSR, DECRQM, DECREQTPARM, DECRQSS' kin) or change
# the window (XTWINOPS), and DECID.
_ASKS = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[cntxq]|\x1b\[[0-?]*\$p|\x1bZ|\x05")
_SEQUENCE_BEGUN = re.compile(r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}\Z|\x1b\Z")


class Screen:
    """Text of a terminal as it may be shown; sequences may span pieces."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> str:
        text = self._rest + text
        self._rest = ""
        text = _STRING.sub(_CANCEL, text)
        text = _ASKS.sub(_unless_cursor_style, text)
        begun = _STRING_BEGUN.search(text) or _SEQUENCE_BEGUN.search(text)
        if begun is None:
            return text
        if len(text) - begun.start() <= _UNFINISHED:
            self._rest = text[begun.start() :]
        return text[: begun.start()]


def _unless_cursor_style(match: "re.Match[str]") -> str:
    # DECSCUSR, `CSI Ps SP q`, only changes the cursor's shape.
    sequence = match.group()
    return sequence if sequence.endswith(" q") else _CANCEL


def paced(
    events: Iterable[Event], *, speed: float = 1.0, idle_limit_s: float | None = None
) -> Iterator[tuple[float, str]]:
    """What to show, each with the seconds to wait before it.

    `speed` 2 is twice as fast; a pause longer than `idle_limit_s` (by the recording's clock) is
    cut to that. Events that show nothing only pass time.
    """
    screen = Screen()
    before = 0.0
    wait_s = 0.0
    for event in events:
        pause_s = max(0.0, event.at - before)
        before = max(before, event.at)
        if idle_limit_s is not None:
            pause_s = min(pause_s, idle_limit_s)
        wait_s += pause_s / speed
        if event.code == Code.OUTPUT and (text := screen.feed(event.data)):
            yield wait_s, text
            wait_s = 0.0
