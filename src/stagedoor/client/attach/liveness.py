"""Whether the gateway still answers, so that a dead line is said after seconds. Pure; the clock comes in.

Something is unanswered from when it was sent until anything at all comes back. Input need not be
acknowledged soon (a program may not read), so after `PROBE_S` a PING asks for an answer that is. The same
as `web/src/terminal/liveness.ts`; both are held to `tests/wire/liveness.json`.
"""

from dataclasses import dataclass

TICK_S = 0.5
"""`tick` is to be called so often while something is unanswered."""
PROBE_S = 1.0
SILENT_S = 2.0
"""From here on the person is told."""
DIAL_S = 8.0
"""From here on another connection is tried beside this one."""
_MOST_S = 1.0
"""A tick that comes later than this was held up, and so perhaps was the answer: only so much counts."""


@dataclass(frozen=True, slots=True)
class LivenessCheck:
    """`silent_s`: for so many whole seconds there is no answer, 0 while that is no news."""

    probe: bool = False
    silent_s: int = 0
    dial: bool = False


class Liveness:
    """Of one connection. All times are in seconds of any monotonic clock."""

    def __init__(self) -> None:
        self._ticked_at: float | None = None
        self._waited = 0.0
        self._probed = False

    @property
    def waits(self) -> bool:
        """Whether something is unanswered."""
        return self._ticked_at is not None

    def sent(self, now: float, *, ping: bool = False) -> None:
        """Something that wants an answer went out: input, or a PING."""
        self._probed = self._probed or ping
        if self._ticked_at is None:
            self._ticked_at, self._waited = now, 0.0

    def heard(self) -> None:
        """Something came."""
        self._ticked_at = None
        self._probed = False

    def tick(self, now: float) -> LivenessCheck:
        """What to do now. `probe` is said once."""
        if self._ticked_at is None:
            return LivenessCheck()
        self._waited += min(max(now - self._ticked_at, 0.0), _MOST_S)
        self._ticked_at = now
        probe = self._waited >= PROBE_S and not self._probed
        self._probed = self._probed or probe
        silent = int(self._waited) if self._waited >= SILENT_S else 0
        return LivenessCheck(probe, silent, self._waited >= DIAL_S)
