"""The program in a terminal: its start, as in a login on a console, its window, and its output.

Sources: pty(7), ioctl_tty(2), signal(7), terminfo(5).
"""

import fcntl
import os
import pwd
import shutil
import signal
import struct
import termios
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from stagedoor.holder import tmux
from stagedoor.holder.folder import ensure_folder
from stagedoor.holder.state import TerminalState
from stagedoor.wire.terminal.frames import MAX_DATA_BYTES, Hello, Size

REDRAW_S = 0.06
"""How many seconds a window stays one row smaller. A program that checks at once must see the change."""
_READ_BYTES = 16 * 1024
_TERMINFO = ("/etc/terminfo", "/lib/terminfo", "/usr/lib/terminfo", "/usr/share/terminfo")
_IUTF8 = 0o40000
"""Linux's value, which `termios` lacks."""
_FALLBACK_TERM = "xterm-256color"
_TO_DEFAULT = (signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGHUP, signal.SIGTERM,
                  signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD)  # fmt: skip


def _spawn(hello: Hello) -> tuple[int, int]:
    """Start what `hello` asks for, in the working directory of this process. Raises OSError.

    Return its process and our end of its terminal, which is non-blocking.
    """
    environment = make_environment(os.environ, hello)
    program, arguments = _command_of(hello, environment)
    directory = environment.get("STAGEDOOR_DIRECTORY", "")
    master, slave = os.openpty()
    try:
        _set_size(master, hello.size)
        _erase_whole_characters(slave)
        pid = os.fork()
    except BaseException:
        os.close(master)
        os.close(slave)
        raise
    if pid == 0:
        try:
            _become(slave, program, arguments, environment, directory)
        except BaseException as error:
            os.write(2, f"stagedoor: {program} cannot be started: {error}\r\n".encode())
        finally:
            os._exit(127)
    os.close(slave)
    os.set_blocking(master, False)
    return pid, master


def _set_size(fd: int, size: Size) -> None:
    """Set a terminal's window size (TIOCSWINSZ). Rows come first in `struct winsize`."""
    packed = struct.pack("HHHH", size.rows, size.columns, size.x_pixels, size.y_pixels)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, packed)


def _erase_whole_characters(slave: int) -> None:
    """Make backspace erase a whole character of UTF-8, as ssh clients request (IUTF8, termios(3))."""
    modes = termios.tcgetattr(slave)
    modes[0] |= _IUTF8
    termios.tcsetattr(slave, termios.TCSANOW, modes)


def make_environment(around: Mapping[str, str], hello: Hello) -> dict[str, str]:
    """Return the program's environment: the shell's own, and what only the client knows."""
    environment = dict(around)
    environment["TERM"] = choose_term(hello.term, around)
    environment["COLORTERM"] = "truecolor"
    environment["STAGEDOOR_TERMINAL"] = hello.terminal
    if not environment.get("LANG") and environment.get("LC_CTYPE") == "C.UTF-8":
        del environment["LC_CTYPE"]  # Python has set it (PEP 538)
    if not any(environment.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG")):
        # tmux writes _ for characters that it thinks cannot be displayed.
        environment["LANG"] = hello.lang if _is_utf8(hello.lang) else "C.UTF-8"
    for name in ("TMUX", "TMUX_PANE", "SSH_TTY", "LINES", "COLUMNS"):
        environment.pop(name, None)
    return environment


def _command_of(hello: Hello, environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return the program's file and its arguments, the first of which is its name.

    For tmux, this also writes its defaults beside the terminal's socket. Raises OSError.
    """
    shell = _login_shell(environment)
    if hello.command and hello.command not in tmux.COMMANDS:
        return shell, [Path(shell).name, "-c", hello.command]
    program = shutil.which("tmux", path=environment.get("PATH", os.defpath))
    if not hello.command or program is None:
        return shell, ["-" + Path(shell).name]
    defaults = ensure_folder().absolute() / f"{hello.terminal}.tmux.conf"
    described = choose_term(tmux.TERM, environment) == tmux.TERM
    defaults.write_text(tmux.format_defaults(described=described), encoding="ascii")
    return program, tmux.make_command(hello.terminal, str(defaults))


def choose_term(term: str, around: Mapping[str, str]) -> str:
    """Return `term` if this machine describes it (terminfo(5)), or else a name that it probably describes."""
    if not term or not term.isascii() or not term.isprintable() or "/" in term or term[0] == ".":
        return _FALLBACK_TERM
    folders = [
        around.get("TERMINFO", ""),
        str(Path(around.get("HOME", "/")) / ".terminfo"),
        *around.get("TERMINFO_DIRS", "").split(":"),
        *_TERMINFO,
    ]
    names = (f"{term[0]}/{term}", f"{ord(term[0]):x}/{term}")
    is_known = any(Path(folder, name).exists() for folder in folders if folder for name in names)
    return term if is_known else _FALLBACK_TERM


def _is_utf8(lang: str) -> bool:
    return lang.isascii() and lang.isprintable() and lang.lower().endswith(("utf-8", "utf8"))


def _login_shell(environment: Mapping[str, str]) -> str:
    candidates = [environment.get("SHELL", "")]
    with suppress(KeyError):  # an image may lack the account that it runs as
        candidates.append(pwd.getpwuid(os.getuid()).pw_shell)
    candidates += ["/bin/bash", "/bin/sh"]
    return next((path for path in candidates if path and os.access(path, os.X_OK)), candidates[-1])


def _become(
    slave: int, program: str, arguments: list[str], environment: dict[str, str], directory: str
) -> None:
    """In the child: make the terminal its own, reset signals as for a login, and start the program."""
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    os.closerange(3, 1024)
    # The parent process may have ignored or blocked signals, which exec preserves.
    for number in _TO_DEFAULT:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if directory:
        os.chdir(directory)
    os.execve(program, arguments, environment)  # noqa: S606  # a terminal runs what its owner wants


@dataclass(eq=False, slots=True)
class TerminalProgram:
    """The program in the terminal, and the terminal's state. `fd` is our end of the terminal.

    It `has_hung_up` once no process has the terminal open, and `has_ended` once its process is reaped.
    `grow_at` is when its window gets its last row back (monotonic), None if it has that row.
    """

    pid: int
    fd: int
    state: TerminalState
    pidfd: int
    has_hung_up: bool = False
    has_ended: bool = False
    grow_at: float | None = None

    @classmethod
    def start(cls, hello: Hello) -> "TerminalProgram":
        """Start the program that a client asks for. Raises OSError."""
        pid, fd = _spawn(hello)
        return cls(pid, fd, TerminalState(hello.size), os.pidfd_open(pid))

    def is_busy(self) -> bool:
        """Return whether a job that the program has started is in the foreground.

        tcgetpgrp(3) returns 0 until the program has made the terminal its controlling one. A session's
        first process leads its group.
        """
        if self.has_ended:
            return False
        with suppress(OSError):
            return os.tcgetpgrp(self.fd) not in (0, self.pid)
        return False

    def read_output(self) -> bytes:
        """Return output of the program; empty if there is none."""
        data = bytearray()
        # One read returns at most 4 KiB; fewer, larger frames take less time at both ends.
        while len(data) <= MAX_DATA_BYTES - _READ_BYTES:
            try:
                piece = os.read(self.fd, _READ_BYTES)
            except BlockingIOError:
                break
            except OSError:  # EIO: no process has the other end open any more (pty(7))
                piece = b""
            if not piece:
                self.has_hung_up = True
                break
            data += piece
        return bytes(data)

    def write_input(self) -> int:
        """Write what clients have typed. Return how many bytes the terminal has taken. Raises OSError."""
        return os.write(self.fd, self.state.typed[:_READ_BYTES])

    def resize(self, size: Size) -> None:
        """Set the size of its window."""
        if not self.has_ended:
            _set_size(self.fd, size)

    def redraw(self, size: Size, now: float) -> None:
        """Make a full-screen program redraw its screen: its window loses a row until `grow_at`."""
        self.resize(replace(size, rows=size.rows - 1))
        self.grow_at = now + REDRAW_S

    def grow(self, now: float) -> None:
        """Give the window its last row back, if it is time."""
        if self.grow_at is not None and now >= self.grow_at:
            self.grow_at = None
            _set_size(self.fd, self.state.size)

    def reap(self) -> tuple[int, str]:
        """Wait for the ended program. Return its exit status and the signal that killed it.

        The signal is a name without SIG, or empty. With a signal, the status is 128 plus its number.
        """
        _pid, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        code = os.waitstatus_to_exitcode(status)
        if code >= 0:
            return code, ""
        name = ""
        with suppress(ValueError):  # most of the realtime signals have no name
            name = signal.Signals(-code).name.removeprefix("SIG")
        return 128 - code, name
