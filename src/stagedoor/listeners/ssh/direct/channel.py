"""One session channel of a direct login, connected to one of the shell (RFC 4254 §6)."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

import asyncssh

from stagedoor.listeners.ssh.direct.pipe import Pipe
from stagedoor.listeners.ssh.direct.rights import allowed_environment
from stagedoor.listeners.ssh.direct.session import DirectSession, RefusedError
from stagedoor.listeners.ssh.direct.shell_end import ShellEnd
from stagedoor.listeners.ssh.direct.state import TRANSITIONS, Phase, Step
from stagedoor.listeners.ssh.seam import Login
from stagedoor.model.denial import Denial
from stagedoor.model.permission import Permission, deny_permission
from stagedoor.recording.channel_audit import ChannelAudit, ChannelRequest, Exit
from stagedoor.upstream.connection import SAID_CHARS, hung_up
from stagedoor.wire.oneline import one_line

REFUSED_STATUS = 255
"""The exit status of a refused request, the same as ssh's own for errors."""
OPEN_S = 20.0
"""The longest that the shell may take to start the program."""
EARLY_LIMIT = 64
"""The most signals and resizes that wait while the shell is being reached; more are dropped."""

Size = tuple[int, int, int, int]


class ChannelOwner(Protocol):
    """The part of direct login that a channel needs."""

    environment_patterns: tuple[str, ...]

    async def enter(self, login: Login, channel: "DirectChannel") -> DirectSession:
        """Return the login's session, which begins with its first channel. Raises RefusedError."""
        ...

    async def channel_audit(
        self, session: DirectSession, asked: ChannelRequest, channel: "DirectChannel"
    ) -> ChannelAudit:
        """Begin the channel's audit. Raises RefusedError if it must be recorded and cannot be."""
        ...

    def left(self, login: Login, channel: "DirectChannel") -> None:
        """Forget a channel that is closed."""
        ...

    def agent_refused(self, login: Login) -> bool:
        """Return whether the client's agent was refused."""
        ...


class DirectChannel(asyncssh.SSHServerSession[bytes]):
    """The developer's end of a channel. It enters the shell only when a program is requested.

    `_near`, the developer's channel, and `inward`, the pipe to the shell, are set from ASKING on.
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
        """The bytes from before the audit began; the pipe holds back all but the first piece."""
        self._exit: Exit = None
        self._near_full = False

    @property
    def _gone(self) -> bool:
        return self._phase is Phase.GONE

    @property
    def has_terminal(self) -> bool:
        """Return whether the developer has requested a terminal."""
        return self._terminal is not None

    def _step(self, step: Step) -> Phase:
        """Change the phase by `step`, and return the new one."""
        self._phase = TRANSITIONS[self._phase, step]
        return self._phase

    # The developer's requests, before a program runs.

    def connection_made(self, chan: "asyncssh.SSHServerChannel[bytes]") -> None:
        """Keep the developer's channel."""
        self._step(Step.MADE)
        self._near = chan
        # Paused as soon as one byte waits for the window, so that only the client causes pauses.
        chan.set_write_buffer_limits(high=0)
        self.inward = Pipe(chan)

    def pty_requested(self, term_type: str, term_size: Size, term_modes: Mapping[int, int]) -> bool:
        """Accept a terminal, if the credential permits terminals."""
        if not self._login.permits_terminals:
            return False
        self._terminal = (term_type, term_size, term_modes)
        return True

    def shell_requested(self) -> bool:
        """Accept the request for a shell."""
        return self._ask("shell", "")

    def exec_requested(self, command: str) -> bool:
        """Accept a command, unless it has a NUL."""
        return "\0" not in command and self._ask("exec", command)

    def subsystem_requested(self, subsystem: str) -> bool:
        """Accept a subsystem, which the shell may refuse."""
        return self._ask("subsystem", subsystem)

    def _ask(self, kind: str, what: str) -> bool:
        self._kind, self._asked = kind, what
        return True

    def session_started(self) -> None:
        """Begin to enter the shell."""
        self._step(Step.STARTED)
        self._opening = asyncio.create_task(self._open())

    # The start of the program in the shell.

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
                # asyncssh fails on a connection that is lost while its channel is opened.
                self._refuse(f"the shell {self._target} hung up")
                return
            # A bug: the loop's handler logs it, and the developer sees that the fault is the gateway's.
            self._refuse(Denial.internal().message)
            raise
        finally:
            if self._gone:
                self._audit_end()

    async def _connect(self, session: DirectSession) -> None:
        if self._gone:
            return
        kind, asked, original = self._kind, self._asked, ""
        environment = allowed_environment(
            self._near.get_environment_bytes(), self._owner.environment_patterns
        )
        if self._login.force_command is not None:
            # PROTOCOL.certkeys: it runs in place of the request, which it gets by a variable as in sshd(8).
            if asked:
                environment[b"SSH_ORIGINAL_COMMAND"] = asked.encode()
            kind, asked, original = "exec", self._login.force_command, asked
        request = self._request(kind, asked, original)
        self._channel_audit = await self._owner.channel_audit(session, request, self)
        unaudited, self._unaudited = self._unaudited, []
        for piece in unaudited:
            self._channel_audit.typed(piece)
        if self._gone:
            return
        self._forward_agent(session)
        term_type, term_size, term_modes = self._terminal or (None, None, None)
        async with asyncio.timeout(OPEN_S):
            far, _ = await session.shell.create_session(
                lambda: ShellEnd(self),
                # asyncssh takes an empty command for none at all, and would start a shell.
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
        for send in early:
            send(far)
        self.inward.connect(far)

    def _request(self, kind: str, asked: str, original: str) -> ChannelRequest:
        if self._terminal is None:
            return ChannelRequest(kind, asked, original=original)
        term_type, (columns, rows, _, _), _ = self._terminal
        return ChannelRequest(kind, asked, term_type, columns, rows, original)

    def _forward_agent(self, session: DirectSession) -> None:
        path = self._near.get_agent_path()
        if path is not None and session.may(Permission.AGENT):
            # asyncssh takes this only as an option of the whole connection, which is open already.
            session.shell._agent_forward_path = path
        elif self._terminal is not None and self._owner.agent_refused(self._login):
            target, name = self._login.target, self._login.identity.name
            assert target is not None, "direct login has one"
            self.say(f"stagedoor: {deny_permission(Permission.AGENT, name, target).line}")

    def _why_not(self, error: asyncssh.ChannelOpenError) -> str:
        """Return the shell's refusal in words for the developer."""
        match error.code:
            case asyncssh.OPEN_REQUEST_PTY_FAILED:
                return f"the shell {self._target} gives no terminal; try without (ssh -T)"
            case asyncssh.OPEN_REQUEST_SESSION_FAILED:
                what = f"{self._kind} {self._asked}".strip() if self._kind != "exec" else "command"
                return f"the shell {self._target} refused this {what}"
        reason = one_line(error.reason, SAID_CHARS)
        return f"the shell {self._target} opened no channel: {reason}"

    @property
    def _target(self) -> str:
        return self._login.target.shell_name if self._login.target else ""

    def _refuse(self, why: str) -> None:
        self.say(f"stagedoor: {why}")
        if self._step(Step.REFUSED) is not Phase.GONE:
            self._near.exit(REFUSED_STATUS)

    # Events from the developer, while the program runs.

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Pass the developer's bytes on to the shell and to the audit."""
        if self._session is not None:
            self._session.moved(sent=len(data))
        self.inward.data(data)
        if self._channel_audit is None:
            self._unaudited.append(data)
        else:
            self._channel_audit.typed(data)

    def eof_received(self) -> bool:
        """Pass the developer's EOF on. The other direction stays open."""
        self.inward.end()
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """Pass the new size of the terminal on."""
        if self._channel_audit is not None:
            self._channel_audit.resized(width, height)
        self._send_far(lambda far: far.change_terminal_size(width, height, pixwidth, pixheight))

    def signal_received(self, signal: str) -> None:
        """Pass a signal on."""
        self._send_far(lambda far: far.send_signal(signal))

    def break_received(self, msec: int) -> bool:
        """Pass a break on, once the program runs."""
        if self._far is None:
            return False
        self._far.send_break(msec)
        return True

    def _send_far(self, send: "Callable[[asyncssh.SSHClientChannel[bytes]], None]") -> None:
        if self._far is not None:
            send(self._far)
        elif len(self._early) < EARLY_LIMIT:
            self._early.append(send)

    def pause_writing(self) -> None:
        """Hold the shell's bytes back."""
        self._near_full = True
        if self._outward is not None:
            self._outward.hold("developer")

    def resume_writing(self) -> None:
        """Let the shell's bytes pass again, or close after the last one."""
        self._near_full = False
        if self._outward is not None:
            self._outward.release("developer")
        if self._phase is Phase.DRAINING:
            # Not from here: asyncssh has an EOF to send first.
            asyncio.get_running_loop().call_soon(self._leave)

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the shell's channel, because the developer's is closed."""
        self._step(Step.LOST)
        self._owner.left(self._login, self)
        if self._far is not None:
            self._far.close()
        if self._session is not None:
            self._session.channels.discard(self)
            self._session.downstream_lost |= isinstance(exc, asyncssh.ConnectionLost)
        self._audit_end()

    # Events from the shell, while the program runs.

    def far_made(self, far: "asyncssh.SSHClientChannel[bytes]") -> None:
        """Connect the pipe from the shell's channel."""
        self._outward = Pipe(far)
        if not self._gone:
            self._outward.connect(self._near)
        far.set_write_buffer_limits(high=0)

    def far_data(self, data: bytes, datatype: int | None) -> None:
        """Pass the shell's bytes on to the developer and to the audit."""
        if self._outward is None or self._gone:
            return
        if self._session is not None:
            self._session.moved(received=len(data))
        self._outward.data(data, datatype)
        if self._channel_audit is not None and not self._channel_audit.shown(data, datatype):
            self._outward.hold("recording")

    def far_ended(self) -> None:
        """Pass the shell's EOF on."""
        if self._outward is not None:
            self._outward.end()

    def far_exited(self, how: Exit) -> None:
        """Keep the exit status or signal."""
        self._exit = how

    def far_lost(self, exc: Exception | None) -> None:
        """Close the developer's channel after the last byte, because the shell's is closed."""
        self._far = None
        self._step(Step.SHELL_CLOSED)
        if self._exit is None and exc is not None:
            self.say(f"stagedoor: {hung_up(self._target, exc)}")
        if not self._near_full:
            self._leave()

    def _leave(self) -> None:
        """Send the exit status or signal (RFC 4254 §6.10) after the last byte, and close."""
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

    # Other events.

    def recording_has_room(self) -> None:
        """Let the shell's bytes pass again, after the recording held them back."""
        if self._outward is not None:
            self._outward.release("recording")

    def say(self, line: str) -> None:
        """Show a line of the gateway on stderr."""
        if self._phase not in (Phase.NEW, Phase.GONE) and not self._near.is_closing():
            with suppress(OSError):
                self._near.write_stderr(f"{line}\r\n".encode())

    def abort(self) -> None:
        """Close the developer's channel at once."""
        if self._phase not in (Phase.NEW, Phase.GONE):
            self._near.abort()

    def _audit_end(self) -> None:
        if self._channel_audit is not None:
            sent = self.inward.size
            received = self._outward.size if self._outward else 0
            self._channel_audit.ended(self._exit, sent, received)
