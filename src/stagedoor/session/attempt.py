"""The trace of one login, with its steps and how long each took."""

import random
from asyncio import CancelledError
from collections.abc import Callable
from types import TracebackType

from stagedoor.model.session import LoginOrigin
from stagedoor.model.shell import Progress, ProgressStep
from stagedoor.model.trace import LoginStep, LoginTrace, TraceContext

OPENED, CANCELLED, FAULT = "opened", "cancelled", "fault"
SHELL = "shell"
MAX_STEPS = 32
"""The most steps of a shell's start in a trace, since a start may repeat steps endlessly."""
OnTrace = Callable[[LoginTrace], None]
"""Called once at the end of each attempt; must not block."""


def begin_trace() -> TraceContext:
    """Return a new trace, for a caller that has none. Its id is not secret."""
    return TraceContext(f"{random.getrandbits(128):032x}")


class LoginAttempt:
    """An attempt to log in, whose `origin` has a trace: the caller's or a new one.

    It lasts as long as a `with` block; `on_trace` is called with the trace at the end, if it is not None.
    `identity`, `target`, `session` and `outcome` are empty until the flow sets them.
    """

    __slots__ = (
        "_began",
        "_now",
        "_on_trace",
        "_steps",
        "context",
        "identity",
        "origin",
        "outcome",
        "session",
        "target",
    )

    def __init__(
        self, origin: LoginOrigin, now: Callable[[], float], on_trace: OnTrace | None = None
    ) -> None:
        """`now` gives seconds since the epoch."""
        self.context = origin.trace_context or begin_trace()
        self.origin = LoginOrigin(origin.access_method, origin.source, self.context)
        self.identity = self.target = self.session = self.outcome = ""
        self._now = now
        self._on_trace = on_trace
        self._began = now()
        self._steps: list[tuple[str, float, str]] = []
        """The name of each step, its beginning, and the step of which it is a part, or ""."""

    def __enter__(self) -> "LoginAttempt":
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        if error is not None:
            self.outcome = CANCELLED if isinstance(error, CancelledError) else FAULT
        if self._on_trace is not None:
            self._on_trace(self.make_trace())

    def begin(self, step: str) -> None:
        """Begin a step, which ends when the next one begins or the attempt ends."""
        if self._on_trace is not None:
            self._steps.append((step, self._now(), ""))

    def begin_shell_step(self, progress: Progress) -> Progress:
        """Begin the step that waits for the shell.

        The result records each step of the shell's start, and passes it on to `progress`.
        """
        if self._on_trace is None:
            return progress
        self.begin(SHELL)
        steps = self._steps

        def record(step: ProgressStep) -> None:
            name, _, of = steps[-1]
            if (name != step.name or not of) and len(steps) < MAX_STEPS:
                steps.append((step.name, self._now(), SHELL))
            progress(step)

        return record

    def make_trace(self) -> LoginTrace:
        """Return the trace of the steps so far."""
        now = self._now()
        return LoginTrace(
            self.context,
            self.origin.access_method,
            self.origin.source,
            self._began,
            now,
            self.outcome,
            self.identity,
            self.target,
            self.session,
            tuple(self._ended_steps(now)),
        )

    def _ended_steps(self, now: float) -> list[LoginStep]:
        """Return the steps with their ends, each before its parts."""
        steps = []
        for number, (name, began, of) in enumerate(self._steps):
            later = self._steps[number + 1 :]
            ended = next((at for _, at, parent in later if of or not parent), now)
            steps.append(LoginStep(name, began, ended, of))
        return steps
