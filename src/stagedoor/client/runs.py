"""`stagedoor run` on the developer's machine: requests to the gateway's API of runs, over any line.

A connection that breaks is made again, and the request is repeated: output and input have offsets, and a run
has an id that this client chose, so nothing is started, shown or sent twice.
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
_KEEP_S = 20.0
"""How often a client whose input is idle reports that it is still there."""
_NOT_READ_S = 0.05
_ID_BYTES = 6


class RunConnection:
    """A connection for requests, which is made again when it breaks. `prompt` has the user's secret."""

    def __init__(
        self, options: Options, path: str, prompt: SecretPrompt, note: Callable[[str], None]
    ) -> None:
        self._options = options
        self._path = path
        self._prompt = prompt
        self._note = note
        self._connection: TerminalConnection | None = None
        self._has_answered = False

    def ask(self, what: str, body: Mapping[str, object], about: str) -> dict[str, Any]:
        """POST `body` to `/api/WHAT` and return the answer.

        Raises AttachError if the gateway refuses, or cannot be reached the first time.
        """
        tries = 0
        while True:
            try:
                answer = self._ask_once(what, body, about)
            except LostError as error:
                self.drop()
                if not self._has_answered:
                    raise AttachError(str(error)) from None
                if not tries:
                    self._note("line lost; trying again")
                time.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
                tries += 1
                continue
            if tries:
                self._note("the line is back")
            self._has_answered = True
            return answer

    def drop(self) -> None:
        """Close the connection; the next request makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def begin_again(self) -> None:
        """Note that the gateway has answered another connection, so this one tries again as well."""
        self._has_answered = True

    def _ask_once(self, what: str, body: Mapping[str, object], about: str) -> dict[str, Any]:
        if self._connection is None:
            try:
                self._connection = TerminalConnection(self._options, self._path)
            except TunnelError as error:
                raise LostError(error.line) from None
        return self._prompt.ask(self._connection, what, body, about, is_again=self._has_answered)


class RunClient:
    """The requests of one command. `note` shows a line to the developer."""

    def __init__(self, options: Options, path: str, note: Callable[[str], None]) -> None:
        self._new_connection = partial(RunConnection, options, path, SecretPrompt(options), note)
        self._connection = self._new_connection()
        self._note = note
        self._has_gap = False
        self._drawing = {
            fd: OutputParser(utf8=is_utf8(find_locale())) for fd in (1, 2) if os.isatty(fd)
        }
        """For each stream that is a terminal: the output may be of a colleague's run."""

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
        return _run_in(answer)

    def list_runs(self, app: str | None) -> list[Run]:
        """Return the runs of an app, or all that the user may see. Raises AttachError."""
        body = {} if app is None else {"target": app}
        answer = self._connection.ask("runs", body, "the runs cannot be listed")
        return [_parse(value) for value in answer.get("runs", [])]

    def cancel(self, run_id: str) -> Run:
        """Ask a run to end. Raises AttachError."""
        answer = self._connection.ask(
            "runs/cancel", {"id": run_id}, f"run {run_id} was not cancelled"
        )
        return _run_in(answer)

    def show(self, run_id: str, start: int, *, follow: bool) -> Run:
        """Write the output from byte `start` on to stdout and stderr; with `follow` until the run's end.

        Return the run as it is then. Raises AttachError, and OSError if stdout is closed.
        """
        while True:
            body = {"id": run_id, "from": start, "wait": follow}
            answer = self._connection.ask("runs/log", body, f"run {run_id} cannot be shown")
            run = _run_in(answer)
            pieces = answer.get("pieces", [])
            for first, stream, text in pieces:
                if first > start:
                    self._has_gap = True
                    self._note(format_gap(first - start).removeprefix("stagedoor: "))
                data = base64.b64decode(text)
                start = first + len(data)
                fd = 2 if stream == "err" else 1
                _write(fd, self._drawing[fd].feed(data) if fd in self._drawing else data)
            if not pieces and (run.is_over or not follow):
                return run

    def wait(self, run_id: str) -> Run:
        """Wait for the end of a run and return it. Raises AttachError."""
        while True:
            # A byte that never comes: the answer comes with the run's end, or after a while.
            body = {"id": run_id, "from": 2**53, "wait": True}
            run = _run_in(self._connection.ask("runs/log", body, f"run {run_id} cannot be shown"))
            if run.is_over:
                return run

    def choose_exit_code(self, run: Run) -> int:
        """Return the exit code of this program for a run that has ended."""
        code = run.code or 0
        return INPUT_OUTPUT_CODE if self._has_gap and not code else code

    def send_input(self, run_id: str) -> "InputClient":
        """Begin to send standard input to a run, in a thread."""
        connection = self._new_connection()
        connection.begin_again()
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
        """Send the input until its end, or until the run reads no more."""
        at, is_over = 0, False
        try:
            while not is_over:
                ready, _, _ = select.select([0], [], [], _KEEP_S)
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
        """Report that the rest of the input does not come. Raises AttachError."""
        self._send({"lost": True})

    def _send_all(self, at: int, data: bytes) -> tuple[int, bool]:
        """Send `data`, or the end of the input if it is empty. Return the new offset, and whether to stop."""
        while True:
            text = base64.b64encode(data).decode("ascii")
            answer = self._send({"at": at, "data": text, "end": not data})
            taken = int(answer["at"]) - at
            at, data = at + taken, data[taken:]
            if answer["over"] or answer["ended"]:
                return at, True
            if not data and taken:
                return at, False
            time.sleep(_NOT_READ_S if not taken else 0)

    def _send(self, fields: Mapping[str, object]) -> dict[str, Any]:
        about = f"run {self._run_id} takes no input"
        with self._lock:
            return self._connection.ask("runs/input", {"id": self._run_id, **fields}, about)


def _run_in(answer: Mapping[str, Any]) -> Run:
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
