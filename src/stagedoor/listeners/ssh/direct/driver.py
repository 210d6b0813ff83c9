"""Direct login: SSH ends at the gateway, and a second SSH connection leads to the shell.

It is for tools that do not support jumps: `ssh app01@gateway`. The gateway sees what the channels carry,
which makes recordings possible; a jump is encrypted from end to end.

`DirectDriver` reports events to the state of the login (`login.DirectLogin`) and performs the effects that it
returns. Read the two files side by side to follow a login from its first request to its end.
"""

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import asyncssh

from stagedoor.listeners.ssh.direct import effects, events
from stagedoor.listeners.ssh.direct.channel import (
    DirectChannel,
    ForwardSide,
    ProgramSide,
    ShellSide,
)
from stagedoor.listeners.ssh.direct.login import DirectLogin
from stagedoor.listeners.ssh.direct.reason import ask_reason, watch_interrupt
from stagedoor.listeners.ssh.direct.start import connect_forward, explain_not_started, run_program
from stagedoor.listeners.ssh.login import SshLogin
from stagedoor.model.certificate import PTY, list_extensions
from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.session import (
    STOPPING,
    AccessMethod,
    EndReason,
    LoginOrigin,
    explain_cancellation,
)
from stagedoor.model.shell import ProgressStep
from stagedoor.recording.channel_audit import ChannelRequest, RecordingPlan
from stagedoor.session.end_notices import EndNotices
from stagedoor.session.entered import EnteredSession
from stagedoor.session.person_wait import PERSON_STEPS
from stagedoor.tasks import Tasks
from stagedoor.upstream.connection import explain_hang_up
from stagedoor.upstream.login import GatewayLogin, ShellLoginError
from stagedoor.upstream.session import SessionEndedError, ShellSession, open_shell_session

SHOW_PROGRESS_AFTER_S = 2.0
"""After this long, a waiting terminal shows what the login waits for."""


@dataclass(frozen=True, slots=True)
class DirectParts:
    """The services and settings that all direct logins of a gateway share. Belongs to one event loop.

    `plan` says how programs are recorded. Variables that match `environment_patterns` are passed on, as in
    sshd's AcceptEnv. A session that moves no bytes for `idle_timeout_s` is closed, unless it is None. `now`
    returns seconds since the epoch.
    """

    upstream: GatewayLogin
    plan: RecordingPlan
    environment_patterns: tuple[str, ...] = ("LANG", "LC_*", "COLORTERM")
    idle_timeout_s: float | None = None
    now: Callable[[], float] = time.time
    tasks: Tasks = field(default_factory=lambda: Tasks("a login was dropped by an internal fault"))


class DirectDriver:
    """The driver of one direct login, which connects its state with the listener, the flow and asyncssh."""

    def __init__(self, parts: DirectParts, login: SshLogin) -> None:
        assert login.target is not None, "a direct login names an app"
        self._parts = parts
        self._login = login
        self._target = login.target
        self._state = DirectLogin(
            login.identity.name, login.target, login.permitted_extensions, login.force_command
        )
        self._numbers = itertools.count(1)
        self._channels: dict[int, DirectChannel] = {}
        self._sessions: dict[int, ShellSession] = {}
        self._session_tasks: dict[int, asyncio.Task[None]] = {}
        self._answers: dict[int, asyncio.Future[effects.AnswerRequest]] = {}

    # For the listener.

    @property
    def is_entering(self) -> bool:
        """Return whether the login is entering its shell, which a drain waits for."""
        return self._state.entering_number is not None

    def open_session(self) -> ProgramSide:
        """Open a session channel (RFC 4254 §6.1). A refusal is shown on the channel, with an exit status."""
        channel = self._add_channel()
        return ProgramSide(
            channel, self.post, permits_terminals=PTY in self._login.permitted_extensions
        )

    async def open_forward(self, host: str, port: int) -> ForwardSide:
        """Open a forward to the shell's loopback (RFC 4254 §7.2). Raises asyncssh.ChannelOpenError."""
        channel = self._add_channel()
        answer = await self._ask(events.ForwardRequest(channel.number, host, port))
        if answer.refusal is not None:
            how = self._login.flow.explain_asking(self._login.identity, self._target, answer.lacks)
            raise asyncssh.ChannelOpenError(answer.code, answer.refusal + how)
        return ForwardSide(channel, self.post)

    async def may_use_agent(self) -> bool:
        """Return whether the client's agent may be forwarded into the shell. Enters the shell if needed."""
        answer = await self._ask(events.AgentRequest(next(self._numbers)))
        return answer.refusal is None

    def _add_channel(self) -> DirectChannel:
        number = next(self._numbers)
        channel = self._channels[number] = DirectChannel(number)
        return channel

    async def _ask(
        self, request: events.ForwardRequest | events.AgentRequest
    ) -> effects.AnswerRequest:
        answer: asyncio.Future[effects.AnswerRequest] = asyncio.get_running_loop().create_future()
        self._answers[request.channel_number] = answer
        self.post(request)
        return await answer

    # Events and effects.

    def post(self, event: events.Event) -> None:
        """Report an event, and perform its effects."""
        for effect in self._state.handle_event(event):
            self._perform(effect)

    def _perform(self, effect: effects.Effect) -> None:
        match effect:
            case effects.EnterShell(session_number, may_wait):
                entering = self._enter(session_number, may_wait=may_wait)
                self._session_tasks[session_number] = self._parts.tasks.start(entering)
            case effects.StopEntry(session_number, why):
                self._session_tasks[session_number].cancel(why)
            case effects.StartChannel(session_number, request, with_agent):
                channel = self._channels[request.channel_number]
                session = self._sessions[session_number]
                self._parts.tasks.start(self._start(session, channel, request, with_agent))
            case effects.AnswerRequest(number):
                answer = self._answers.pop(number, None)
                if answer is not None and not answer.done():
                    answer.set_result(effect)
            case effects.ConnectChannel(number):
                self._channels[number].connect()
            case effects.SendLine(number, line):
                self._channels[number].show_line(self._login.translate(line))
            case effects.DrainChannel(number):
                self._channels[number].drain(partial(self.post, events.Drained(number)))
            case effects.CloseChannel(number, how):
                self._channels[number].close_downstream(how)
            case effects.ReleaseChannel(number):
                if number in self._channels:
                    self._channels.pop(number).release()
            case effects.StopAgent(session_number):
                # The socket first, so that the shell cannot open another channel before these are closed.
                self._sessions[session_number].shell._agent_forward_path = None
                self._login.stop_agent()
            case effects.EndSession(session_number, end, detail):
                self._sessions[session_number].set_end(end, detail)
                self._sessions[session_number].shell.close()
            case effects.CloseConnection(line):
                self._login.hang_up(line)

    # The session.

    async def _enter(self, session_number: int, *, may_wait: bool) -> None:
        """Enter the shell, and run the session until it ends."""
        login, loop = self._login, asyncio.get_running_loop()
        progress_timer = loop.call_later(
            SHOW_PROGRESS_AFTER_S, self.post, events.WaitTimeout(session_number)
        )
        refusal = ""
        try:
            entered = await login.flow.enter(
                login.identity,
                self._target,
                LoginOrigin(AccessMethod.DIRECT, login.source),
                self._report,
                may_wait=may_wait,
                ask_reason=self._ask_reason,
            )
            if isinstance(entered, Denial):
                refusal = entered.line
            elif (line := self._state.end_line) is not None:
                entered.give_up(line)
            else:
                await self._run_session(session_number, entered)
        except ShellLoginError as error:
            refusal = error.denial.line
        except SessionEndedError as error:
            refusal = str(error)  # ignored once it has started
        except asyncio.CancelledError as error:
            refusal = explain_cancellation(error)
            raise
        except BaseException:
            refusal = Denial.of_fault().message
            raise
        finally:
            progress_timer.cancel()
            self._session_tasks.pop(session_number, None)
            self.post(events.EntryEnded(session_number, refusal))

    def _report(self, step: ProgressStep) -> None:
        """Report a step of entering. While the login waits for a person, the interrupt key cancels it."""
        for channel in self._channels.values():
            if channel.terminal is not None and step.name in PERSON_STEPS:
                leave = events.Interrupted(channel.number)
                watch_interrupt(channel, partial(self.post, leave))
            else:
                channel.divert_keystrokes(None)
        self.post(events.StartReport(step))

    async def _ask_reason(self, line: str) -> str | None:
        question = self._login.translate(f"stagedoor: {line}. Reason: ")
        return await ask_reason(tuple(self._channels.values()), question)

    async def _run_session(self, session_number: int, entered: EnteredSession) -> None:
        login, granted = self._login, entered.grant.permissions
        # The certificate for the shell permits no more than the user's own credential.
        extensions = sorted(list_extensions(granted) & login.permitted_extensions)
        watch = _ShellWatch()
        parts = self._parts
        async with open_shell_session(
            entered, parts.upstream, extensions, lambda: watch, parts.idle_timeout_s
        ) as session:
            if (line := self._state.end_line) is not None:
                session.set_end(EndReason.UNREACHED, line)
                return
            self._sessions[session_number] = session
            for channel in self._channels.values():
                channel.divert_keystrokes(None)
            notices = EndNotices(partial(self._notify_end, session_number), parts.now)
            session.on_grant = partial(self._follow_grant, session_number, notices)
            notices.plan(session.grant)
            self.post(events.SessionStarted(session_number, granted, session.permissions))
            end, detail = EndReason.DRAINED, STOPPING
            try:
                end, detail = await watch.wait_lost(self._target.shell_name)
            finally:
                # Ignored if the session has already ended, which closed the shell.
                notices.cancel()
                by_gateway = session.requested_end is not None
                end, detail = session.requested_end or (end, detail)
                self.post(events.SessionEnded(session_number, end, detail, by_gateway))
                del self._sessions[session_number]

    def _follow_grant(self, session_number: int, notices: EndNotices, grant: Grant) -> None:
        notices.plan(grant)
        self.post(events.PermissionChange(session_number, grant.permissions))

    def _notify_end(self, session_number: int, line: str) -> None:
        if line:
            self.post(events.EndNotice(session_number, f"stagedoor: {line}"))

    # The start of a channel in the shell.

    async def _start(
        self,
        session: ShellSession,
        channel: DirectChannel,
        request: events.ProgramRequest | events.ForwardRequest,
        with_agent: bool,
    ) -> None:
        """Audit a channel, and start what it requests."""
        shell, name = session.shell, self._target.shell_name
        side = ShellSide(channel, self.post, name)
        try:
            if isinstance(request, events.ForwardRequest):
                channel_request = ChannelRequest("forward", f"{request.host}:{request.port}")
                channel.begin(session.audit_channel(channel_request), session.count)
                await connect_forward(shell, request.host, request.port, side)
            else:
                channel_request = request.program
                line = self._login.translate("stagedoor: this session is recorded")
                audit = await session.audit_program(
                    self._parts.plan,
                    channel_request,
                    self._parts.now(),
                    partial(channel.show_line, line),
                    channel.resume_recording,
                )
                channel.begin(audit, session.count)
                if not channel.is_released:
                    patterns = self._parts.environment_patterns
                    await run_program(shell, channel_request, channel, patterns, with_agent, side)
        except Exception as error:
            failed = explain_not_started(error, channel_request, name, shell)
            why, code = failed or (Denial.of_fault().message, events.PROHIBITED)
            self.post(events.ChannelStartFailed(channel.number, why, code))
            if failed is None:
                raise
        else:
            self.post(events.ChannelStarted(channel.number))
        finally:
            if channel.is_released:
                # It was released while it started: also close what the start has opened since.
                channel.release()


class _ShellWatch(asyncssh.SSHClient):
    """An observer of the connection to the shell.

    asyncssh itself refuses the shell's requests (forwarded ports, X11).
    """

    def __init__(self) -> None:
        self._lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set_result(exc)

    async def wait_lost(self, shell_name: str) -> tuple[EndReason, str]:
        """Wait until the connection is lost, and return how that ends a session."""
        error = await asyncio.shield(self._lost)
        if isinstance(error, ConnectionResetError):
            return EndReason.UPSTREAM_RESET, "the shell reset the connection"
        return EndReason.UPSTREAM_LOST, explain_hang_up(shell_name, error)
