"""Asks the gateway's web for something in a user's name: their secret, and the answer."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from stagedoor.client import tunnel
from stagedoor.client.attach.web import Connection
from stagedoor.client.http import LostError

_LATER = (429, 502, 503, 504)
PROOF_S = 180.0
"""As long as the letters for a proof of presence are good."""
ASK_S = 0.2
"""Between two questions for it. The gateway itself takes its time for the answer."""


class AttachError(Exception):
    """It cannot go on, and trying again would not help; one line that says why."""


class UnreadError(AttachError):
    """The program that read what is shown, in a pipe, has gone."""


class StepUpPrompt:
    """A person has to prove in a browser that they are there, and the terminal waits for it."""

    def __init__(self, about: str) -> None:
        self._about = about
        self._told = ""
        self._until = time.monotonic() + PROOF_S

    def shown(self, refused: Mapping[str, object]) -> bool:
        """Whether it is worth waiting for, once the person was told what to do."""
        told = refused.get("step_up")
        if not isinstance(told, str) or time.monotonic() >= self._until:
            return False
        if told != self._told:
            self._told = told
            tunnel.show(f"stagedoor: {self._about}: step-up: {tunnel.clean(told)}\n")
        return True


class SecretPrompt:
    """Finds the person's secret, or asks for it."""

    def __init__(self, options: tunnel.Options) -> None:
        self._options = options
        self._secret = tunnel.find_secret(options)

    def ask(
        self,
        connection: Connection,
        what: str,
        asked: Mapping[str, object],
        about: str,
        *,
        been_in: bool = False,
    ) -> dict[str, Any]:
        """The answer. Raises AttachError, and LostError where it is worth another try.

        `about` begins the line that says why not. With `been_in` nobody is asked for a secret, and
        comes back when the gateway can be reached again.
        """
        tries = 0
        proof = StepUpPrompt(about)
        while True:
            secret = None if self._secret is None else self._secret.value
            answer = connection.ask(what, asked, self._options.user, secret)
            try:
                said = json.loads(answer.body)
                assert isinstance(said, dict)
            except (ValueError, AssertionError):
                raise LostError("what answers is not Stagedoor's web") from None
            if answer.status == 200:
                return said
            why = tunnel.clean(str(said.get("message", f"it answers {answer.status}")))
            if answer.status == 403 and not been_in and proof.shown(said):
                asked = {**asked, "waits": True}
                time.sleep(ASK_S)
                continue
            if answer.status == 401 and not been_in and tries < tunnel.TRIES:
                shown = tries or self._secret is not None
                tries += 1
                found = tunnel.ask_person(self._options, why if shown else "")
                if found is not None:
                    self._secret = found
                    continue
            if answer.status in _LATER and been_in:
                raise LostError(why)
            if answer.status == 401:
                why += connection.login_mend(said)
            raise AttachError(f"{about}: {why}")


def once(
    options: tunnel.Options, path: str, what: str, asked: Mapping[str, object], about: str,
) -> dict[str, Any]:  # fmt: skip
    """One question, by a connection of its own. Raises AttachError, TunnelError."""
    connection = Connection(options, path)
    try:
        return SecretPrompt(options).ask(connection, what, asked, about)
    except LostError as error:
        raise AttachError(str(error)) from None
    finally:
        connection.close()
