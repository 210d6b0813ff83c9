"""Requests to the gateway's web with the user's secret, which is found or asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from stagedoor.client.attach.web import LostError, TerminalConnection
from stagedoor.laptop.login_web import LATER
from stagedoor.laptop.tunnel.enter import TRIES
from stagedoor.laptop.tunnel.errors import TunnelError, clean, show
from stagedoor.laptop.tunnel.http import HttpAnswer
from stagedoor.laptop.tunnel.options import Options
from stagedoor.laptop.tunnel.prompt import ask_person, ask_reason
from stagedoor.laptop.tunnel.secret import find_secret

WAIT_S = {"step-up": 180.0, "access": 900.0}
"""How long to wait for a person: the letters for a proof of presence are valid for 3 minutes."""
ASK_S = 0.2
"""The pause between two requests while waiting for it; the gateway also delays its answer."""


_ACCESS = "access: "
"""The beginning of a hint while access is waited for."""
_MAY_ASK = " is open on request "
"""Stands in the hint as long as the person has to ask, and in the message until an approver has decided."""


class AttachError(Exception):
    """An error that a retry would not fix, with one line that says why.

    `status` is that of the gateway's answer (RFC 9110 §15), 0 without one.
    """

    def __init__(self, line: str, status: int = 0) -> None:
        super().__init__(line)
        self.status = status


class UnreadError(AttachError):
    """The program that read the output from a pipe has ended."""


class PersonPrompt:
    """A prompt for what a person has to do while the terminal waits.

    They prove in a browser that they are there, or ask for access: for `reason`, or for one that they type at
    the terminal.
    """

    def __init__(self, about: str, reason: str = "") -> None:
        self._about = about
        self._reason, self._unsent = reason, ""
        self._hint = ""
        self._began = time.monotonic()

    def show(self, refusal: Mapping[str, object]) -> bool:
        """Show the person the refusal's hint once. Return False if it has none, or the wait is over.

        Raises TunnelError if the person has to ask for access first, and there is neither a reason nor a
        terminal.
        """
        hint, line = refusal.get("step"), str(refusal.get("message", ""))
        if not isinstance(hint, str) or (hint.startswith(_ACCESS) and _MAY_ASK not in line):
            return False
        wait_s = WAIT_S.get(hint.partition(":")[0], 0.0)
        if time.monotonic() >= self._began + wait_s:
            return False
        if hint != self._hint:
            may_ask = hint.startswith(_ACCESS) and _MAY_ASK in hint
            if may_ask and self._hint:  # the request is over, and is not made again
                return False
            self._hint = hint
            if may_ask:
                self._unsent = self._reason or ask_reason(self._about, hint)
            if not self._unsent:
                show(f"stagedoor: {self._about}: {clean(hint)}\n")
        return True

    def take_reason(self) -> str:
        """Return the reason to send now, and "" from then on."""
        reason, self._unsent = self._unsent, ""
        return reason


class SecretPrompt:
    """A sender of requests with the person's secret, which is found or asked for."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._secret = find_secret(options)

    def ask(
        self,
        connection: TerminalConnection,
        what: str,
        body: Mapping[str, object],
        about: str,
        *,
        is_again: bool = False,
    ) -> dict[str, Any]:
        """POST `body` to `/api/WHAT` and return the JSON answer. Raises AttachError, LostError, TunnelError.

        `about` begins the line of an error. With `is_again`, for a reconnect, no person is asked for a secret
        or a proof, and a gateway that is busy or away raises LostError, after which the caller retries.
        """
        tries = 0
        person = PersonPrompt(about, self._options.env.get("STAGEDOOR_REASON", ""))
        while True:
            secret = None if self._secret is None else self._secret.value
            try:
                answer = connection.ask(what, body, self._options.user, secret)
            except TunnelError as error:
                raise LostError(error.line) from None
            said = _parse_answer(answer)
            if answer.status == 200:
                return said
            why = clean(str(said.get("message", f"it answers {answer.status}")))
            if answer.status == 403 and not is_again and person.show(said):
                reason = person.take_reason()  # the gateway answers it at once, with the request
                body = {**body, "waits": not reason, "reason": reason}
                time.sleep(ASK_S)
                continue
            if answer.status == 401 and not is_again and tries < TRIES:
                was_refused = tries or self._secret is not None
                tries += 1
                typed = ask_person(self._options, why if was_refused else "")
                if typed is not None:
                    self._secret = typed
                    continue
            if answer.status in (429, *LATER) and is_again:
                raise LostError(why)
            if answer.status == 401:
                why += connection.find_login_hint(said)
            raise AttachError(f"{about}: {why}", answer.status)


def _parse_answer(answer: HttpAnswer) -> dict[str, Any]:
    """Return the JSON object of an answer. Raises LostError if it is none of Stagedoor's web."""
    try:
        said = json.loads(answer.body)
    except ValueError:
        said = None
    if isinstance(said, dict):
        return said
    if answer.status in LATER:
        raise LostError(
            f"a proxy answers {answer.status} for Stagedoor's web; try again in a minute"
        )
    raise LostError(
        f"the server that answered {answer.status} is not Stagedoor's web; check the address"
    )


def request_once(
    options: Options, path: str, what: str, body: Mapping[str, object], about: str,
) -> dict[str, Any]:  # fmt: skip
    """Send one request, over its own connection, and return the answer. Raises AttachError, TunnelError."""
    connection = TerminalConnection(options, path)
    try:
        return SecretPrompt(options).ask(connection, what, body, about)
    except LostError as error:
        raise AttachError(str(error)) from None
    finally:
        connection.close()
