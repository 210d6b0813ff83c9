"""Run a command with a terminal of its own, and type the password when it asks for it there."""

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
"""The exit code of what had to be killed at its time limit, as with timeout(1)."""
# Python ignores SIGPIPE, and a shell that starts us in the background SIGINT: children must not.
_DEFAULTS = [signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM]


@dataclass(frozen=True)
class Done:
    """How a command ended: its exit code and output; what was killed by a signal has 128 + it."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def said(self) -> str:
        """The last thing that it said, for a table; our own client's line says the most."""
        text = self.stderr or self.stdout.decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        ours = [line for line in lines if line.startswith("stagedoor: ")]
        return (ours or lines or ["it said nothing"])[-1]


class Prompted:
    """A running command whose controlling terminal (tty(4)) is served by a thread of ours.

    So programs that insist on a terminal for a password, such as nc, work without a person. Where
    `on_terminal` is set, the terminal is its standard input and output as well, as for a person.
    `stdin` None leaves the input open until `end_input`. `stdout` names a file for output that is
    too much for memory. It is killed, with its process group, after `timeout_s`, and when its
    context is left.
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
        """Start it. Raises OSError, such as FileNotFoundError for a program that is not here."""
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
            # Held by us too: else reading fails (EIO) whenever nobody has it open.
            ours.callback(os.close, slave)
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
            actions: list[tuple[int, int] | tuple[int, int, int] | tuple[int, int, str, int, int]]
            # A session leader gets the first terminal that it opens as its controlling one.
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
        """Our end, -1 for none, and theirs."""
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
        """Whether it has gone by itself or was killed."""
        return self._done is not None

    def expect(self, text: str, within_s: float = 60.0) -> None:
        """Wait until its output holds `text`. Raises TimeoutError with what there was instead."""
        wanted, deadline = text.encode(), time.monotonic() + within_s
        with self._news:
            while not any(wanted in seen for seen in self._texts.values()):
                left_s = deadline - time.monotonic()
                if left_s <= 0 or self._done is not None:
                    raise TimeoutError(f"it never said {text!r}: {self._now(KILLED).said}")
                self._news.wait(left_s)

    def ends_within(self, seconds: float) -> bool:
        """Wait for its end; False if it runs on."""
        self._thread.join(seconds)
        return self.ended

    def type(self, text: str) -> None:
        """Type at its terminal, if it still runs."""
        with self._news:
            if self._done is None:  # else the descriptor may be somebody else's by now
                os.write(self._terminal, text.encode())

    def end_input(self) -> None:
        """Close the input that was left open."""
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
        """End it at once, if it still runs, with its process group."""
        with self._news:
            if self._done is None:
                with suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
        return self.wait()

    def _serve(self, ended: int) -> None:
        """Read all that it says until it is gone, and answer at the terminal."""
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
        """Take what is there; False once there will never be more."""
        while True:
            try:
                chunk = os.read(fd, 64 * KIB)
            except OSError:  # EAGAIN: all is read; EIO: a terminal that nobody has open
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
    """Run `argv` to its end. Whatever asks for a password at the terminal gets `password`."""
    with Prompted(
        argv, password=password, env=env, stdin=stdin, stdout=stdout, timeout_s=timeout_s
    ) as command:
        return command.wait()
