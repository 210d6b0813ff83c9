"""`ssh GATEWAY run …`: one channel in which a client starts, follows, lists or cancels runs."""

import asyncio
import json
from contextlib import suppress
from dataclasses import replace

import asyncssh

from stagedoor.listeners.ssh.login import SshLogin
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.run import INPUT_OUTPUT_CODE, REFUSED_CODE, Output, Run, RunOrder, RunState
from stagedoor.model.session import AccessMethod, LoginOrigin
from stagedoor.model.shell import ProgressStep
from stagedoor.session.run_input import RunInputPump
from stagedoor.session.runs import RunService
from stagedoor.wire.run_command import (
    CancelRun,
    ListRuns,
    ReadRun,
    RunCommand,
    RunCommandError,
    StartRun,
    WaitRun,
    parse_run_line,
)
from stagedoor.wire.run_text import describe_run, format_gap, format_run_end, format_runs
from stagedoor.wire.terminal.output_parser import OutputParser

USAGE_CODE = 2
INPUT_END_S = 2.0
"""How long a run waits for its whole input before a line reports it."""
FAILED_CODE = 255
"""The exit status of a refusal other than by a limit; ssh uses it for its own failures."""


class RunChannel:
    """The `run` command of one session channel (RFC 4254 §6.5).

    `input` takes what the client sends. Output waits while `has_room` is not set.
    """

    def __init__(
        self, login: SshLogin, runs: RunService, chan: "asyncssh.SSHServerChannel[bytes]"
    ) -> None:
        self._identity = login.identity
        self._translate = login.translate
        self._origin = LoginOrigin(AccessMethod.DIRECT, login.source)
        self._runs = runs
        self._chan = chan
        self._is_terminal = chan.get_terminal_type() is not None
        self._drawing = {is_error: OutputParser(utf8=True) for is_error in (False, True)}
        self.has_room = asyncio.Event()
        self.has_room.set()
        self.input = RunInputPump(
            runs.input, login.identity, chan.pause_reading, chan.resume_reading
        )
        self._shown = 0

    async def serve(self, line: str) -> int:
        """Run the command `line`, and return the exit status."""
        try:
            command = parse_run_line(line)
        except RunCommandError as error:
            self._say(f"stagedoor: {error}")
            return USAGE_CODE
        assert command is not None, "the page has seen that it is a command `run`"
        return await self._perform(command)

    async def _perform(self, command: RunCommand) -> int:
        identity, origin = self._identity, self._origin
        match command:
            case StartRun(order, detach, as_json):
                return await self._start(order, detach=detach, as_json=as_json)
            case ListRuns(target, as_json):
                runs = await self._runs.list_runs(identity, target)
                if isinstance(runs, Denial):
                    return self._refuse(runs)
                documents = json.dumps([describe_run(run) for run in runs], indent=2) + "\n"
                await self._write(
                    (documents if as_json else self._translate(format_runs(runs))).encode()
                )
                return 0
            case ReadRun(run_id, start, follow, is_attached):
                run = await self._runs.open_log(identity, run_id, origin)
                if isinstance(run, Denial):
                    return self._refuse(run)
                if follow:
                    code = await self._follow(run, start)
                    return code if is_attached else 0
                return await self._print(run, start)
            case WaitRun(run_id, as_json):
                run = await self._runs.open_log(identity, run_id, origin)
                if isinstance(run, Denial):
                    return self._refuse(run)
                run = await self._runs.wait(identity, run)
                if as_json:
                    await self._write(f"{json.dumps(describe_run(run))}\n".encode())
                elif run.is_over:
                    self._say(f"stagedoor: {format_run_end(run)}")
                return FAILED_CODE if run.code is None else run.code
            case CancelRun(run_id):
                run = await self._runs.cancel(identity, run_id, origin)
                if isinstance(run, Denial):
                    return self._refuse(run)
                done = "has ended already" if run.is_over else "is being cancelled"
                self._say(f"stagedoor: run {run.id} {done}")
                return 0

    async def _start(self, order: RunOrder, *, detach: bool, as_json: bool) -> int:
        # Input typed at a terminal may never end, and a run that waits for its whole input would not start.
        takes_input = self._runs.has_input_stream(order.target) or not self._is_terminal
        order = replace(order, has_input=takes_input and not detach)
        run = await self._runs.start(self._identity, order, self._origin, self._show_step)
        if isinstance(run, Denial):
            return self._refuse(run)
        if detach and not run.is_over:
            text = json.dumps(describe_run(run)) if as_json else run.id
            await self._write(f"{text}\n".encode())
            return 0
        self._runs.keep_task(self.input.run(run))
        if not as_json:
            self._say(
                f"stagedoor: run {run.id} of {run.target.login_name}; "
                f"if the connection is lost it continues: run attach {run.id}, run cancel {run.id}"
            )
            if self._is_terminal:
                self._say(
                    "stagedoor: a run has no terminal; the app's shell has one: ssh "
                    f"{run.target.login_name}@GATEWAY"
                )
        if run.recording is not None:
            self._say("stagedoor: its output is recorded")
        if run.state is RunState.WAITING and not await self.input.is_complete(INPUT_END_S):
            self._say(
                "stagedoor: it starts once its input is complete: end it with Ctrl-D, or send none by ssh -n"
            )
        code = await self._follow(run, 0)
        if as_json:
            document = json.dumps(describe_run(await self._runs.refresh(run)))
            self._put(f"{document}\n".encode(), is_error=True)
        return code

    async def _follow(self, run: Run, start: int) -> int:
        """Show the output from `start` until the end, and return the exit status."""
        self._shown = start
        has_gap = False
        async for news in self._runs.follow(self._identity, run, start):
            match news:
                case Output():
                    has_gap = await self._show(news) or has_gap
                case Denial():
                    return self._refuse(news)
                case Run(code=code):
                    if news.detail or news.state.value != "exited":
                        self._say(f"stagedoor: {format_run_end(news)}")
                    return INPUT_OUTPUT_CODE if has_gap and not code else code or 0
        return FAILED_CODE

    async def _print(self, run: Run, start: int) -> int:
        """Show the output so far."""
        self._shown = start
        while True:
            pieces = await self._runs.read(run, self._shown)
            if isinstance(pieces, Denial):
                return self._refuse(pieces)
            if not pieces:
                return 0
            for piece in pieces:
                await self._show(piece)
            if not self._runs.is_still_allowed(self._identity, run):
                return FAILED_CODE

    async def _show(self, piece: Output) -> bool:
        """Write output. Return whether output before it was skipped."""
        left_out = piece.start - self._shown
        if left_out > 0:
            self._say(format_gap(left_out))
        self._shown = piece.end
        data = piece.data
        if self._is_terminal:  # it may be a colleague's run
            data = self._drawing[piece.is_error].feed(data)
        await self._write(data, is_error=piece.is_error)
        return left_out > 0

    def _refuse(self, denial: Denial) -> int:
        self._say(f"stagedoor: {denial.line}")
        return REFUSED_CODE if denial.reason is Reason.RUN_LIMIT else FAILED_CODE

    def _show_step(self, step: ProgressStep) -> None:
        self._say(f"stagedoor: {step.line}")

    def _say(self, line: str) -> None:
        self._put(f"{self._translate(line)}\n".encode(), is_error=True)

    async def _write(self, data: bytes, *, is_error: bool = False) -> None:
        await self.has_room.wait()
        self._put(data, is_error=is_error)

    def _put(self, data: bytes, *, is_error: bool = False) -> None:
        if self._is_terminal:
            data = data.replace(b"\n", b"\r\n")
        with suppress(OSError):  # the client has closed the channel meanwhile
            (self._chan.write_stderr if is_error else self._chan.write)(data)
