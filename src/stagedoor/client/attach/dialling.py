"""What is done about a line that keeps silent: say so, and try for another one beside it."""

from __future__ import annotations

from collections.abc import Callable

from stagedoor.client.attach.liveness import TICK_S, Liveness
from stagedoor.client.attach.web import Connection
from stagedoor.client.attach.work_thread import WorkThread
from stagedoor.client.http import LostError

PING_S = 20.0
"""Silence for so long is broken by a PING: proxies drop what is idle for 60 s."""
RETRY_S = (0.1, 0.3, 1.0, 2.0, 5.0)
"""Between tries for a connection; the last again and again."""

Reached = tuple[Connection, str]
Reach = Callable[[], Reached]


class LineWatch:
    """`reach` makes a connection, and is run in a thread; `note` shows how the line is, `log` notes it."""

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
        """Can be read once a try for another line is over; None while there is none."""
        return None if self._aside is None else self._aside.done_fd

    def due(self, now: float) -> float:
        """When to call `tick` next."""
        return now + TICK_S if self._liveness.waits else self._heard_at + PING_S

    def sent(self, now: float, *, hello: bool = False) -> None:
        """Input went out, or our HELLO, which needs no PING after it."""
        self._liveness.sent(now, ping=hello)

    def heard(self, now: float) -> None:
        """The line that we have answers: nobody needs another."""
        self._heard_at = now
        self.give_up()

    def give_up(self) -> None:
        """There is no line to watch. What is reached now is closed, whenever that is."""
        self._liveness.heard()
        self._note("")
        self._tries, self._next_at = 0, 0.0
        if self._aside is not None:
            self._aside.give_up(lambda reached: reached[0].close())
            self._aside = None

    def tick(self, now: float) -> bool:
        """Whether to send a PING."""
        judged = self._liveness.tick(now)
        self._note(f"not answering for {judged.silent_s} s" if judged.silent_s else "")
        if judged.dial and self._aside is None and now >= self._next_at:
            self._log(f"no answer for {judged.silent_s} s; dialling beside it")
            self._aside = WorkThread(self._reach)
        if judged.probe or (not self._liveness.waits and now - self._heard_at >= PING_S):
            self._liveness.sent(now, ping=True)
            return True
        return False

    def reached(self, now: float) -> Reached | None:
        """The other line, which takes the silent one's place; None: another try follows.

        Raises AttachError where none would help.
        """
        assert self._aside is not None, "nobody is being dialled"
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
