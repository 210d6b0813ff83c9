"""The reaction to a silent line: show that it is silent, and dial another one beside it."""

from __future__ import annotations

from collections.abc import Callable

from stagedoor.client.attach.liveness import TICK_S, Liveness
from stagedoor.client.attach.web import LostError, TerminalConnection
from stagedoor.client.attach.work_thread import WorkThread

PING_S = 20.0
"""After this much silence a PING is sent: proxies drop connections that are idle for 60 s."""
RETRY_S = (0.1, 0.3, 1.0, 2.0, 5.0)
"""The pauses between tries for a connection; the last one repeats."""

Reached = tuple[TerminalConnection, str]
Reach = Callable[[], Reached]


class LineWatch:
    """A watch over the line to the gateway.

    `reach` makes a connection, in a thread; `note` shows the person the state of the line, `log` records it.
    """

    def __init__(
        self, reach: Reach, note: Callable[[str], None], log: Callable[[str], None]
    ) -> None:
        self._reach = reach
        self._note = note
        self._log = log
        self._liveness = Liveness()
        self._heard_at = 0.0
        self._tries = 0
        self._next_at = 0.0
        self._aside: WorkThread[Reached] | None = None

    @property
    def done_fd(self) -> int | None:
        """The descriptor that becomes readable once a dial is over; None while none runs."""
        return None if self._aside is None else self._aside.done_fd

    def due(self, now: float) -> float:
        """Return when to call `tick` next."""
        return now + TICK_S if self._liveness.waits else self._heard_at + PING_S

    def sent(self, now: float, *, hello: bool = False) -> None:
        """Record that input was sent, or a HELLO, which needs no PING after it."""
        self._liveness.sent(now, ping=hello)

    def heard(self, now: float) -> None:
        """Record that the line answers, and give up dialling another."""
        self._heard_at = now
        self.give_up()

    def give_up(self) -> None:
        """Stop watching and dialling. A connection that a running dial still makes is closed."""
        self._liveness.heard()
        self._note("")
        self._tries, self._next_at = 0, 0.0
        if self._aside is not None:
            self._aside.give_up(lambda reached: reached[0].close())
            self._aside = None

    def tick(self, now: float) -> bool:
        """Show a silence, dial another line if it lasts, and return True if a PING has to be sent."""
        check = self._liveness.tick(now)
        self._note(f"not answering for {check.silent_s} s" if check.silent_s else "")
        if check.dial and self._aside is None and now >= self._next_at:
            self._log(f"no answer for {check.silent_s} s; dialling beside it")
            self._aside = WorkThread(self._reach)
        if check.probe or (not self._liveness.waits and now - self._heard_at >= PING_S):
            self._liveness.sent(now, ping=True)
            return True
        return False

    def reached(self, now: float) -> Reached | None:
        """Return the line that replaces the silent one; None if the dial failed and another follows.

        Raises AttachError if another dial would not help.
        """
        assert self._aside is not None, "no line is being dialled"
        aside, self._aside = self._aside, None
        try:
            reached = aside.result()
        except LostError as error:
            self._log(f"beside it: {error}")
            self._next_at = now + RETRY_S[min(self._tries, len(RETRY_S) - 1)]
            self._tries += 1
            return None
        self._log("another line answers; the silent one is closed")
        return reached
