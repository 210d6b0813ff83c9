"""A check that the gateway still answers, which notices a dead line after seconds.

Pure: the caller passes the time.

Anything sent is unanswered until anything at all comes back. Input may be acknowledged late (a program
may not read it), so after `PROBE_S` a PING requests an answer that comes at once. The logic is the same
as in `web/src/terminal/liveness.ts`; `tests/wire/liveness.json` tests both.
"""

from dataclasses import dataclass

TICK_S = 0.5
"""The interval for calls of `tick` while something is unanswered."""
PROBE_S = 1.0
SILENT_S = 2.0
"""After this silence, the person is notified."""
DIAL_S = 8.0
"""After this silence, another connection is dialled beside this one."""
_MOST_S = 1.0
"""The most that one tick counts: a later tick was delayed, and so perhaps was the answer."""


@dataclass(frozen=True, slots=True)
class LivenessCheck:
    """The result of a `tick`: whether to send a PING (`probe`) and to `dial` another line.

    `silent_s` is how many whole seconds the line has not answered; 0 below `SILENT_S`.
    """

    probe: bool = False
    silent_s: int = 0
    dial: bool = False


class Liveness:
    """The liveness of one connection. All times are in seconds of any monotonic clock."""

    def __init__(self) -> None:
        self._ticked_at: float | None = None
        self._waited = 0.0
        self._probed = False

    @property
    def waits(self) -> bool:
        """True if something is unanswered."""
        return self._ticked_at is not None

    def sent(self, now: float, *, ping: bool = False) -> None:
        """Record that something was sent that will be answered: input, or a PING."""
        self._probed = self._probed or ping
        if self._ticked_at is None:
            self._ticked_at, self._waited = now, 0.0

    def heard(self) -> None:
        """Record that something was received."""
        self._ticked_at = None
        self._probed = False

    def tick(self, now: float) -> LivenessCheck:
        """Return what to do now. `probe` is True once in a silence."""
        if self._ticked_at is None:
            return LivenessCheck()
        self._waited += min(max(now - self._ticked_at, 0.0), _MOST_S)
        self._ticked_at = now
        probe = self._waited >= PROBE_S and not self._probed
        self._probed = self._probed or probe
        silent = int(self._waited) if self._waited >= SILENT_S else 0
        return LivenessCheck(probe, silent, self._waited >= DIAL_S)
