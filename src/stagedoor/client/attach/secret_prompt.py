"""Requests to the gateway's web that need the user's secret, a proof of presence, or a reason for access."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from stagedoor.client.attach.web import LostError, TerminalConnection
from stagedoor.laptop.login_web import UNAVAILABLE
from stagedoor.laptop.tunnel.connect import is_access, is_open_on_request
from stagedoor.laptop.tunnel.enter import TRIES
from stagedoor.laptop.tunnel.errors import TunnelError, clean, show
from stagedoor.laptop.tunnel.http import HttpAnswer
from stagedoor.laptop.tunnel.options import Options
from stagedoor.laptop.tunnel.prompt import ask_person, ask_reason
from stagedoor.laptop.tunnel.secret import find_secret

WAIT_S = {"step-up": 180.0, "access": 900.0}
"""How long to wait for each step, in seconds. The letters for a proof of presence are valid for 3 minutes."""
ASK_S = 0.2
"""The pause between two requests during the wait. The gateway also delays its answer."""


class AttachError(Exception):
    """An error that a retry would not fix. Its text is one line.

    `status` is the HTTP status of the gateway's answer, 0 if there is none.
    """

    def __init__(self, line: str, status: int = 0) -> None:
        super().__init__(line)
        self.status = status


class UnreadError(AttachError):
    """The output cannot be written, since its reader has ended."""


class PersonPrompt:
    """A prompt for what the developer has to do before the gateway grants a request.

    They prove their presence in a browser, or ask for access: for `reason`, or for one that they type.
    """

    def __init__(self, about: str, reason: str = "") -> None:
        self._about = about
        self._reason, self._unsent_reason = reason, ""
        self._hint = ""
        self._started_at = time.monotonic()

    def show(self, refusal: Mapping[str, object]) -> bool:
        """Show the refusal's hint, once. Return False if there is none, or if the wait is over.

        Raises TunnelError if the developer has to give a reason, and there is no terminal.
        """
        hint, line = refusal.get("step"), str(refusal.get("message", ""))
        if not isinstance(hint, str) or (is_access(hint) and not is_open_on_request(line)):
            return False
        wait_s = WAIT_S.get(hint.partition(":")[0], 0.0)
        if time.monotonic() >= self._started_at + wait_s:
            return False
        if hint != self._hint:
            may_ask = is_access(hint) and is_open_on_request(hint)
            if may_ask and self._hint:  # the request has ended; do not repeat it
                return False
            self._hint = hint
            if may_ask:
                self._unsent_reason = self._reason or ask_reason(self._about, hint)
            if not self._unsent_reason:
                show(f"stagedoor: {self._about}: {clean(hint)}\n")
        return True

    def take_reason(self) -> str:
        """Return the reason to send with the next request, once; afterwards ""."""
        reason, self._unsent_reason = self._unsent_reason, ""
        return reason


class SecretPrompt:
    """A sender of requests with the user's secret, which it finds or asks for."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._secret = find_secret(options)

    def ask(
        self,
        connection: TerminalConnection,
        endpoint: str,
        body: Mapping[str, object],
        error_prefix: str,
        *,
        is_reconnect: bool = False,
    ) -> dict[str, Any]:
        """POST `body` to `/api/ENDPOINT`, and return the JSON answer.

        `error_prefix` begins the line of an error. For a reconnect (`is_reconnect`) there is no prompt, and a
        busy or absent gateway raises LostError, so that the caller retries. Raises AttachError, TunnelError.
        """
        tries = 0
        person = PersonPrompt(error_prefix, self._options.env.get("STAGEDOOR_REASON", ""))
        while True:
            secret = None if self._secret is None else self._secret.value
            try:
                answer = connection.ask(endpoint, body, self._options.user, secret)
            except TunnelError as error:
                raise LostError(error.line) from None
            document = _parse_answer(answer)
            if answer.status == 200:
                return document
            message = clean(str(document.get("message", f"it answers {answer.status}")))
            if answer.status == 403 and not is_reconnect and person.show(document):
                reason = person.take_reason()  # with a reason, the gateway answers at once
                body = {**body, "waits": not reason, "reason": reason}
                time.sleep(ASK_S)
                continue
            if answer.status == 401 and not is_reconnect and tries < TRIES:
                was_refused = tries or self._secret is not None
                tries += 1
                typed = ask_person(self._options, message if was_refused else "")
                if typed is not None:
                    self._secret = typed
                    continue
            if answer.status in (429, *UNAVAILABLE) and is_reconnect:
                raise LostError(message)
            if answer.status == 401:
                message += connection.find_login_hint(document)
            raise AttachError(f"{error_prefix}: {message}", answer.status)


def _parse_answer(answer: HttpAnswer) -> dict[str, Any]:
    """Return the JSON object of an answer. Raises LostError if it is not from Stagedoor's web."""
    try:
        document = json.loads(answer.body)
    except ValueError:
        document = None
    if isinstance(document, dict):
        return document
    if answer.status in UNAVAILABLE:
        raise LostError(
            f"a proxy answers {answer.status} for Stagedoor's web; try again in a minute"
        )
    raise LostError(
        f"the server that answered {answer.status} is not Stagedoor's web; check the address"
    )


def request_once(
    options: Options, path: str, endpoint: str, body: Mapping[str, object], error_prefix: str,
) -> dict[str, Any]:  # fmt: skip
    """Send one request over a new connection, and return the answer. Raises AttachError, TunnelError."""
    connection = TerminalConnection(options, path)
    try:
        return SecretPrompt(options).ask(connection, endpoint, body, error_prefix)
    except LostError as error:
        raise AttachError(str(error)) from None
    finally:
        connection.close()
