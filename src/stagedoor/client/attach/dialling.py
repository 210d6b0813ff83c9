"""Dialling the gateway: for a ticket, and beside a line that is silent.

Anything sent is unanswered until anything at all comes back. Input may be acknowledged late (a program
may not read it), so after `PROBE_S` a PING requests an answer that comes at once. The logic is the same
as in `web/src/terminal/liveness.ts`; `tests/wire/liveness.json` tests both.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from stagedoor.client.attach.attachment import Attachment
from stagedoor.client.attach.descriptors import WorkThread
from stagedoor.client.attach.request import AttachRequest
from stagedoor.client.attach.screen import Screen
from stagedoor.client.attach.secret_prompt import AttachError, SecretPrompt
from stagedoor.client.attach.web import LostError, TerminalConnection
from stagedoor.laptop.tunnel.errors import TunnelError, clean

PING_S = 20.0
"""After this much silence a PING is sent: proxies drop connections that are idle for 60 s."""
RETRY_S = (0.1, 0.3, 0.5, 1.0, 1.0, 2.0, 2.0, 5.0)
"""The pauses between tries for a connection; the last one repeats."""

Reached = tuple[TerminalConnection, str]
Reach = Callable[[], Reached]
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

    def note_sent(self, now: float, *, ping: bool = False) -> None:
        """Record that something was sent that will be answered: input, or a PING."""
        self._probed = self._probed or ping
        if self._ticked_at is None:
            self._ticked_at, self._waited = now, 0.0

    def note_answer(self) -> None:
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


class TerminalDialer:
    """A maker of connections for one attachment. It asks for a secret once."""

    def __init__(self, request: AttachRequest, attachment: Attachment, screen: Screen) -> None:
        self._request = request
        self._attachment = attachment
        self._screen = screen
        self._prompt = SecretPrompt(request.options)

    def reach(self) -> tuple[TerminalConnection, str]:
        """Connect to the gateway; return the connection and a ticket.

        Raises LostError, AttachError, TunnelError.
        """
        try:
            connection = TerminalConnection(self._request.options, self._request.path)
        except TunnelError as error:
            raise LostError(error.line) from None
        try:
            ticket = self._ticket(connection)
            connection.open()
        except (LostError, AttachError, TunnelError):
            connection.close()
            raise
        return connection, ticket

    def _ticket(self, connection: TerminalConnection) -> str:
        request = self._request
        is_again = bool(self._attachment.window)
        if request.session:
            about = f"{request.session} may not be watched by {request.options.user}"
            body: dict[str, object] = {"watch": request.session}
            said = self._prompt.ask(connection, "guest-ticket", body, about, is_again=is_again)
            self._attachment.terminal = str(said["terminal"])
            if not is_again and os.isatty(2):
                user, app = (clean(str(said[name])) for name in ("host", "app"))
                self._screen.print(f"stagedoor: watching {user} in {app}; Enter ~. ends it")
            return str(said["ticket"])
        about = f"{request.target} is not open to {request.options.user}"
        body = {"target": request.target}
        return str(self._prompt.ask(connection, "ticket", body, about, is_again=is_again)["ticket"])


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

    def find_next_tick(self, now: float) -> float:
        """Return when to call `tick` next."""
        return now + TICK_S if self._liveness.waits else self._heard_at + PING_S

    def note_sent(self, now: float, *, hello: bool = False) -> None:
        """Record that input was sent, or a HELLO, which needs no PING after it."""
        self._liveness.note_sent(now, ping=hello)

    def note_answer(self, now: float) -> None:
        """Record that the line answers, and give up dialling another."""
        self._heard_at = now
        self.give_up()

    def give_up(self) -> None:
        """Stop watching and dialling. A connection that a running dial still makes is closed."""
        self._liveness.note_answer()
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
            self._liveness.note_sent(now, ping=True)
            return True
        return False

    def take_reached(self, now: float) -> Reached | None:
        """Return the line that replaces the silent one; None if the dial failed and another follows.

        Raises AttachError if another dial would not help.
        """
        assert self._aside is not None, "no line is being dialled"
        aside, self._aside = self._aside, None
        try:
            reached = aside.join()
        except LostError as error:
            self._log(f"beside it: {error}")
            self._next_at = now + RETRY_S[min(self._tries, len(RETRY_S) - 1)]
            self._tries += 1
            return None
        self._log("another line answers; the silent one is closed")
        return reached
