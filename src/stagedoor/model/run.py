"""Runs, the one-off tasks: commands with an app's environment, beside its shell. Pure.

A run outlives the client that asked for it and the gateway that started it. It ends on its own, at its time
limit, or when a developer cancels it. It is started at most once.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby

from stagedoor.model.name import MAX_LOCK_CHARS, is_lock
from stagedoor.model.target import Target
from stagedoor.model.units import DAY_S, HOUR_S, MIB, MINUTE_S

PER_APP = 5
"""The most concurrent runs of one app."""
PER_PERSON = 10
"""The most concurrent runs of one developer."""
DEFAULT_TIMEOUT_S = HOUR_S
MAX_TIMEOUT_S = DAY_S
MAX_COMMAND_BYTES = 8 * 1024
STORED_LOG_BYTES = MIB
"""The end of a log that the store keeps, so that a log outlives the machine of its run."""
KEPT_S = 7 * DAY_S
"""How long a run and its log are kept after its end."""
KEPT_PER_APP = 20
"""The most ended runs that are kept per app, since each log may have 64 MiB."""
START_WITHIN_S = MINUTE_S
"""A run that has not begun by then never will, because its gateway died while starting it."""
INPUT_WITHIN_S = MINUTE_S
"""A client that sends neither input nor a keepalive for this long is gone."""
MAX_WHOLE_INPUT_BYTES = MIB
"""The most input of a run that gets it as a whole at its start, the limit of a Kubernetes Secret."""
OVERDUE_S = 5 * MINUTE_S
"""A run without an end this long after its time limit is lost, because its runner would have ended it."""

INPUT_OUTPUT_CODE = 74
"""EX_IOERR (sysexits.h): the input broke off, or a part of the output was lost."""
REFUSED_CODE = 75
"""EX_TEMPFAIL: a limit or a lock refused the run; the same command may succeed later."""
LOST_CODE = 76
"""EX_PROTOCOL: the runner lost the run, so its own exit code is unknown."""
TIMED_OUT_CODE = 124
"""The same as timeout(1)'s."""
NOT_STARTED_CODE = 126
CANCELLED_CODE = 143
"""128 + SIGTERM, as a shell reports it."""

_ID = re.compile(r"[0-9a-f]{4,16}")


class RunState(StrEnum):
    """The states of a run. All but the first three are final."""

    WAITING = "waiting"
    """It waits for its whole input before it starts."""
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    INPUT_LOST = "input_lost"
    """The piped input broke off, so the task was ended, as half an input must not pass for all of it."""
    LOST = "lost"
    """The run was lost with its machine, or with the process that held it."""
    NOT_STARTED = "not_started"


CODES = {
    RunState.TIMED_OUT: TIMED_OUT_CODE,
    RunState.CANCELLED: CANCELLED_CODE,
    RunState.INPUT_LOST: INPUT_OUTPUT_CODE,
    RunState.LOST: LOST_CODE,
    RunState.NOT_STARTED: NOT_STARTED_CODE,
}
"""The exit codes of ends that are not the task's own."""


@dataclass(frozen=True, slots=True)
class RunOrder:
    """A request for a run.

    `command` is one line for the app's shell (`sh -c`). With `has_input` the client sends the task's
    standard input; without it, that is empty. Of an app's runs with the same `lock`, only one runs at a time.
    `size` names resources that the installation offers for runs; without it, a run has those of the shell.
    """

    target: Target
    command: str
    timeout_s: int = DEFAULT_TIMEOUT_S
    lock: str | None = None
    has_input: bool = False
    size: str | None = None


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The end of a run, with its exit code, at a time in seconds since the epoch."""

    state: RunState
    code: int
    ended_at: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RunLog:
    """The kept output of a run that has ended.

    `tail` are the last of its `size` bytes: STORED_LOG_BYTES of them at most.
    """

    tail: bytes = b""
    size: int = 0

    @property
    def start(self) -> int:
        """The offset of the first byte of `tail`."""
        return self.size - len(self.tail)


@dataclass(frozen=True, slots=True)
class Run:
    """A run in the store. `starter` is the user who started it; times are seconds since the epoch."""

    id: str
    target: Target
    starter: str
    command: str
    state: RunState
    started_at: float
    timeout_s: int
    lock: str | None = None
    ended_at: float | None = None
    code: int | None = None
    detail: str = ""
    size: int = 0
    """The bytes of its output, once it has ended."""
    has_whole_input: bool = False
    """Whether the task gets input as a whole at its start."""
    size_name: str | None = None
    recording: str | None = None
    """The id under which its output is recorded, as that of a session; None if it is not recorded."""

    @property
    def order(self) -> RunOrder:
        """The order by which a runner starts it."""
        return RunOrder(
            self.target,
            self.command,
            self.timeout_s,
            self.lock,
            self.has_whole_input,
            self.size_name,
        )

    @property
    def is_over(self) -> bool:
        """Return whether the run has ended."""
        return self.ended_at is not None

    def with_end(self, end: RunEnd, size: int) -> "Run":
        """Return the run as it ended, with `size` bytes of output."""
        return replace(
            self,
            state=end.state,
            code=end.code,
            ended_at=end.ended_at,
            detail=end.detail,
            size=size,
        )


@dataclass(frozen=True, slots=True)
class Output:
    """A piece of a task's output, which begins at byte `start` of the whole output."""

    start: int
    data: bytes
    is_error: bool = False
    """Whether the task wrote it to its standard error."""
    at: float | None = None
    """When it was written, in seconds since the epoch, or None if unknown."""

    @property
    def end(self) -> int:
        """The offset after its last byte."""
        return self.start + len(self.data)


def join_streams(pieces: Iterable[Output]) -> list[Output]:
    """Join consecutive pieces of the same stream."""
    streams = (list(stream) for _, stream in groupby(pieces, lambda piece: piece.is_error))
    return [replace(stream[0], data=b"".join(piece.data for piece in stream)) for stream in streams]


def is_run_id(text: str) -> bool:
    """Return True if `text` may be a run's id or the beginning of one."""
    return _ID.fullmatch(text) is not None


def check_order(order: RunOrder) -> str | None:
    """Return why an order can never be executed, or None."""
    try:
        size = len(order.command.encode())
    except UnicodeEncodeError:
        return "the command is not UTF-8"
    if not order.command.strip():
        return "there is no command; write it after --: run APP -- COMMAND"
    if size > MAX_COMMAND_BYTES:
        return (
            f"the command has {size} bytes, and the limit is {MAX_COMMAND_BYTES}; pipe a longer script into "
            "its shell: run APP -- sh <FILE"
        )
    if "\0" in order.command:
        return "the command has a NUL, which no argument of a program may contain"
    if not 1 <= order.timeout_s <= MAX_TIMEOUT_S:
        return f"a run lasts from 1 s to {MAX_TIMEOUT_S // HOUR_S} h; give --timeout a time between them"
    if order.lock is not None and not is_lock(order.lock):
        return (
            f"a lock's name has letters, digits, '.', '_' and '-', at most {MAX_LOCK_CHARS} of them, and "
            "begins with a letter or digit"
        )
    if order.size is not None and not is_lock(order.size):
        return (
            "--size does not name a size: such a name has letters, digits, '.', '_' and '-', at most "
            f"{MAX_LOCK_CHARS} characters, and begins with a letter or digit; ask an administrator for the "
            "sizes"
        )
    return None


def explain_refusal(order: RunOrder, starter: str, others: Iterable[Run]) -> str | None:
    """Return why a run cannot start beside the unfinished `others`, or None."""
    of_app = of_person = 0
    for run in others:
        if run.target == order.target:
            of_app += 1
            if order.lock is not None and run.lock == order.lock:
                return (
                    f"run {run.id} of {run.starter} has the lock {order.lock} of {order.target.login_name}; "
                    f"wait for it: run wait {run.id}"
                )
        of_person += run.starter == starter
    if of_app >= PER_APP:
        name = order.target.login_name
        return f"{name} has {of_app} runs, and the limit is {PER_APP}; wait for one of them: run list {name}"
    if of_person >= PER_PERSON:
        return f"you have {of_person} runs, and the limit is {PER_PERSON}; wait for one of them: run list"
    return None


def judge_loss(run: Run, now: float) -> RunEnd | None:
    """Return the end of a run that counts as lost at `now` because its runner reported no end, else None."""
    if run.is_over:
        return None
    age_s = now - run.started_at
    if run.state is RunState.WAITING:
        return end_without_input(now) if age_s >= INPUT_WITHIN_S else None
    if run.state is RunState.STARTING and age_s >= START_WITHIN_S:
        why = "the gateway was lost while it started the task"
    elif age_s >= run.timeout_s + OVERDUE_S:
        why = "its machine has not reported an end"
    else:
        return None
    return RunEnd(RunState.LOST, LOST_CODE, now, why)


def end_without_input(now: float, why: str = "its client was lost") -> RunEnd:
    """Return the end of a run that was never started because its input is incomplete."""
    return RunEnd(RunState.INPUT_LOST, INPUT_OUTPUT_CODE, now, f"it was not started: {why}")
