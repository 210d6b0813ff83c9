"""A runner of commands with their own terminal, which types the password when a command asks for it there."""

import fcntl
import os
import pty
import selectors
import signal
import struct
import tempfile
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from stagedoor.model.units import KIB

COLUMNS, ROWS = 100, 30
KILLED = 124
"""The exit code of a command that was killed at its time limit, as with timeout(1)."""
# Python ignores SIGPIPE, and a shell ignores SIGINT for background jobs. Children must ignore neither.
_DEFAULTS = [signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM]


@dataclass(frozen=True)
class Done:
    """The exit code and output of a command. The code is 128 + the number of a signal that killed it."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def said(self) -> str:
        """The last line of its output, for a table; preferably one of our own client."""
        text = self.stderr or self.stdout.decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        ours = [line for line in lines if line.startswith("stagedoor: ")]
        return (ours or lines or ["it said nothing"])[-1]


class Prompted:
    """A running command with a controlling terminal (tty(4)), which a thread serves.

    Thus programs that insist on a terminal for a password, such as nc, work without a person. With
    `on_terminal`, the terminal is its stdin, stdout and stderr as well. `stdin` None leaves the
    input open until `end_input`. `stdout` names a file for output that is too much for memory. The
    command is killed, with its process group, after `timeout_s` and when its context ends.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        password: str = "",
        env: Mapping[str, str] | None = None,
        stdin: bytes | Path | None = b"",
        stdout: Path | None = None,
        on_terminal: bool = False,
        timeout_s: float = 60.0,
    ) -> None:
        """Start the command. Raises OSError, such as FileNotFoundError for a missing program."""
        self._password = password.encode()
        self._deadline = time.monotonic() + timeout_s
        self._news = threading.Condition()
        self._texts: dict[int, bytearray] = {}
        self._done: Done | None = None
        self._stdin: int | None = None
        with ExitStack() as ours, ExitStack() as theirs:
            ours.callback(self.end_input)
            self._terminal, slave = pty.openpty()
            ours.callback(os.close, self._terminal)
            os.set_blocking(self._terminal, False)
            # Kept open here too: otherwise reading fails (EIO) while no process has it open.
            ours.callback(os.close, slave)
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
            actions: list[tuple[int, int] | tuple[int, int, int] | tuple[int, int, str, int, int]]
            # The first terminal that a session leader opens becomes its controlling terminal.
            name = os.ttyname(slave)
            if on_terminal:
                actions = [(os.POSIX_SPAWN_OPEN, 0, name, os.O_RDWR, 0)]
                actions += [(os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]
                self._out = self._err = self._terminal
            else:
                source = self._input(stdin, ours, theirs)
                self._out, out = self._output(stdout, ours, theirs)
                self._err, err = self._output(None, ours, theirs)
                actions = [
                    (os.POSIX_SPAWN_DUP2, source, 0),
                    (os.POSIX_SPAWN_DUP2, out, 1),
                    (os.POSIX_SPAWN_DUP2, err, 2),
                    (os.POSIX_SPAWN_OPEN, 3, name, os.O_RDWR, 0),
                    (os.POSIX_SPAWN_CLOSE, 3),
                ]
            for fd in {self._terminal, self._out, self._err} - {-1}:
                self._texts[fd] = bytearray()
            self.pid = os.posix_spawnp(
                str(argv[0]),
                [str(word) for word in argv],
                {**os.environ, **(env or {})},
                file_actions=actions,
                setsid=True,
                setsigmask=[],
                setsigdef=_DEFAULTS,
            )
            ended = os.pidfd_open(self.pid)
            ours.callback(os.close, ended)
            self._ours = ours.pop_all()
        self._thread = threading.Thread(target=self._serve, args=(ended,), daemon=True)
        self._thread.start()

    def _input(self, stdin: bytes | Path | None, ours: ExitStack, theirs: ExitStack) -> int:
        if stdin is None:
            source, self._stdin = os.pipe()
            theirs.callback(os.close, source)
            return source
        if isinstance(stdin, Path):
            return theirs.enter_context(stdin.open("rb")).fileno()
        with tempfile.TemporaryFile() as file:
            file.write(stdin)
            file.seek(0)
            source = os.dup(file.fileno())
        theirs.callback(os.close, source)
        return source

    @staticmethod
    def _output(path: Path | None, ours: ExitStack, theirs: ExitStack) -> tuple[int, int]:
        """Return our end of the output, -1 for none, and the command's end."""
        if path is not None:
            return -1, theirs.enter_context(path.open("wb")).fileno()
        read, write = os.pipe()
        ours.callback(os.close, read)
        theirs.callback(os.close, write)
        os.set_blocking(read, False)
        return read, write

    def __enter__(self) -> "Prompted":
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def ended(self) -> bool:
        """True if the command has ended or was killed."""
        return self._done is not None

    def expect(self, text: str, within_s: float = 60.0) -> None:
        """Wait until its output holds `text`. Raises TimeoutError with its last line otherwise."""
        wanted, deadline = text.encode(), time.monotonic() + within_s
        with self._news:
            while not any(wanted in seen for seen in self._texts.values()):
                left_s = deadline - time.monotonic()
                if left_s <= 0 or self._done is not None:
                    raise TimeoutError(f"it never said {text!r}: {self._now(KILLED).said}")
                self._news.wait(left_s)

    def ends_within(self, seconds: float) -> bool:
        """Wait for the command's end; return False if it still runs after `seconds`."""
        self._thread.join(seconds)
        return self.ended

    def type(self, text: str) -> None:
        """Type at its terminal, if the command still runs."""
        with self._news:
            if self._done is None:  # otherwise the descriptor may have been reused
                os.write(self._terminal, text.encode())

    def end_input(self) -> None:
        """Close the input if it is still open."""
        with self._news:
            if self._stdin is not None:
                os.close(self._stdin)
                self._stdin = None

    def wait(self) -> Done:
        """Close the input and wait for the end."""
        self.end_input()
        self._thread.join()
        assert self._done is not None, "the thread ends with the process"
        return self._done

    def kill(self) -> Done:
        """Kill the command, if it still runs, with its process group."""
        with self._news:
            if self._done is None:
                with suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
        return self.wait()

    def _serve(self, ended: int) -> None:
        """Read all output until the command ends, and answer prompts at the terminal."""
        answered, code = 0, None
        with self._ours, selectors.DefaultSelector() as selector:
            for fd in (ended, *self._texts):
                selector.register(fd, selectors.EVENT_READ)
            while code is None:
                left_s = self._deadline - time.monotonic()
                ready = [key.fd for key, _ in selector.select(max(0.0, left_s))]
                if not ready:
                    with suppress(ProcessLookupError):
                        os.killpg(self.pid, signal.SIGKILL)
                    os.waitpid(self.pid, 0)
                    code = KILLED
                elif ended in ready:
                    code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
                for fd in self._texts if code is not None else {*ready} - {ended}:
                    if not self._read(fd, to_the_end=code is not None) and code is None:
                        selector.unregister(fd)
                typed_at = bytes(self._texts[self._terminal])
                if b"assword" in typed_at[answered:]:
                    answered = len(typed_at)
                    os.write(self._terminal, self._password + b"\n")
            with self._news:
                self._done = self._now(code if code >= 0 else 128 - code)
                self._news.notify_all()

    def _read(self, fd: int, *, to_the_end: bool) -> bool:
        """Read available output; return False at its end."""
        while True:
            try:
                chunk = os.read(fd, 64 * KIB)
            except OSError:  # EAGAIN: all is read; EIO: no process has the terminal open
                return True
            if not chunk:
                return False
            with self._news:
                self._texts[fd] += chunk
                self._news.notify_all()
            if not to_the_end:
                return True

    def _now(self, code: int) -> Done:
        out = bytes(self._texts.get(self._out, b""))
        err = b"" if self._err == self._out else bytes(self._texts.get(self._err, b""))
        return Done(code, out, err.decode(errors="replace"))


def run(
    argv: Sequence[str | Path],
    *,
    password: str = "",
    env: Mapping[str, str] | None = None,
    stdin: bytes | Path = b"",
    stdout: Path | None = None,
    timeout_s: float = 60.0,
) -> Done:
    """Run `argv` to its end. A prompt for a password at the terminal is answered with `password`."""
    with Prompted(
        argv, password=password, env=env, stdin=stdin, stdout=stdout, timeout_s=timeout_s
    ) as command:
        return command.wait()
