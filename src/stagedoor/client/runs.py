"""The client of `stagedoor run`: requests to the gateway's API of runs.

When a connection breaks, the client connects again and repeats the request. The client chooses a run's id,
and input and output have offsets, so nothing is started, shown or sent twice.
"""

import base64
import os
import secrets
import select
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from stagedoor.client.attach.dialling import RETRY_S
from stagedoor.client.attach.locale_name import find_locale, is_utf8
from stagedoor.client.attach.secret_prompt import AttachError, SecretPrompt
from stagedoor.client.attach.web import LostError, TerminalConnection
from stagedoor.laptop.tunnel.errors import TunnelError
from stagedoor.laptop.tunnel.options import Options
from stagedoor.model.run import INPUT_OUTPUT_CODE, Run, RunOrder
from stagedoor.wire.run_text import format_gap, parse_run
from stagedoor.wire.terminal.output_parser import OutputParser

_READ_BYTES = 24 * 1024
_KEEPALIVE_S = 20.0
"""The interval at which a client with idle input reports that it is still connected."""
_UNREAD_PAUSE_S = 0.05
"""The pause before input is sent again that the task has not read."""
_ID_BYTES = 6


class RunConnection:
    """A connection for requests that reconnects when it breaks.

    `prompt` has the user's secret, and `note` shows a line to the developer. Until `has_answered`, an
    unreachable gateway is an error; from then on, requests are repeated until it answers.
    """

    def __init__(
        self,
        options: Options,
        path: str,
        prompt: SecretPrompt,
        note: Callable[[str], None],
        *,
        has_answered: bool = False,
    ) -> None:
        self._options = options
        self._path = path
        self._prompt = prompt
        self._note = note
        self._connection: TerminalConnection | None = None
        self._has_answered = has_answered

    def ask(self, endpoint: str, body: Mapping[str, object], error_prefix: str) -> dict[str, Any]:
        """POST `body` to `/api/ENDPOINT` and return the answer.

        Raises AttachError if the gateway refuses the request, or has never answered.
        """
        tries = 0
        while True:
            try:
                answer = self._ask_once(endpoint, body, error_prefix)
            except LostError as error:
                self.drop()
                if not self._has_answered:
                    raise AttachError(str(error)) from None
                if not tries:
                    self._note("connection lost; reconnecting")
                time.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
                tries += 1
                continue
            if tries:
                self._note("reconnected")
            self._has_answered = True
            return answer

    def drop(self) -> None:
        """Close the connection. The next request opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask_once(
        self, endpoint: str, body: Mapping[str, object], error_prefix: str
    ) -> dict[str, Any]:
        if self._connection is None:
            try:
                self._connection = TerminalConnection(self._options, self._path)
            except TunnelError as error:
                raise LostError(error.line) from None
        return self._prompt.ask(
            self._connection, endpoint, body, error_prefix, is_reconnect=self._has_answered
        )


class RunClient:
    """The requests of a `stagedoor run` command. `note` shows a line to the developer."""

    def __init__(self, options: Options, path: str, note: Callable[[str], None]) -> None:
        self._new_connection = partial(RunConnection, options, path, SecretPrompt(options), note)
        self._connection = self._new_connection()
        self._note = note
        self._has_gap = False
        self._filters = {
            fd: OutputParser(utf8=is_utf8(find_locale())) for fd in (1, 2) if os.isatty(fd)
        }
        """A filter for each stream that is a terminal, since a colleague may have started the run."""

    def start(self, order: RunOrder) -> Run:
        """Start a run and return it. Raises AttachError."""
        body = {
            "id": secrets.token_hex(_ID_BYTES),
            "target": order.target.login_name,
            "command": order.command,
            "timeout_s": order.timeout_s,
            "lock": order.lock,
            "size": order.size,
            "input": order.has_input,
            "waits": False,
        }
        about = f"no run was started in {order.target.login_name}"
        answer = self._connection.ask("runs/start", body, about)
        if answer.get("recorded") is True:
            self._note("its output is recorded")
        return _get_run(answer)

    def list_runs(self, app: str | None) -> list[Run]:
        """Return the runs of `app`, or of all apps if it is None. Raises AttachError."""
        body = {} if app is None else {"target": app}
        answer = self._connection.ask("runs", body, "the runs cannot be listed")
        return [_parse(value) for value in answer.get("runs", [])]

    def cancel(self, run_id: str) -> Run:
        """Cancel a run, and return it. Raises AttachError."""
        answer = self._connection.ask(
            "runs/cancel", {"id": run_id}, f"run {run_id} was not cancelled"
        )
        return _get_run(answer)

    def show(self, run_id: str, start: int, *, follow: bool) -> Run:
        """Write a run's output, from byte `start`, to stdout and stderr, and return the run.

        With `follow`, wait for more output until the run ends. Raises AttachError, and OSError if stdout is
        closed.
        """
        while True:
            body = {"id": run_id, "from": start, "wait": follow}
            answer = self._connection.ask("runs/log", body, f"run {run_id} cannot be shown")
            run = _get_run(answer)
            pieces = answer.get("pieces", [])
            for first, stream, text in pieces:
                if first > start:
                    self._has_gap = True
                    self._note(format_gap(first - start).removeprefix("stagedoor: "))
                data = base64.b64decode(text)
                start = first + len(data)
                fd = 2 if stream == "err" else 1
                _write(fd, self._filters[fd].feed(data) if fd in self._filters else data)
            if not pieces and (run.is_over or not follow):
                return run

    def wait(self, run_id: str) -> Run:
        """Wait until a run ends, and return it. Raises AttachError."""
        while True:
            # No run has this byte, so the answer arrives when the run ends, or at the gateway's time limit.
            body = {"id": run_id, "from": 2**53, "wait": True}
            run = _get_run(self._connection.ask("runs/log", body, f"run {run_id} cannot be shown"))
            if run.is_over:
                return run

    def choose_exit_code(self, run: Run) -> int:
        """Return the exit code of this program for a run that has ended."""
        code = run.code or 0
        return INPUT_OUTPUT_CODE if self._has_gap and not code else code

    def send_input(self, run_id: str) -> "InputClient":
        """Start a thread that sends standard input to a run, and return it."""
        connection = self._new_connection(has_answered=True)
        sender = InputClient(connection, run_id, self._note)
        sender.start()
        return sender


class InputClient(threading.Thread):
    """A thread that sends standard input to a run."""

    def __init__(self, connection: RunConnection, run_id: str, note: Callable[[str], None]) -> None:
        super().__init__(daemon=True)
        self._note = note
        self._connection = connection
        self._run_id = run_id
        self._lock = threading.Lock()

    def run(self) -> None:
        """Send the input until it ends, or until the run no longer reads it."""
        at, is_over = 0, False
        try:
            while not is_over:
                ready, _, _ = select.select([0], [], [], _KEEPALIVE_S)
                if not ready:
                    is_over = bool(self._send({"at": at})["over"])
                    continue
                try:
                    data = os.read(0, _READ_BYTES)
                except OSError:
                    self.report_loss()
                    return
                at, is_over = self._send_all(at, data)
                if not data:
                    return
        except AttachError as error:
            self._note(str(error))

    def report_loss(self) -> None:
        """Report that the rest of the input is lost. Raises AttachError."""
        self._send({"lost": True})

    def _send_all(self, at: int, data: bytes) -> tuple[int, bool]:
        """Send `data`, or the end of the input if it is empty. Return the new offset, and True to stop."""
        while True:
            text = base64.b64encode(data).decode("ascii")
            answer = self._send({"at": at, "data": text, "end": not data})
            taken_bytes = int(answer["at"]) - at
            at, data = at + taken_bytes, data[taken_bytes:]
            if answer["over"] or answer["ended"]:
                return at, True
            if not data and taken_bytes:
                return at, False
            time.sleep(0 if taken_bytes else _UNREAD_PAUSE_S)

    def _send(self, fields: Mapping[str, object]) -> dict[str, Any]:
        about = f"run {self._run_id} takes no input"
        with self._lock:
            return self._connection.ask("runs/input", {"id": self._run_id, **fields}, about)


def _get_run(answer: Mapping[str, Any]) -> Run:
    return _parse(answer.get("run"))


def _parse(value: object) -> Run:
    try:
        return parse_run(value)
    except ValueError as error:
        raise AttachError(f"the gateway's answer cannot be read: {error}") from None


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
