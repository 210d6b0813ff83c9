"""Connections to the gateway, and the check that the current one still answers.

Whatever the client sends counts as unanswered until anything at all is received. A program that does not read
delays the acknowledgement of input, so after `PROBE_S` a PING asks for an immediate answer. The logic is the
same as in `web/src/terminal/liveness.ts`; `tests/wire/liveness.json` tests both.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stagedoor.client.attach.attachment import Attachment
from stagedoor.client.attach.descriptors import WorkThread
from stagedoor.client.attach.request import AttachRequest
from stagedoor.client.attach.screen import Screen
from stagedoor.client.attach.secret_prompt import AttachError, SecretPrompt
from stagedoor.client.attach.web import LostError, TerminalConnection
from stagedoor.laptop.tunnel.errors import TunnelError, clean

PING_S = 20.0
"""The client sends a PING after this silence, since proxies drop connections that are idle for 60 s."""
RETRY_S = (0.1, 0.3, 0.5, 1.0, 1.0, 2.0, 2.0, 5.0)
"""The pauses between attempts to connect. The last one repeats."""
TICK_S = 0.5
"""The interval between calls of `tick` while something is unanswered."""
PROBE_S = 1.0
SILENT_S = 2.0
"""The client reports a silence of this length."""
DIAL_S = 8.0
"""After this silence, the client dials a second connection."""
_TICK_LIMIT_S = 1.0
"""The most that one tick counts. A later tick was delayed, and the answer may have been delayed with it."""

DialResult = tuple[TerminalConnection, str]
DialTerminal = Callable[[], DialResult]


@dataclass(frozen=True, slots=True)
class LivenessCheck:
    """The result of a `tick`: whether to send a PING (`probe`), and whether to `dial` a second connection.

    `silent_s` is the length of the silence in whole seconds, 0 below `SILENT_S`.
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
    def has_unanswered(self) -> bool:
        """True if something that was sent is unanswered."""
        return self._ticked_at is not None

    def note_sent(self, now: float, *, ping: bool = False) -> None:
        """Record that input or a PING was sent, which the gateway will answer."""
        self._probed = self._probed or ping
        if self._ticked_at is None:
            self._ticked_at, self._waited = now, 0.0

    def note_answer(self) -> None:
        """Record that something was received."""
        self._ticked_at = None
        self._probed = False

    def tick(self, now: float) -> LivenessCheck:
        """Return what to do now. `probe` is True once for each silence."""
        if self._ticked_at is None:
            return LivenessCheck()
        self._waited += min(max(now - self._ticked_at, 0.0), _TICK_LIMIT_S)
        self._ticked_at = now
        probe = self._waited >= PROBE_S and not self._probed
        self._probed = self._probed or probe
        silent_s = int(self._waited) if self._waited >= SILENT_S else 0
        return LivenessCheck(probe, silent_s, self._waited >= DIAL_S)


class TerminalDialer:
    """A dialer of connections for one attachment. It asks for a secret at most once."""

    def __init__(self, request: AttachRequest, attachment: Attachment, screen: Screen) -> None:
        self._request = request
        self._attachment = attachment
        self._screen = screen
        self._prompt = SecretPrompt(request.options)
        self._has_ticket = False

    def dial(self) -> DialResult:
        """Connect to the gateway, and return the connection and a ticket.

        Raises LostError, AttachError, TunnelError.
        """
        try:
            connection = TerminalConnection(self._request.options, self._request.path)
        except TunnelError as error:
            raise LostError(error.line) from None
        try:
            ticket = self._request_ticket(connection)
            self._has_ticket = True
            connection.open()
        except BaseException:
            connection.close()
            raise
        return connection, ticket

    def _request_ticket(self, connection: TerminalConnection) -> str:
        request = self._request
        is_reconnect = self._has_ticket
        if request.session:
            about = f"{request.session} may not be watched by {request.options.user}"
            body: dict[str, object] = {"watch": request.session}
            answer = self._prompt.ask(
                connection, "guest-ticket", body, about, is_reconnect=is_reconnect
            )
            self._attachment.terminal = _read_field(answer, "terminal")
            if not is_reconnect and os.isatty(2):
                user, app = (clean(_read_field(answer, name)) for name in ("host", "app"))
                self._screen.print(f"stagedoor: watching {user} in {app}; Enter ~. ends it")
            return _read_field(answer, "ticket")
        about = f"{request.target} is not open to {request.options.user}"
        body = {"target": request.target}
        answer = self._prompt.ask(connection, "ticket", body, about, is_reconnect=is_reconnect)
        return _read_field(answer, "ticket")


def _read_field(answer: Mapping[str, object], name: str) -> str:
    """Return a field of the gateway's answer. Raises AttachError if it is missing."""
    if name not in answer:
        raise AttachError(f"the gateway's answer has no {name}; one of the two is too old")
    return str(answer[name])


class ConnectionWatch:
    """A watch over the connection to the gateway, which dials a second one when the first is silent.

    `dial` runs in a thread. `note` shows the state of the connection to the developer, `log` records it.
    """

    def __init__(
        self, dial: DialTerminal, note: Callable[[str], None], log: Callable[[str], None]
    ) -> None:
        self._dial = dial
        self._note = note
        self._log = log
        self._liveness = Liveness()
        self._heard_at = 0.0
        self._tries = 0
        self._next_at = 0.0
        self._dialling: WorkThread[DialResult] | None = None

    @property
    def done_fd(self) -> int | None:
        """The descriptor that becomes readable when a dial is done, or None if none runs."""
        return None if self._dialling is None else self._dialling.done_fd

    def find_next_tick(self, now: float) -> float:
        """Return the time at which to call `tick` next."""
        return now + TICK_S if self._liveness.has_unanswered else self._heard_at + PING_S

    def note_sent(self, now: float, *, hello: bool = False) -> None:
        """Record that input or a HELLO was sent. A HELLO is answered at once, so no PING follows it."""
        self._liveness.note_sent(now, ping=hello)

    def note_answer(self, now: float) -> None:
        """Record that the connection answers, and abandon a second one."""
        self._heard_at = now
        self.reset()

    def reset(self) -> None:
        """Stop watching and dialling. If a dial is under way, its connection will be closed."""
        self._liveness.note_answer()
        self._note("")
        self._tries, self._next_at = 0, 0.0
        if self._dialling is not None:
            self._dialling.abandon(lambda result: result[0].close())
            self._dialling = None

    def tick(self, now: float) -> bool:
        """Report a silence, and dial if it lasts. Return True if the caller must send a PING."""
        check = self._liveness.tick(now)
        self._note(f"not answering for {check.silent_s} s" if check.silent_s else "")
        if check.dial and self._dialling is None and now >= self._next_at:
            self._log(f"no answer for {check.silent_s} s; dialling a second connection")
            self._dialling = WorkThread(self._dial)
        if check.probe or (not self._liveness.has_unanswered and now - self._heard_at >= PING_S):
            self._liveness.note_sent(now, ping=True)
            return True
        return False

    def take_result(self, now: float) -> DialResult | None:
        """Return the connection that replaces the silent one, or None if the dial failed.

        A failed dial is repeated. Raises AttachError if that would not help.
        """
        assert self._dialling is not None, "no dial is under way"
        dialling, self._dialling = self._dialling, None
        try:
            result = dialling.join()
        except LostError as error:
            self._log(f"second connection: {error}")
            self._next_at = now + RETRY_S[min(self._tries, len(RETRY_S) - 1)]
            self._tries += 1
            return None
        self._log("the second connection answers; the silent one is closed")
        return result
