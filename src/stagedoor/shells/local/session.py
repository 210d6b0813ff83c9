"""One channel: a login shell, a command or the sftp subsystem (RFC 4254 §6)."""

import asyncio
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import asyncssh
from asyncssh.stream import SSHServerStreamSession

from stagedoor.holder.folder import FOLDER as TERMINALS
from stagedoor.shells.local.process import Account, Children
from stagedoor.shells.local.pump import InputPump, OutputPump
from stagedoor.shells.local.settings import LocalShell
from stagedoor.shells.local.terminal import Terminal
from stagedoor.shells.local.tmux import VARIABLE as TMUX

# RFC 4254 §6.10.
_SIGNALS = ("ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM",
            "USR1", "USR2")  # fmt: skip
_CANNOT_START = 127
_LAST_WORDS_S = 0.1
"""After a login has ended, output still on its way through the terminal has this long."""
_OWN = Path(__file__).with_name("bin")
"""What we bring along, `stagedoor-get`: found last, so that it stands in nobody's way."""
_PATH = f"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{_OWN}"

_HOLDER = [sys.executable, "-m", "stagedoor.holder"]
"""How the gateway asks for what holds terminals in a shell of this machine."""

Size = tuple[int, int, int, int]


def _holder_words(command: str) -> list[str]:
    """The words of a command that runs our holder and nothing else; none for any other."""
    if not command.startswith(shlex.join(_HOLDER)):
        return []
    with suppress(ValueError):
        words = shlex.split(command)
        if words[: len(_HOLDER)] == _HOLDER and shlex.join(words) == command:
            return words
    return []


class SessionContext(Protocol):
    """What a session needs of the process that it runs in."""

    shell: LocalShell
    account: Account
    children: Children
    terminals: str
    tmux: str

    def opened(self, session: "Session") -> None: ...

    def closed(self, session: "Session") -> None: ...


class Session(asyncssh.SSHServerSession[bytes]):
    """Real descriptors for the child; bytes pumped with backpressure; exit told as it was."""

    def __init__(self, house: SessionContext) -> None:
        self._house = house
        self._loop = asyncio.get_running_loop()
        self._chan: asyncssh.SSHServerChannel[bytes] | None = None
        self._terminal: Terminal | None = None
        self._inner: SSHServerStreamSession[bytes] | None = None
        self._inlet: InputPump | None = None
        self._outlets: list[OutputPump] = []
        self._pid: int | None = None
        self._status: int | None = None

    # What the client asks for, before anything runs.

    def connection_made(self, chan: "asyncssh.SSHServerChannel[bytes]") -> None:
        self._chan = chan
        self._house.opened(self)

    def pty_requested(self, term_type: str, term_size: Size, term_modes: Mapping[int, int]) -> bool:
        try:
            self._terminal = Terminal.open(term_type, term_size, term_modes)
        except OSError:
            return False
        return True

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:
        return "\0" not in command

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == "sftp"

    def session_started(self) -> None:
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
            shell = self._house.shell.login_shell or self._house.account.shell
            chan.write_stderr(
                f"stagedoor: cannot start {shell}: {error.strerror or error}\r\n".encode()
            )
            chan.exit(_CANNOT_START)

    def _start(self, command: str | None) -> None:
        shell = self._house.shell.login_shell or self._house.account.shell
        name = shell.rpartition("/")[2]
        # A leading hyphen makes it a login shell (sh(1)), as sshd and login(1) do.
        argv = [f"-{name}"] if command is None else [name, "-c", command]
        environment = self._environment(shell)
        if command is not None and (words := _holder_words(command)):
            # bash reads ~/.bashrc before a command by ssh, and nobody would see what that prints or waits
            # for. The shell in the terminal reads it again, where it is seen and can be interrupted.
            shell, argv = words[0], words
        spawn = self._house.children.spawn
        if self._terminal is not None:
            self._pid = spawn(shell, argv, environment, self._terminal.path, self._exited)
            self._terminal.close_slave()
            # Two descriptors, so that each half is closed by itself.
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
            OutputPump(self._loop, fd, _unless_gone(write), self._end_if_over)
            for fd, write in zip(outward, writes, strict=False)
        ]

    def _environment(self, shell: str) -> dict[str, str]:
        chan, account = self._channel, self._house.account
        client, client_port = chan.get_extra_info("peername")[:2]
        here, port = chan.get_extra_info("sockname")[:2]
        environment = {
            "HOME": account.home,
            "LOGNAME": account.name,
            "USER": account.name,
            "SHELL": shell,
            "PATH": _PATH,
            "SSH_CLIENT": f"{client} {client_port} {port}",
            "SSH_CONNECTION": f"{client} {client_port} {here} {port}",
            TERMINALS: self._house.terminals,
            TMUX: self._house.tmux,
        }
        # The client's language and nothing else: any other variable could change what runs.
        environment |= {
            name: value
            for name, value in chan.get_environment().items()
            if name == "LANG" or (name.startswith("LC_") and name.isidentifier())
        }
        environment |= self._house.shell.env
        if self._terminal is not None:
            environment["TERM"] = self._terminal.type or "dumb"
            environment["SSH_TTY"] = self._terminal.path
        agent = chan.get_agent_path()
        if agent:
            environment["SSH_AUTH_SOCK"] = agent
        return {k: v for k, v in environment.items() if "\0" not in f"{k}{v}"}

    # While it runs.

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._inner:
            self._inner.data_received(data, datatype)
        elif self._inlet:
            self._inlet.write(data)

    def eof_received(self) -> bool:
        if self._inner:
            return bool(self._inner.eof_received())
        # A terminal has no half-close: as with sshd, the login ends by itself or with the channel.
        if self._inlet and self._terminal is None:
            self._inlet.end()
        return True

    def pause_writing(self) -> None:
        if self._inner:
            self._inner.pause_writing()
        for outlet in self._outlets:
            outlet.pause()

    def resume_writing(self) -> None:
        if self._inner:
            self._inner.resume_writing()
        for outlet in self._outlets:
            outlet.resume()

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self._terminal and any(outlet.open for outlet in self._outlets):
            with suppress(OSError):
                self._terminal.resize((width, height, pixwidth, pixheight))

    def signal_received(self, signal: str) -> None:
        if signal in _SIGNALS:
            self._signal(f"SIG{signal}")

    def break_received(self, msec: int) -> bool:
        if self._terminal is None or not any(outlet.open for outlet in self._outlets):
            return False
        # What a break does on a line with BRKINT (termios(3)): the foreground job is interrupted.
        with suppress(OSError):
            os.killpg(os.tcgetpgrp(self._terminal.master), signal.SIGINT)
        return True

    def say(self, line: str) -> None:
        """A line from us, beside what the child writes."""
        if self._chan and not self._chan.is_closing():
            with suppress(OSError):
                self._chan.write_stderr(f"{line}\r\n".encode())

    # How it ends.

    def _exited(self, status: int) -> None:
        self._status = status
        if self._terminal is None:
            # As sshd: whatever the child left behind may still write, until it closes the pipes.
            self._end_if_over()
        else:
            # The login is over; what it left in the background does not hold the terminal open.
            self._loop.call_later(_LAST_WORDS_S, self._end_terminal)

    def _end_terminal(self) -> None:
        if any(outlet.open and outlet.paused for outlet in self._outlets):
            # The client is slow to take what was written: it gets it all.
            self._loop.call_later(_LAST_WORDS_S, self._end_terminal)
            return
        for outlet in self._outlets:
            outlet.close()
        self._end_if_over()

    def _end_if_over(self) -> None:
        if any(outlet.open for outlet in self._outlets):
            return
        chan = self._chan
        if chan is None or self._status is None:
            return
        if os.WIFSIGNALED(self._status):
            chan.exit_with_signal(
                _signal_name(os.WTERMSIG(self._status)), os.WCOREDUMP(self._status)
            )
        else:
            chan.exit(os.WEXITSTATUS(self._status))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._inner:
            self._inner.connection_lost(exc)
        self._chan = None
        # Nobody is there any more: what still runs is told so, and may choose to live on (nohup).
        self._signal("SIGHUP")
        self._signal("SIGCONT")
        if self._inlet:
            self._inlet.close()
        for outlet in self._outlets:
            outlet.close()
        if self._terminal:
            self._terminal.close_slave()
            if not self._outlets:
                os.close(self._terminal.master)
        self._house.closed(self)

    @property
    def _channel(self) -> "asyncssh.SSHServerChannel[bytes]":
        assert self._chan is not None, "asyncssh calls connection_made first"
        return self._chan

    def _signal(self, name: str) -> None:
        if self._pid is not None:
            self._house.children.signal_group(self._pid, getattr(signal, name))


class _Sftp(asyncssh.SFTPServer):
    """Ends as a program would: scp by the new protocol takes a missing exit status for a failure."""

    def exit(self) -> None:
        with suppress(OSError):
            self.channel.exit(0)


def _unless_gone(write: Callable[[bytes], None]) -> Callable[[bytes], None]:
    def guarded(chunk: bytes) -> None:
        # The channel may be closing while the last bytes come.
        with suppress(OSError):
            write(chunk)

    return guarded


def _signal_name(number: int) -> str:
    """RFC 4254 §6.10: names of its own for the usual ones, `NAME@domain` for others."""
    try:
        name = signal.Signals(number).name.removeprefix("SIG")
    except ValueError:  # most of the realtime signals have none; sshd says the same
        name = "SIG"
    return name if name in _SIGNALS else f"{name}@openssh.com"


def _is_scp_without_scp(command: str | None) -> bool:
    """The old scp protocol runs `scp -t` or `-f` here; where there is none, asyncssh's serves."""
    return command is not None and command.startswith("scp ") and shutil.which("scp") is None
