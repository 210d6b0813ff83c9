"""The process that holds one run: its task, its pipes and its log.

`python -m stagedoor.holder run` reads an order from standard input, starts the task and stays with it as a
daemon, so that the run outlives the client and the gateway. It waits for no reader: output goes to the log,
from which readers read. The task and all processes that it leaves behind end with the run.

Sources: fork(2), prctl(2) PR_SET_CHILD_SUBREAPER and PR_SET_PDEATHSIG, fifo(7).
"""

import ctypes
import fcntl
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from stagedoor.holder.event_poller import READ, WRITE, EventPoller
from stagedoor.holder.run_folder import MAX_DETAIL_CHARS, LogWriter, RunFolder, RunStatus
from stagedoor.holder.run_input import SILENCE_S, InputError, InputParser, RunInput

GRACE_S = 10.0
"""How many seconds a task that was asked to end (SIGTERM) may take before it is killed."""
TIMED_OUT, CANCELLED, INPUT_LOST = "timed_out", "cancelled", "input_lost"
_CODES = {TIMED_OUT: 124, CANCELLED: 143, INPUT_LOST: 74}
_READ_BYTES = 64 * 1024
_PENDING_BYTES = 256 * 1024
"""The most input that waits for a task which does not read it."""
_FIFO_BYTES = 1024 * 1024
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_CANNOT_START = 126


@dataclass(frozen=True, slots=True)
class TaskOrder:
    """The order that the holder reads: the program with its arguments, and how to run it.

    `folder` is that of the run, `timeout_s` the time limit in seconds.
    """

    folder: str
    program: str
    arguments: list[str]
    environment: dict[str, str]
    directory: str
    timeout_s: float
    has_input: bool


class RunHolder:
    """One run. `run` returns when its task has ended and its log is complete."""

    def __init__(self, order: TaskOrder, folder: RunFolder) -> None:
        """Start the task. Raises OSError if it cannot be started."""
        self._folder = folder
        self._log = LogWriter(folder)
        self._poller = EventPoller()
        self._status = RunStatus("running", os.getpid())
        self._ends_at = time.monotonic() + order.timeout_s
        self._kills_at: float | None = None
        self._end = ""
        self._wait_status: int | None = None
        self._woken, wakes = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wakes)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # otherwise it would wake nothing
        signal.signal(signal.SIGTERM, lambda *_: self._stop(CANCELLED))
        self._input = _InputPipe(folder, self._poller, self._stop) if order.has_input else None
        out, err, stdin = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        self._pid = _spawn(order, stdin[0], out[1], err[1])
        for fd in (stdin[0], out[1], err[1]):
            os.close(fd)
        if self._input is None:
            os.close(stdin[1])
        else:
            self._input.open(stdin[1])
        self._outputs = {out[0]: False, err[0]: True}
        for fd, is_error in self._outputs.items():
            os.set_blocking(fd, False)
            self._poller.add(fd, partial(self._read, fd, is_error))
        self._poller.add(self._woken, lambda *_: self._wake())
        folder.write_status(self._status)

    def run(self) -> None:
        """Serve until the task has ended. Blocks."""
        while self._wait_status is None:
            now = time.monotonic()
            if now >= self._ends_at:
                self._stop(TIMED_OUT)
            if self._kills_at is not None and now >= self._kills_at:
                self._kill_all()
            moments = [self._ends_at if self._kills_at is None else self._kills_at]
            if self._input is not None:
                moments += self._input.prepare(now)
            self._poller.wait(max(min(moments) - now, 0.0))
        self._kill_all()
        # Read only what is in the pipes now, since a process of another account may keep writing.
        size, most = -1, self._log.size + _FIFO_BYTES
        while size < self._log.size <= most:
            size = self._log.size
            for fd, is_error in list(self._outputs.items()):
                self._read(fd, is_error)
        self._write_end(self._wait_status)

    def _write_end(self, wait_status: int) -> None:
        code = os.waitstatus_to_exitcode(wait_status)
        detail = "" if code >= 0 else f"ended by {_signal_name(-code)}"
        code = code if code >= 0 else 128 - code
        state = self._end or "exited"
        self._folder.write_status(
            replace(
                self._status,
                state=state,
                code=_CODES.get(state, code),
                ended_at=time.time(),
                detail=(self._log.problem or ("" if self._end else detail))[:MAX_DETAIL_CHARS],
                size=self._log.size,
            )
        )

    def _read(self, fd: int, is_error: bool, *_: bool) -> None:
        """Read output of the task, if there is any."""
        with suppress(BlockingIOError):
            if data := os.read(fd, _READ_BYTES):
                self._log.append(data, is_error=is_error, at=time.time())
                return
            self._poller.remove(fd)
            del self._outputs[fd]
            os.close(fd)

    def _wake(self) -> None:
        """Handle a signal: reap the task and the processes that it has left behind."""
        with suppress(BlockingIOError):
            os.read(self._woken, 512)
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                if pid == self._pid:
                    self._wait_status = status

    def _stop(self, state: str) -> None:
        """Ask the task to end. `state` is the reason; the first one counts."""
        if self._end or self._wait_status is not None:
            return
        self._end = state
        self._kills_at = time.monotonic() + GRACE_S
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGTERM)
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGCONT)  # a stopped process cannot end

    def _kill_all(self) -> None:
        """Kill the task and, once it has ended, the processes that it has left behind."""
        self._kills_at = float("inf")
        if self._wait_status is None:
            with suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
            return
        # As their subreaper, this process becomes the parent of all whose own parent has ended.
        while killed := [child for child in _children() if _kill(child)]:
            for child in killed:
                with suppress(ChildProcessError):
                    os.waitpid(child, 0)


class _InputPipe:
    """The way from the FIFO to the task's standard input."""

    def __init__(self, folder: RunFolder, poller: EventPoller, stop: Callable[[str], None]) -> None:
        os.mkfifo(folder.input, 0o600)
        self._poller = poller
        self._stop = stop
        self._parser = InputParser()
        self._input = RunInput()
        self._waiting = bytearray()
        self._stdin: int | None = None
        self._heard_at = time.monotonic()
        # Opened for writing as well, so that it does not end when a worker closes it (fifo(7)).
        self._fifo = os.open(folder.input, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        with suppress(OSError):  # then only large inputs are slower
            fcntl.fcntl(self._fifo, fcntl.F_SETPIPE_SZ, _FIFO_BYTES)
        poller.add(self._fifo, lambda *_: self._receive())

    def open(self, stdin: int) -> None:
        """Write to the task's standard input from now on."""
        os.set_blocking(stdin, False)
        self._stdin = stdin
        self._poller.add(stdin, lambda *_: self._write(), WRITE)

    def prepare(self, now: float) -> list[float]:
        """Request the events that are needed now, and return when to check again."""
        has_room = len(self._waiting) < _PENDING_BYTES
        is_open = not self._input.is_over
        self._poller.change_events(self._fifo, READ if is_open and has_room else 0)
        if self._stdin is not None:
            if self._input.is_over and not self._waiting:
                self._close()
            else:
                self._poller.change_events(self._stdin, WRITE if self._waiting else 0)
        if not is_open:
            return []
        if not has_room:
            self._heard_at = now  # frames may wait unread
        elif now >= self._heard_at + SILENCE_S:
            self._input.break_off()
            self._end_if_broken()
            return [now]
        return [self._heard_at + SILENCE_S]

    def _receive(self) -> None:
        with suppress(BlockingIOError):
            data = os.read(self._fifo, _READ_BYTES)
            self._heard_at = time.monotonic()
            try:
                for frame in self._parser.feed(data):
                    fresh = self._input.accept(frame)
                    self._waiting += fresh if self._stdin is not None else b""
            except InputError:
                self._input.break_off()
            self._end_if_broken()

    def _end_if_broken(self) -> None:
        if self._input.is_broken:
            self._stop(INPUT_LOST)

    def _write(self) -> None:
        if self._stdin is None or not self._waiting:
            return
        try:
            written = os.write(self._stdin, self._waiting[:_READ_BYTES])
            del self._waiting[:written]
        except BlockingIOError:
            return
        except OSError:  # EPIPE: the task no longer reads
            self._close()

    def _close(self) -> None:
        if self._stdin is not None:
            self._poller.remove(self._stdin)
            os.close(self._stdin)
            self._stdin = None
        self._waiting.clear()


def run(order_line: str) -> int:
    """Start a run as a daemon, and print `started`, or why it was not. Return the exit status."""
    order = TaskOrder(**json.loads(order_line))
    folder = RunFolder(Path(order.folder))
    # The worker that starts this process reaps it at once, and init adopts the daemon.
    if os.fork():
        os._exit(0)
    os.setsid()
    os.umask(0o077)
    os.chdir("/")
    _detach_from_parent(folder)
    folder.show_life()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        holder = RunHolder(order, folder)
    except OSError as error:
        why = f"{error.filename or order.program}: {error.strerror}"[:MAX_DETAIL_CHARS]
        folder.write_status(RunStatus("not_started", os.getpid(), _CANNOT_START, time.time(), why))
        _answer(f"stagedoor: {why}")
        return 1
    _answer("started")
    holder.run()
    return 0


def _answer(line: str) -> None:
    """Print one line, and close standard output, so that its reader does not wait."""
    with suppress(OSError):
        os.write(1, f"{line}\n".encode())
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.close(null)


def _detach_from_parent(folder: RunFolder) -> None:
    """Ignore hang-ups and close the inherited descriptors but standard output.

    Faults are written to a file in the folder.
    """
    for number in (signal.SIGPIPE, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    faults = os.open(folder.errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.dup2(null, 0)
    os.dup2(faults, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def _spawn(order: TaskOrder, stdin: int, stdout: int, stderr: int) -> int:
    """Start the task and return its process, which leads a group and session. Raises OSError."""
    failed, fails = os.pipe2(os.O_CLOEXEC)
    libc = ctypes.CDLL(None)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            for fd, number in ((stdin, 0), (stdout, 1), (stderr, 2)):
                os.dup2(fd, number)
            signal.set_wakeup_fd(-1)
            for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                with suppress(OSError):
                    signal.signal(number, signal.SIG_DFL)
            # Without its holder, a task would run on with no log, no time limit and no end.
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(_CANNOT_START)
            os.umask(0o022)
            os.chdir(order.directory)
            os.execve(order.program, order.arguments, order.environment)  # noqa: S606  # as the developer wants
        except OSError as error:
            os.write(fails, f"{error.errno} {error.filename}".encode()[:512])
        finally:
            os._exit(_CANNOT_START)
    os.close(fails)
    with os.fdopen(failed, "rb") as reader:
        text = reader.read(512).decode("utf-8", "replace")
    if text:
        os.waitpid(pid, 0)
        code, _, name = text.partition(" ")
        raise OSError(int(code), os.strerror(int(code)), name)
    return pid


def _children() -> list[int]:
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
    return [int(child) for child in text.split()]


def _kill(pid: int) -> bool:
    """Kill a child. Return False if that is not permitted, because it runs under another account (sudo)."""
    try:
        os.kill(pid, signal.SIGKILL)
    except PermissionError:
        return False
    except ProcessLookupError:
        pass
    return True


def _signal_name(number: int) -> str:
    with suppress(ValueError):  # most of the realtime signals have no name
        return signal.Signals(number).name
    return f"signal {number}"
