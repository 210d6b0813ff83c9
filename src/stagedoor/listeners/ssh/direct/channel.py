"""A direct login's channel: its bytes, and its two ends in asyncssh, which report all else as events."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import asyncssh

from stagedoor.listeners.ssh.direct.events import (
    ChannelClosed,
    Event,
    ProgramRequest,
    ShellChannelClosed,
)
from stagedoor.listeners.ssh.direct.pipe import NO_SINK, BytesChannel, ChannelPipe
from stagedoor.listeners.ssh.direct.prompt import INTERRUPT_BYTE
from stagedoor.recording.channel_audit import ChannelAudit, ChannelRequest, ExitSignal, ProgramExit
from stagedoor.upstream.connection import MAX_MESSAGE_CHARS, explain_hang_up
from stagedoor.wire.oneline import to_one_line

EARLY_LIMIT = 64
"""The most signals and resizes that wait until the program runs; further ones are dropped."""
DOWNSTREAM_FULL = "the developer's end"
UPSTREAM_FULL = "the shell's end"
RECORDING_FULL = "the recording"
"""The reasons to hold bytes back, each because a reader has no room for them."""

Size = tuple[int, int, int, int]
Terminal = tuple[str, Size, Mapping[int, int]]
"""TERM, the size in characters and pixels, and the modes (RFC 4254 §6.2, §8)."""
ShellChannel = asyncssh.SSHClientChannel[bytes]
Post = Callable[[Event], None]
Count = Callable[[int, int], None]
"""Counts bytes that were sent to the shell, and bytes that were received from it."""


class DirectChannel:
    """A channel between the developer's end and the shell's, either of which may be made first.

    `downstream` and `upstream` are asyncssh's channels, None before they are made and after they are closed.
    `inward` has the developer's bytes, `outward` the shell's. `terminal` is what the client requested, `exit`
    how the program ended.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.downstream: BytesChannel | None = None
        self.upstream: BytesChannel | None = None
        self.inward = ChannelPipe()
        self.outward = ChannelPipe()
        self.terminal: Terminal | None = None
        self.exit: ProgramExit = None
        self.is_released = False
        self._is_connected = False
        self._audit: ChannelAudit | None = None
        self._count: Count = lambda sent, received: None
        self._unaudited: list[bytes] = []
        """The bytes that arrived before the audit began; the pipe holds back all but the first piece."""
        self._early: list[Callable[[ShellChannel], None]] = []
        self._on_drained: Callable[[], None] | None = None
        self._reader: Callable[[bytes], None] | None = None

    # For the driver.

    def begin(self, audit: ChannelAudit, count: Count) -> None:
        """Audit and count the channel's bytes, including those that have already arrived."""
        self._audit, self._count = audit, count
        unaudited, self._unaudited = self._unaudited, []
        for piece in unaudited:
            audit.take_input(piece)
            count(len(piece), 0)

    def connect(self) -> None:
        """Pass the developer's bytes on, now that the shell has started what was requested."""
        self._is_connected = True
        early, self._early = self._early, []
        for send in early:
            self.send_upstream(send)
        if self.upstream is not None:
            self.inward.connect(self.upstream)

    def show_line(self, line: str) -> None:
        """Show a line of the gateway on stderr."""
        line_end = "\n" if self.terminal is None else "\r\n"
        self.show(f"{line}{line_end}".encode())

    def show(self, data: bytes) -> None:
        """Show bytes of the gateway on stderr."""
        if self.downstream is not None and not self.downstream.is_closing():
            with suppress(OSError):
                self.downstream.write(data, asyncssh.EXTENDED_DATA_STDERR)

    def divert_keystrokes(self, reader: Callable[[bytes], None] | None) -> None:
        """Pass the developer's keystrokes to `reader` from now on, or to the shell again if it is None.

        Keystrokes for `reader` are neither audited nor recorded, since they do not reach a shell.
        """
        self._reader = reader
        if reader is not None:
            self.inward.release(NO_SINK)

    @property
    def variables(self) -> Mapping[bytes, bytes]:
        """The environment variables that the client has sent."""
        downstream = self.downstream
        if not isinstance(downstream, asyncssh.SSHServerChannel):
            return {}
        return downstream.get_environment_bytes()

    def drain(self, on_drained: Callable[[], None]) -> None:
        """Call `on_drained` once the developer has received all of the shell's bytes."""
        self._on_drained = on_drained
        self.check_drained()

    def close_downstream(self, how: ProgramExit) -> None:
        """Send the exit status or signal, and close the developer's end."""
        downstream = self.downstream
        match how:
            case int() as status if isinstance(downstream, asyncssh.SSHServerChannel):
                downstream.exit(status)
            case ExitSignal() as signal if isinstance(downstream, asyncssh.SSHServerChannel):
                downstream.exit_with_signal(
                    signal.name, signal.core_dumped, signal.message, signal.language
                )
            case _ if downstream is not None:
                downstream.close()

    def release(self) -> None:
        """Close the ends that are open, and end the audit if it has begun.

        A channel that is released while it starts is released again afterwards: until then it may get
        another end, or its audit.
        """
        self.is_released = True
        if self._reader is not None:
            self._reader(INTERRUPT_BYTE)
        if self.downstream is not None:
            self.downstream.abort()
        if self.upstream is not None:
            self.upstream.close()
        if self._audit is not None:
            self._audit.record_end(self.exit, self.inward.size, self.outward.size)

    def resume_recording(self) -> None:
        """Pass the shell's bytes on again, after the recording had held them back."""
        self.outward.release(RECORDING_FULL)

    # For the two ends.

    def pass_input(self, data: bytes) -> None:
        """Pass the developer's bytes on to the shell and to the audit."""
        if self._reader is not None:
            self._reader(data)
            return
        self.inward.pass_bytes(data)
        if self._audit is None:
            self._unaudited.append(data)
        else:
            self._audit.take_input(data)
            self._count(len(data), 0)

    def pass_output(self, data: bytes, datatype: int | None) -> None:
        """Pass the shell's bytes on to the developer and to the audit."""
        if self.is_released:
            return
        self._count(0, len(data))
        self.outward.pass_bytes(data, datatype)
        if self._audit is not None and not self._audit.take_output(data, datatype):
            self.outward.hold(RECORDING_FULL)

    def record_size(self, columns: int, rows: int) -> None:
        """Record a new size of the terminal."""
        if self._audit is not None:
            self._audit.record_size(columns, rows)

    def send_upstream(self, send: Callable[[ShellChannel], None]) -> None:
        """Send a signal or the like to the shell, once the program runs."""
        if not self._is_connected:
            if len(self._early) < EARLY_LIMIT:
                self._early.append(send)
        elif isinstance(self.upstream, asyncssh.SSHClientChannel):
            send(self.upstream)

    def check_drained(self) -> None:
        """Report that the developer has received all bytes, if `drain` was called and none are left."""
        is_waiting = self.downstream is None or self.outward.is_held(DOWNSTREAM_FULL)
        if self._on_drained is not None and not is_waiting:
            # Not from here, since asyncssh has to send an EOF first.
            asyncio.get_running_loop().call_soon(self._on_drained)
            self._on_drained = None


class _DeveloperSide:
    """The common part of the developer's ends of programs and forwards."""

    def __init__(self, channel: DirectChannel, post: Post) -> None:
        self._channel = channel
        self._post = post

    def connection_made(self, chan: Any) -> None:
        """Connect the developer's channel."""
        self._channel.downstream = chan
        self._channel.inward.open(chan)
        self._channel.outward.connect(chan)
        self._channel.check_drained()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Pass bytes on."""
        self._channel.pass_input(data)

    def eof_received(self) -> bool:
        """Pass the EOF on. The other direction stays open."""
        self._channel.inward.end()
        return True

    def pause_writing(self) -> None:
        """Hold the shell's bytes back."""
        self._channel.outward.hold(DOWNSTREAM_FULL)

    def resume_writing(self) -> None:
        """Let the shell's bytes pass again."""
        self._channel.outward.release(DOWNSTREAM_FULL)
        self._channel.check_drained()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report that the developer's channel is closed."""
        self._channel.downstream = None
        self._post(ChannelClosed(self._channel.number, isinstance(exc, asyncssh.ConnectionLost)))


class ForwardSide(_DeveloperSide, asyncssh.SSHTCPSession[bytes]):
    """The developer's end of a LocalForward (RFC 4254 §7.2)."""


class ProgramSide(_DeveloperSide, asyncssh.SSHServerSession[bytes]):
    """The developer's end of a session channel (RFC 4254 §6)."""

    def __init__(self, channel: DirectChannel, post: Post, *, permits_terminals: bool) -> None:
        super().__init__(channel, post)
        self._permits_terminals = permits_terminals
        self._request = ChannelRequest("shell")

    def pty_requested(self, term_type: str, term_size: Size, term_modes: Mapping[int, int]) -> bool:
        """Accept a terminal, if the credential permits terminals."""
        if self._permits_terminals:
            self._channel.terminal = (term_type, term_size, term_modes)
        return self._permits_terminals

    def shell_requested(self) -> bool:
        """Accept the request for a shell."""
        return self._accept(ChannelRequest("shell"))

    def exec_requested(self, command: str) -> bool:
        """Accept a command, unless it has a NUL."""
        return "\0" not in command and self._accept(ChannelRequest("exec", command))

    def subsystem_requested(self, subsystem: str) -> bool:
        """Accept a subsystem, which the shell may refuse."""
        return self._accept(ChannelRequest("subsystem", subsystem))

    def _accept(self, request: ChannelRequest) -> bool:
        self._request = request
        return True

    def session_started(self) -> None:
        """Report the request."""
        request = self._request
        if self._channel.terminal is not None:
            term_type, (columns, rows, _, _), _ = self._channel.terminal
            request = replace(request, terminal=term_type, columns=columns, rows=rows)
        self._post(ProgramRequest(self._channel.number, request))

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """Pass the new size of the terminal on."""
        self._channel.record_size(width, height)
        self._channel.send_upstream(
            lambda shell: shell.change_terminal_size(width, height, pixwidth, pixheight)
        )

    def signal_received(self, signal: str) -> None:
        """Pass a signal on."""
        self._channel.send_upstream(lambda shell: shell.send_signal(signal))

    def break_received(self, msec: int) -> bool:
        """Pass a break on, once the program runs."""
        shell = self._channel.upstream
        if not isinstance(shell, asyncssh.SSHClientChannel):
            return False
        shell.send_break(msec)
        return True


class ShellSide(asyncssh.SSHClientSession[bytes], asyncssh.SSHTCPSession[bytes]):
    """The shell's end of a channel, for a program or a forward. `shell_name` is for messages."""

    def __init__(self, channel: DirectChannel, post: Post, shell_name: str) -> None:
        self._channel = channel
        self._post = post
        self._shell_name = shell_name

    def connection_made(self, chan: Any) -> None:
        """Connect the shell's channel. Its bytes go to the developer immediately."""
        if self._channel.is_released:  # it took too long, or the client left
            chan.abort()
            return
        self._channel.upstream = chan
        self._channel.outward.open(chan)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Pass bytes on."""
        self._channel.pass_output(data, datatype)

    def eof_received(self) -> bool:
        """Pass the EOF on. The other direction stays open."""
        self._channel.outward.end()
        return True

    def pause_writing(self) -> None:
        """Hold the developer's bytes back."""
        self._channel.inward.hold(UPSTREAM_FULL)

    def resume_writing(self) -> None:
        """Let the developer's bytes pass again."""
        self._channel.inward.release(UPSTREAM_FULL)

    def exit_status_received(self, status: int) -> None:
        """Keep the exit status."""
        self._channel.exit = status

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        """Keep the signal that ended the program, with its texts shortened to one line."""
        self._channel.exit = ExitSignal(
            to_one_line(signal, MAX_MESSAGE_CHARS),
            core_dumped,
            to_one_line(msg, MAX_MESSAGE_CHARS),
            lang[:MAX_MESSAGE_CHARS],
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Report that the shell's channel is closed, and how."""
        channel = self._channel
        channel.upstream = None
        is_odd = channel.exit is None and exc is not None
        why = explain_hang_up(self._shell_name, exc) if is_odd else None
        self._post(ShellChannelClosed(channel.number, channel.exit, why))
