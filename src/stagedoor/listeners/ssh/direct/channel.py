"""One session channel of a direct login, carried on to the shell and back (RFC 4254 §6)."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

import asyncssh

from stagedoor.listeners.ssh.direct.pipe import Pipe
from stagedoor.listeners.ssh.direct.rights import allowed_environment
from stagedoor.listeners.ssh.direct.session import DirectSession, RefusedError
from stagedoor.listeners.ssh.direct.state import TRANSITIONS, Phase, Step
from stagedoor.listeners.ssh.seam import Login
from stagedoor.model.denial import Denial
from stagedoor.model.permission import Permission, deny_permission
from stagedoor.recording.channel_audit import ChannelAudit, ChannelRequest, Exit
from stagedoor.upstream.connection import SAID_CHARS, hung_up
from stagedoor.wire.oneline import one_line

REFUSED_STATUS = 255
"""The exit status of what was refused: what ssh itself exits with when something is wrong."""
OPEN_S = 20.0
"""So long may the shell take to begin what was asked for."""
EARLY_LIMIT = 64
"""Signals and resizes that may wait while the shell is being reached; more are dropped."""

Size = tuple[int, int, int, int]


class ChannelOwner(Protocol):
    """What a session needs of direct login as a whole."""

    environment_patterns: tuple[str, ...]

    async def enter(self, login: Login, channel: "DirectChannel") -> DirectSession:
        """The login's session in the flow, which begins with its first channel.

        Raises RefusedError.
        """
        ...

    async def channel_audit(
        self, session: DirectSession, asked: ChannelRequest, channel: "DirectChannel"
    ) -> ChannelAudit:
        """Raises RefusedError where it must be recorded and cannot be."""
        ...

    def left(self, login: Login, channel: "DirectChannel") -> None:
        """The developer's channel is closed."""
        ...

    def agent_refused(self, login: Login) -> bool:
        """Whether the client offered its agent, and may not have it forwarded."""
        ...


class DirectChannel(asyncssh.SSHServerSession[bytes]):
    """The developer's end. The shell is entered when something is to be run, not before.

    `_near` and `inward`, what goes to the shell, are there from ASKING on.
    """

    forwards = False
    _near: asyncssh.SSHServerChannel[bytes]
    inward: Pipe

    def __init__(self, owner: ChannelOwner, login: Login) -> None:
        self._owner = owner
        self._login = login
        self._phase = Phase.NEW
        self._far: asyncssh.SSHClientChannel[bytes] | None = None
        self._outward: Pipe | None = None
        self._terminal: tuple[str, Size, Mapping[int, int]] | None = None
        self._kind = ""
        self._asked = ""
        self._opening: asyncio.Task[None] | None = None
        self._early: list[Callable[[asyncssh.SSHClientChannel[bytes]], None]] = []
        self._session: DirectSession | None = None
        self._channel_audit: ChannelAudit | None = None
        self._unaudited: list[bytes] = []
        """What came before the audit knew the channel; the pipe holds back all but the first piece."""
        self._exit: Exit = None
        self._near_full = False

    @property
    def _gone(self) -> bool:
        return self._phase is Phase.GONE

    @property
    def has_terminal(self) -> bool:
        return self._terminal is not None

    def _step(self, step: Step) -> Phase:
        """The phase that follows."""
        self._phase = TRANSITIONS[self._phase, step]
        return self._phase

    # What the developer asks for, before anything runs.

    def connection_made(self, chan: "asyncssh.SSHServerChannel[bytes]") -> None:
        self._step(Step.MADE)
        self._near = chan
        # Paused as soon as one byte waits for the window: then each pause is the client's own.
        chan.set_write_buffer_limits(high=0)
        self.inward = Pipe(chan)

    def pty_requested(self, term_type: str, term_size: Size, term_modes: Mapping[int, int]) -> bool:
        if not self._login.permits_terminals:
            return False
        self._terminal = (term_type, term_size, term_modes)
        return True

    def shell_requested(self) -> bool:
        return self._ask("shell", "")

    def exec_requested(self, command: str) -> bool:
        return "\0" not in command and self._ask("exec", command)

    def subsystem_requested(self, subsystem: str) -> bool:
        return self._ask("subsystem", subsystem)

    def _ask(self, kind: str, what: str) -> bool:
        self._kind, self._asked = kind, what
        return True

    def session_started(self) -> None:
        self._step(Step.STARTED)
        self._opening = asyncio.create_task(self._open())

    # From here to the shell.

    async def _open(self) -> None:
        try:
            if self._login.draining:
                raise RefusedError("the gateway is stopping; try again in a moment")
            session = await self._owner.enter(self._login, self)
            self._session = session
            session.channels.add(self)
            await self._connect(session)
        except RefusedError as error:
            self._refuse(str(error))
        except asyncssh.ChannelOpenError as error:
            self._refuse(self._why_not(error))
        except TimeoutError:
            self._refuse(f"the shell {self._target} did not answer within {OPEN_S:g} s")
        except (asyncssh.Error, OSError) as error:
            self._refuse(hung_up(self._target, error))
        except Exception:
            if self._session is not None and self._session.over:
                # asyncssh stumbles over a connection that was lost while its channel was opened.
                self._refuse(f"the shell {self._target} hung up")
                return
            # Our own fault: the loop's handler logs it. The developer is told that it is not theirs.
            self._refuse(Denial.internal().message)
            raise
        finally:
            if self._gone:
                self._written_down()

    async def _connect(self, session: DirectSession) -> None:
        if self._gone:
            return
        kind, asked, original = self._kind, self._asked, ""
        environment = allowed_environment(
            self._near.get_environment_bytes(), self._owner.environment_patterns
        )
        if self._login.force_command is not None:
            # PROTOCOL.certkeys: it runs whatever was asked for, which it is told as sshd(8) does.
            if asked:
                environment[b"SSH_ORIGINAL_COMMAND"] = asked.encode()
            kind, asked, original = "exec", self._login.force_command, asked
        what = self._what(kind, asked, original)
        self._channel_audit = await self._owner.channel_audit(session, what, self)
        unaudited, self._unaudited = self._unaudited, []
        for piece in unaudited:
            self._channel_audit.typed(piece)
        if self._gone:
            return
        self._forward_agent(session)
        term_type, term_size, term_modes = self._terminal or (None, None, None)
        async with asyncio.timeout(OPEN_S):
            far, _ = await session.shell.create_session(
                lambda: _Far(self),
                # asyncssh takes an empty command for none at all, and would give a shell.
                (asked or " ") if kind == "exec" else None,
                subsystem=asked if kind == "subsystem" else None,
                env=environment,
                request_pty="force" if self._terminal else False,
                term_type=term_type,
                term_size=term_size,
                term_modes=term_modes,
                encoding=None,
            )
        if self._step(Step.REACHED) is Phase.GONE:
            far.close()
            return
        self._far = far
        early, self._early = self._early, []
        for one in early:
            one(far)
        self.inward.connect(far)

    def _what(self, kind: str, asked: str, original: str) -> ChannelRequest:
        if self._terminal is None:
            return ChannelRequest(kind, asked, original=original)
        term_type, (columns, rows, _, _), _ = self._terminal
        return ChannelRequest(kind, asked, term_type, columns, rows, original)

    def _forward_agent(self, session: DirectSession) -> None:
        path = self._near.get_agent_path()
        if path is not None and session.may(Permission.AGENT):
            # asyncssh takes it as an option of the whole connection only, which stands already.
            session.shell._agent_forward_path = path
        elif self._terminal is not None and self._owner.agent_refused(self._login):
            target, name = self._login.target, self._login.identity.name
            assert target is not None, "direct login has one"
            self.say(f"stagedoor: {deny_permission(Permission.AGENT, name, target).line}")

    def _why_not(self, error: asyncssh.ChannelOpenError) -> str:
        """What the shell's refusal means for the developer."""
        match error.code:
            case asyncssh.OPEN_REQUEST_PTY_FAILED:
                return f"the shell {self._target} gives no terminal; try without (ssh -T)"
            case asyncssh.OPEN_REQUEST_SESSION_FAILED:
                what = f"{self._kind} {self._asked}".strip() if self._kind != "exec" else "command"
                return f"the shell {self._target} refused this {what}"
        said = one_line(error.reason, SAID_CHARS)
        return f"the shell {self._target} opened no channel: {said}"

    @property
    def _target(self) -> str:
        return self._login.target.shell_name if self._login.target else ""

    def _refuse(self, why: str) -> None:
        self.say(f"stagedoor: {why}")
        if self._step(Step.REFUSED) is not Phase.GONE:
            self._near.exit(REFUSED_STATUS)

    # While it runs: from the developer.

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._session is not None:
            self._session.moved(sent=len(data))
        self.inward.data(data)
        if self._channel_audit is None:
            self._unaudited.append(data)
        else:
            self._channel_audit.typed(data)

    def eof_received(self) -> bool:
        self.inward.end()
        return True  # the other way stays open

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self._channel_audit is not None:
            self._channel_audit.resized(width, height)
        self._tell_far(lambda far: far.change_terminal_size(width, height, pixwidth, pixheight))

    def signal_received(self, signal: str) -> None:
        self._tell_far(lambda far: far.send_signal(signal))

    def break_received(self, msec: int) -> bool:
        if self._far is None:
            return False
        self._far.send_break(msec)
        return True

    def _tell_far(self, one: "Callable[[asyncssh.SSHClientChannel[bytes]], None]") -> None:
        if self._far is not None:
            one(self._far)
        elif len(self._early) < EARLY_LIMIT:
            self._early.append(one)

    def pause_writing(self) -> None:
        self._near_full = True
        if self._outward is not None:
            self._outward.hold("developer")

    def resume_writing(self) -> None:
        self._near_full = False
        if self._outward is not None:
            self._outward.release("developer")
        if self._phase is Phase.DRAINING:
            # Not from here: asyncssh has an EOF to send first.
            asyncio.get_running_loop().call_soon(self._leave)

    def connection_lost(self, exc: Exception | None) -> None:
        """The developer's channel is closed."""
        self._step(Step.LOST)
        self._owner.left(self._login, self)
        if self._far is not None:
            self._far.close()
        if self._session is not None:
            self._session.channels.discard(self)
            self._session.downstream_lost |= isinstance(exc, asyncssh.ConnectionLost)
        self._written_down()

    # While it runs: from the shell.

    def far_made(self, far: "asyncssh.SSHClientChannel[bytes]") -> None:
        self._outward = Pipe(far)
        if not self._gone:
            self._outward.connect(self._near)
        far.set_write_buffer_limits(high=0)

    def far_data(self, data: bytes, datatype: int | None) -> None:
        if self._outward is None or self._gone:
            return
        if self._session is not None:
            self._session.moved(received=len(data))
        self._outward.data(data, datatype)
        if self._channel_audit is not None and not self._channel_audit.shown(data, datatype):
            self._outward.hold("recording")

    def far_ended(self) -> None:
        if self._outward is not None:
            self._outward.end()

    def far_exited(self, how: Exit) -> None:
        self._exit = how

    def far_lost(self, exc: Exception | None) -> None:
        """The shell's channel is closed: all that it said is on its way."""
        self._far = None
        self._step(Step.SHELL_CLOSED)
        if self._exit is None and exc is not None:
            self.say(f"stagedoor: {hung_up(self._target, exc)}")
        if not self._near_full:
            self._leave()

    def _leave(self) -> None:
        """Say how it ended (RFC 4254 §6.10), after the last byte, and close."""
        if self._phase is not Phase.DRAINING:
            return
        self._step(Step.DRAINED)
        match self._exit:
            case int() as status:
                self._near.exit(status)
            case (signal, core_dumped, message, language):
                self._near.exit_with_signal(signal, core_dumped, message, language)
            case None:
                self._near.close()

    # What else is heard.

    def recording_has_room(self) -> None:
        if self._outward is not None:
            self._outward.release("recording")

    def say(self, line: str) -> None:
        """A line from the gateway, beside what the shell writes."""
        if self._phase not in (Phase.NEW, Phase.GONE) and not self._near.is_closing():
            with suppress(OSError):
                self._near.write_stderr(f"{line}\r\n".encode())

    def abort(self) -> None:
        if self._phase not in (Phase.NEW, Phase.GONE):
            self._near.abort()

    def _written_down(self) -> None:
        if self._channel_audit is not None:
            sent = self.inward.size
            received = self._outward.size if self._outward else 0
            self._channel_audit.ended(self._exit, sent, received)


class _Far(asyncssh.SSHClientSession[bytes]):
    """The shell's end."""

    def __init__(self, channel: DirectChannel) -> None:
        self._channel = channel

    def connection_made(self, chan: "asyncssh.SSHClientChannel[bytes]") -> None:
        self._channel.far_made(chan)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._channel.far_data(data, datatype)

    def eof_received(self) -> bool:
        self._channel.far_ended()
        return True

    def pause_writing(self) -> None:
        self._channel.inward.hold("shell")

    def resume_writing(self) -> None:
        self._channel.inward.release("shell")

    def exit_status_received(self, status: int) -> None:
        self._channel.far_exited(status)

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        said = one_line(msg, SAID_CHARS)
        self._channel.far_exited(
            (one_line(signal, SAID_CHARS), core_dumped, said, lang[:SAID_CHARS])
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel.far_lost(exc)
