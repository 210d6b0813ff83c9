"""One channel: a login shell, a command or the sftp subsystem (RFC 4254 §6)."""

import asyncio
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncssh
from asyncssh.stream import SSHServerStreamSession

from stagedoor.holder.folder import FOLDER as TERMINALS
from stagedoor.shells.local.pump import InputPump, OutputPump
from stagedoor.shells.local.terminal import SIGNALS, Terminal, signal_name
from stagedoor.shells.local.tmux import VARIABLE as TMUX
from stagedoor.shells.local.variables import describe_account, describe_app, drop_nul

if TYPE_CHECKING:
    from stagedoor.shells.local.sshd import Sshd

_CANNOT_START = 127
"""The exit status of a shell for a command that it cannot run."""
_LAST_WORDS_S = 0.1
"""Seconds for output that is still in the terminal when a login has ended."""
_HOLDER = [sys.executable, "-m", "stagedoor.holder"]
"""The command with which the gateway starts the holder of terminals in a shell on this machine."""

Size = tuple[int, int, int, int]


def _holder_words(command: str) -> list[str]:
    """Return the words of a command that only runs the holder; an empty list for any other command."""
    if not command.startswith(shlex.join(_HOLDER)):
        return []
    with suppress(ValueError):
        words = shlex.split(command)
        if words[: len(_HOLDER)] == _HOLDER and shlex.join(words) == command:
            return words
    return []


class LocalSession(asyncssh.SSHServerSession[bytes]):
    """One session: the child has real descriptors, both pumps have backpressure, and its exit is reported."""

    def __init__(self, sshd: "Sshd") -> None:
        self._sshd = sshd
        self._loop = asyncio.get_running_loop()
        self._chan: asyncssh.SSHServerChannel[bytes] | None = None
        self._terminal: Terminal | None = None
        self._inner: SSHServerStreamSession[bytes] | None = None
        self._inlet: InputPump | None = None
        self._outlets: list[OutputPump] = []
        self._pid: int | None = None
        self._status: int | None = None

    # The client's requests, before the child runs.

    def connection_made(self, chan: "asyncssh.SSHServerChannel[bytes]") -> None:
        """Record the session and its channel."""
        self._chan = chan
        self._sshd.note_session(self)

    def pty_requested(self, term_type: str, term_size: Size, term_modes: Mapping[int, int]) -> bool:
        """Open a terminal. Return False if there is no pty left."""
        try:
            self._terminal = Terminal.open(term_type, term_size, term_modes)
        except OSError:
            return False
        return True

    def shell_requested(self) -> bool:
        """Accept a login shell."""
        return True

    def exec_requested(self, command: str) -> bool:
        """Accept a command without NUL, which no argument of a program may contain."""
        return "\0" not in command

    def subsystem_requested(self, subsystem: str) -> bool:
        """Accept sftp only."""
        return subsystem == "sftp"

    def session_started(self) -> None:
        """Start the login shell, the command or the sftp server."""
        chan = self._channel
        command = chan.get_command()
        if chan.get_subsystem() == "sftp" or _is_scp_without_scp(command):
            self._inner = SSHServerStreamSession(None, lambda _: _Sftp(chan), 3, allow_scp=True)
            self._inner.connection_made(chan)
            self._inner.session_started()
            return
        try:
            self._start(command)
        except OSError as error:
            why = f"cannot start {self._sshd.login_shell}: {error.strerror or error}"
            chan.write_stderr(f"stagedoor: {why}\r\n".encode())
            chan.exit(_CANNOT_START)

    def _start(self, command: str | None) -> None:
        shell = self._sshd.login_shell
        name = shell.rpartition("/")[2]
        # A leading hyphen makes it a login shell (sh(1)), as sshd and login(1) do.
        argv = [f"-{name}"] if command is None else [name, "-c", command]
        environment = self._environment(shell)
        if command is not None and (words := _holder_words(command)):
            # bash reads ~/.bashrc before a command by ssh; its output would be lost, and a prompt would hang.
            # The shell in the terminal reads it again, where the user can see and interrupt it.
            shell, argv = words[0], words
        spawn = self._sshd.children.spawn
        if self._terminal is not None:
            self._pid = spawn(shell, argv, environment, self._terminal.path, self._exited)
            self._terminal.close_slave()
            # Two descriptors, so that each half can be closed on its own.
            self._attach(os.dup(self._terminal.master), [self._terminal.master])
            return
        pipes = [os.pipe() for _ in range(3)]
        theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
        ours = [pipes[0][1], pipes[1][0], pipes[2][0]]
        try:
            self._pid = spawn(shell, argv, environment, theirs, self._exited)
        except OSError:
            for fd in ours:
                os.close(fd)
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        for fd in ours:
            os.set_blocking(fd, False)
        self._attach(ours[0], ours[1:])

    def _attach(self, inward: int, outward: list[int]) -> None:
        chan = self._channel
        self._inlet = InputPump(self._loop, inward, chan.pause_reading, chan.resume_reading)
        writes: list[Callable[[bytes], None]] = [chan.write, chan.write_stderr]
        self._outlets = [
            OutputPump(self._loop, fd, _unless_closed(write), self._end_if_over)
            for fd, write in zip(outward, writes, strict=False)
        ]

    def _environment(self, shell: str) -> dict[str, str]:
        chan, account = self._channel, self._sshd.account
        client, client_port = chan.get_extra_info("peername")[:2]
        here, port = chan.get_extra_info("sockname")[:2]
        environment = describe_account(account, shell) | {
            "SSH_CLIENT": f"{client} {client_port} {port}",
            "SSH_CONNECTION": f"{client} {client_port} {here} {port}",
            TERMINALS: self._sshd.terminals,
            TMUX: self._sshd.tmux,
        }
        # Only the client's language is accepted. Other variables could change which programs run.
        environment |= {
            name: value
            for name, value in chan.get_environment().items()
            if name == "LANG" or (name.startswith("LC_") and name.isidentifier())
        }
        environment |= describe_app(self._sshd.shell, shell)
        if self._terminal is not None:
            environment["TERM"] = self._terminal.type or "dumb"
            environment["SSH_TTY"] = self._terminal.path
        agent = chan.get_agent_path()
        if agent:
            environment["SSH_AUTH_SOCK"] = agent
        return drop_nul(environment)

    # While the child runs.

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Pass the client's bytes on to the child."""
        if self._inner:
            self._inner.data_received(data, datatype)
        elif self._inlet:
            self._inlet.write(data)

    def eof_received(self) -> bool:
        """Close the child's standard input, unless it is a terminal. The channel stays open."""
        if self._inner:
            return bool(self._inner.eof_received())
        # A terminal has no half-close: as with sshd, the login ends on its own or with the channel.
        if self._inlet and self._terminal is None:
            self._inlet.end()
        return True

    def pause_writing(self) -> None:
        """Stop reading from the child."""
        if self._inner:
            self._inner.pause_writing()
        for outlet in self._outlets:
            outlet.pause()

    def resume_writing(self) -> None:
        """Read from the child again."""
        if self._inner:
            self._inner.resume_writing()
        for outlet in self._outlets:
            outlet.resume()

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """Resize the terminal."""
        if self._terminal and any(outlet.is_open for outlet in self._outlets):
            with suppress(OSError):
                self._terminal.resize((width, height, pixwidth, pixheight))

    def signal_received(self, signal: str) -> None:
        """Send a signal to the child's process group, if RFC 4254 names it."""
        if signal in SIGNALS:
            self._signal(f"SIG{signal}")

    def break_received(self, msec: int) -> bool:
        """Interrupt the terminal's foreground job. Return False without a terminal."""
        if self._terminal is None or not any(outlet.is_open for outlet in self._outlets):
            return False
        # As a break does on a line with BRKINT (termios(3)).
        with suppress(OSError):
            os.killpg(os.tcgetpgrp(self._terminal.master), signal.SIGINT)
        return True

    def show(self, line: str) -> None:
        """Write a line from Stagedoor to the client's standard error."""
        if self._chan and not self._chan.is_closing():
            with suppress(OSError):
                self._chan.write_stderr(f"{line}\r\n".encode())

    # The end.

    def _exited(self, status: int) -> None:
        self._status = status
        if self._terminal is None:
            # As with sshd, processes left behind by the child may write until they close the pipes.
            self._end_if_over()
        else:
            # The login is over; background processes do not keep the terminal open.
            self._loop.call_later(_LAST_WORDS_S, self._end_terminal)

    def _end_terminal(self) -> None:
        if any(outlet.is_open and outlet.is_paused for outlet in self._outlets):
            # The client is slow and has not received all output yet.
            self._loop.call_later(_LAST_WORDS_S, self._end_terminal)
            return
        for outlet in self._outlets:
            outlet.close_descriptor()
        self._end_if_over()

    def _end_if_over(self) -> None:
        if any(outlet.is_open for outlet in self._outlets):
            return
        chan = self._chan
        if chan is None or self._status is None:
            return
        if os.WIFSIGNALED(self._status):
            chan.exit_with_signal(
                signal_name(os.WTERMSIG(self._status)), os.WCOREDUMP(self._status)
            )
        else:
            chan.exit(os.WEXITSTATUS(self._status))

    def connection_lost(self, exc: Exception | None) -> None:
        """Send SIGHUP to the child, and close its descriptors."""
        if self._inner:
            self._inner.connection_lost(exc)
        self._chan = None
        # Processes that ignore SIGHUP (nohup) keep running. SIGCONT lets stopped ones receive it.
        self._signal("SIGHUP")
        self._signal("SIGCONT")
        if self._inlet:
            self._inlet.close_descriptor()
        for outlet in self._outlets:
            outlet.close_descriptor()
        if self._terminal:
            self._terminal.close_slave()
            if not self._outlets:
                os.close(self._terminal.master)
        self._sshd.forget_session(self)

    @property
    def _channel(self) -> "asyncssh.SSHServerChannel[bytes]":
        assert self._chan is not None, "asyncssh calls connection_made first"
        return self._chan

    def _signal(self, name: str) -> None:
        if self._pid is not None:
            self._sshd.children.signal_group(self._pid, getattr(signal, name))


class _Sftp(asyncssh.SFTPServer):
    """An SFTP server that sends an exit status; without one, scp with the new protocol reports a failure."""

    def exit(self) -> None:
        """Send the exit status 0."""
        with suppress(OSError):
            self.channel.exit(0)


def _unless_closed(write: Callable[[bytes], None]) -> Callable[[bytes], None]:
    def guarded(chunk: bytes) -> None:
        # The channel may be closing while the last bytes arrive.
        with suppress(OSError):
            write(chunk)

    return guarded


def _is_scp_without_scp(command: str | None) -> bool:
    """Return whether a command is one of the old scp protocol, and this machine has no scp.

    Then asyncssh's own implementation serves it.
    """
    return command is not None and command.startswith("scp ") and shutil.which("scp") is None
