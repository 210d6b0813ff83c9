"""Direct login: SSH ends at the gateway, and a second SSH connection goes on to the shell.

It is for tools that do not support jumps: `ssh app01@gateway`. All channels of a developer's connection
share one session in the flow and one connection to the shell. The gateway sees what they carry, which
makes recordings possible; a jump is encrypted from end to end.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import asyncssh

from stagedoor.listeners.shell_session import SessionEndedError, ShellLogin, shell_session
from stagedoor.listeners.ssh.direct.channel import DirectChannel
from stagedoor.listeners.ssh.direct.forward import Forward
from stagedoor.listeners.ssh.direct.rights import certificate_extensions
from stagedoor.listeners.ssh.direct.session import DirectSession, RefusedError, ShellWatch
from stagedoor.listeners.ssh.seam import Login
from stagedoor.model.certificate import AGENT_FORWARDING, PORT_FORWARDING
from stagedoor.model.denial import Denial
from stagedoor.model.permission import Permission, deny_permission
from stagedoor.model.session import AccessMethod, End, Origin
from stagedoor.model.shell import StartStep
from stagedoor.model.source import is_loopback
from stagedoor.net import aio
from stagedoor.recording.channel_audit import ChannelAudit, ChannelRequest, Note, header
from stagedoor.recording.plan import RecordingPlan
from stagedoor.recording.recorder import Recording, RecordingError
from stagedoor.session.entered import Entered
from stagedoor.session.step_up import STEP_UP
from stagedoor.upstream.login import UnreachedError, Upstream

PATIENT_S = 2.0
"""A terminal that waits longer than this is shown the reason."""
HUNG_UP = "the developer's side hung up"


@dataclass(eq=False, slots=True)
class _Client:
    """One connection of a developer, which may have several sessions one after the other."""

    login: Login
    session: DirectSession | None = None
    entering: asyncio.Future[DirectSession] | None = None
    channels: set[DirectChannel] = field(default_factory=set)
    agent_refused: bool = False
    gone: bool = False


class Direct:
    """The direct login of a gateway, as `seam.DirectLogin` and `channel.ChannelOwner`.

    Belongs to one event loop. `plan` is None if the gateway makes no recordings. Variables that match
    `environment_patterns` are passed on, as in sshd's AcceptEnv. A session that moves no byte for
    `idle_timeout_s` is closed; None: never. `now` returns seconds since the epoch.
    """

    def __init__(
        self,
        upstream: Upstream,
        note: Note,
        *,
        plan: RecordingPlan | None = None,
        environment_patterns: tuple[str, ...] = ("LANG", "LC_*", "COLORTERM"),
        idle_timeout_s: float | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.environment_patterns = environment_patterns
        self._upstream = upstream
        self._note = note
        self._plan = plan
        self._idle_timeout_s = idle_timeout_s
        self._now = now
        self._clients: dict[Login, _Client] = {}
        self._serving = aio.Tasks("a login was dropped by an internal fault")

    # For the listener (`seam.DirectLogin`).

    def session(self, login: Login) -> DirectChannel:
        """Open a session channel."""
        channel = DirectChannel(self, login)
        self._client(login).channels.add(channel)
        return channel

    async def forward(self, login: Login, host: str, port: int) -> asyncssh.SSHTCPSession[bytes]:
        """Open a forward to the shell's loopback. Raises asyncssh.ChannelOpenError."""
        if not is_loopback(host):  # judged by its text, since the shell resolves the name
            raise _prohibited(
                f"{login.target} forwards to its own loopback only (localhost), not to {host[:100]!r}"
            )
        if PORT_FORWARDING not in login.permits:
            raise _prohibited("your certificate permits no port forwarding")
        if login.draining:
            raise _prohibited("the gateway is stopping; try again in a moment")
        try:
            session = await self._enter(self._client(login))
        except RefusedError as error:
            raise _prohibited(str(error)) from None
        if not session.may(Permission.FORWARD):
            assert login.target is not None, "direct login has one"
            denial = deny_permission(Permission.FORWARD, login.identity.name, login.target)
            raise _prohibited(denial.line)
        request = ChannelRequest("forward", f"{host}:{port}")
        forward = Forward(session, session.shell_session.audit_channel(request))
        await forward.open(host, port)
        if not session.may(Permission.FORWARD):
            forward.abort()  # revoked while the shell connected
            raise _prohibited(f"port forwarding into {login.target} is not granted any more")
        return forward.near

    async def agent(self, login: Login) -> bool:
        """Return whether the client's agent is forwarded into the shell, which is entered for it."""
        if AGENT_FORWARDING not in login.permits:
            return False
        client = self._client(login)
        try:
            session = await self._enter(client)
        except RefusedError:
            return False  # the session channel that follows shows the reason
        client.agent_refused = not session.may(Permission.AGENT)
        return not client.agent_refused

    def entering(self, login: Login) -> int:
        """Return 1 while the login enters its shell, or 0."""
        client = self._clients.get(login)
        return int(client is not None and client.entering is not None)

    def warn(self, login: Login, line: str) -> None:
        """Show a line in the terminals of this login."""
        client = self._clients.get(login)
        for channel in tuple(client.channels) if client else ():
            if channel.has_terminal:
                channel.say(line)

    def _show_step(self, login: Login, step: StartStep) -> None:
        """Show a step in the terminals. A step-up is shown by scp and rsync too, which print stderr."""
        client = self._clients.get(login)
        detail = f": {step.detail}" if step.detail else ""
        for channel in tuple(client.channels) if client else ():
            if channel.has_terminal or step.name == STEP_UP:
                channel.say(f"stagedoor: {login.target}: {step.name}{detail}")

    def leave(self, login: Login, detail: str) -> None:
        """End the session of a login that is no longer allowed."""
        client = self._clients.get(login)
        if client is not None and client.session is not None:
            client.session.notify_and_finish(End.REVOKED, detail)

    def ended(self, login: Login) -> None:
        """Forget a login whose connection is closed, and end its session."""
        client = self._clients.pop(login, None)
        if client is None:
            return
        client.gone = True
        if client.session is not None:
            lost = client.session.downstream_lost
            client.session.finish(End.DOWNSTREAM_LOST if lost else End.CLOSED)

    # For channels (`channel.ChannelOwner`).

    async def enter(self, login: Login, channel: DirectChannel) -> DirectSession:
        """Return the login's session, entering the shell if need be. Raises RefusedError."""
        return await self._enter(self._client(login))

    async def channel_audit(
        self, session: DirectSession, asked: ChannelRequest, channel: DirectChannel
    ) -> ChannelAudit:
        """Begin the channel's audit. Raises RefusedError if it must be recorded and cannot be."""
        number = session.shell_session.next_channel()
        recording = None
        if asked.is_watched and Permission.RECORD in session.shell_session.permissions:
            recording = await self._begin_recording(session, number, asked, channel)
        record_input = self._plan is not None and self._plan.record_input
        return session.shell_session.audit_channel(
            asked, number, recording, record_input=record_input
        )

    def agent_refused(self, login: Login) -> bool:
        """Return whether the client's agent was refused."""
        return self._client(login).agent_refused

    def left(self, login: Login, channel: DirectChannel) -> None:
        """Forget a channel that is closed."""
        client = self._clients.get(login)
        if client is not None:
            client.channels.discard(channel)

    async def _begin_recording(
        self, session: DirectSession, number: int, asked: ChannelRequest, channel: DirectChannel
    ) -> Recording | None:
        plan = self._plan
        assert plan is not None, "no user must be recorded by a gateway without recordings"

        def on_failure(why: str) -> None:
            # The recorder has written it to the audit and the log.
            channel.recording_has_room()
            if not plan.go_on:
                detail = f"this session cannot be recorded any more ({why})"
                session.shell_session.close_soon(End.UNRECORDED, detail)

        try:
            recording = await plan.recorder.begin(
                session.shell_session.opened,
                number,
                header(session.shell_session.opened, number, asked, self._now()),
                on_room=channel.recording_has_room,
                on_failure=on_failure,
            )
        except RecordingError as error:
            if plan.go_on:
                return None
            raise RefusedError(
                f"this session has to be recorded and cannot be ({error}); tell an administrator"
            ) from None
        if plan.notice:
            channel.say("stagedoor: this session is recorded")
        return recording

    # One session in the flow for each connection.

    def _client(self, login: Login) -> _Client:
        client = self._clients.get(login)
        if client is None:
            client = _Client(login)
            if login.connection.is_closed():
                client.gone = True  # its request is served after its end: `ended` came before
            else:
                self._clients[login] = client
        return client

    async def _enter(self, client: _Client) -> DirectSession:
        if client.gone:
            raise RefusedError(HUNG_UP)
        if client.session is not None and not client.session.over:
            return client.session
        if client.entering is None:
            client.entering = asyncio.get_running_loop().create_future()
            self._serving.start(self._serve(client, client.entering))
        # Shielded: other channels may wait for this too, after the first is closed.
        return await asyncio.shield(client.entering)

    async def _serve(self, client: _Client, entering: "asyncio.Future[DirectSession]") -> None:
        """Run one session to its end. `entering` gets it, or the RefusedError."""
        try:
            await self._enter_and_stay(client, entering)
        except (UnreachedError, RefusedError, ConnectionResetError) as error:
            _refuse(entering, str(error))
        except SessionEndedError:
            _refuse(entering, "the session was ended before it began")
        except BaseException:
            _refuse(entering, Denial.internal().message)
            raise
        finally:
            if client.entering is entering:
                client.entering = None

    async def _enter_and_stay(
        self, client: _Client, entering: "asyncio.Future[DirectSession]"
    ) -> None:
        login = client.login
        assert login.target is not None, "the listener passes on logins with a target only"
        progress = _Progress(lambda step: self._show_step(login, step))
        try:
            entered = await login.flow.enter(
                login.identity,
                login.target,
                Origin(AccessMethod.DIRECT, login.source),
                progress.step,
                waits=True,
            )
            if isinstance(entered, Denial):
                raise RefusedError(entered.line)
            await self._stay(client, entered, entering, progress)
        finally:
            progress.stop()

    async def _stay(
        self,
        client: _Client,
        entered: Entered,
        entering: "asyncio.Future[DirectSession]",
        progress: "_Progress",
    ) -> None:
        login = client.login
        if client.gone:
            entered.give_up(HUNG_UP)
            raise RefusedError(HUNG_UP)
        granted = entered.grant.permissions
        watch = ShellWatch()
        shell_login = ShellLogin(
            self._upstream,
            self._note,
            certificate_extensions(granted, login.permits),
            lambda: watch,
        )
        async with shell_session(entered, shell_login) as in_shell:
            if client.gone:
                in_shell.end_as(End.UNREACHED, HUNG_UP)
                raise RefusedError(HUNG_UP)
            client.session = session = DirectSession(login, in_shell, granted)
            watch.observe(session.shell_lost)
            if self._idle_timeout_s is not None:
                session.watch_idle(self._idle_timeout_s)
            client.entering = None
            progress.stop()
            entering.set_result(session)
            await session.wait_until_over()


def _refuse(entering: "asyncio.Future[DirectSession]", why: str) -> None:
    if not entering.done():
        entering.set_exception(RefusedError(why))
        entering.exception()  # so that asyncio logs no fault if no channel waits for it any more


class _Progress:
    """The progress of a start, which calls `show` with its steps once PATIENT_S have passed."""

    def __init__(self, show: Callable[[StartStep], None]) -> None:
        self._show = show
        self._last = StartStep("starting")
        self._loop = asyncio.get_running_loop()
        self._patient_until = self._loop.time() + PATIENT_S
        self._waiting = self._loop.call_at(self._patient_until, self._show_late)

    def step(self, step: StartStep) -> None:
        is_new, self._last = step != self._last, step
        if step.name == STEP_UP:
            if is_new:
                self._show_last()  # at once, and only once
        elif self._loop.time() >= self._patient_until:
            self._show_last()

    def stop(self) -> None:
        self._waiting.cancel()

    def _show_late(self) -> None:
        if self._last.name != STEP_UP:  # which was shown already
            self._show_last()

    def _show_last(self) -> None:
        self._show(self._last)


def _prohibited(why: str) -> asyncssh.ChannelOpenError:
    return asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, why)
