"""The trace of one login: its steps, and how long each took."""

import secrets
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from stagedoor.model.session import Origin
from stagedoor.model.shell import Progress, StartStep
from stagedoor.model.trace import LoginStep, LoginTrace, TraceContext

OPENED, CANCELLED, FAULT = "opened", "cancelled", "fault"
SHELL = "shell"
MAX_STEPS = 32
"""The most steps of a shell's start that a trace has: a start may repeat steps without end."""
OnTrace = Callable[[LoginTrace], None]
"""Called once at the end of each attempt; must not block."""


def new_trace() -> TraceContext:
    """Return a new trace, for a caller that has begun none."""
    return TraceContext(secrets.token_hex(16))


class LoginAttempt:
    """An attempt to log in, whose `origin` has a trace: the caller's or a new one.

    `identity`, `target`, `session` and `outcome` are empty until the flow knows them and sets them.
    """

    def __init__(
        self, origin: Origin, now: Callable[[], float], new: Callable[[], TraceContext] = new_trace
    ) -> None:
        """`now` gives seconds since the epoch."""
        self.context = origin.trace or new()
        self.origin = replace(origin, trace=self.context)
        self.identity = self.target = self.session = self.outcome = ""
        self._now = now
        self._began = now()
        self._steps: list[LoginStep] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Record the block as one step of the trace."""
        began = self._now()
        try:
            yield
        finally:
            self._steps.append(LoginStep(name, began, self._now()))

    @contextmanager
    def start(self, progress: Progress) -> Iterator[Progress]:
        """Record the block as the step that waits for the shell.

        Yields a progress callback that records each step of the shell's start and passes it on to
        `progress`.
        """
        begun: list[tuple[str, float]] = []

        def note(step: StartStep) -> None:
            if (not begun or begun[-1][0] != step.name) and len(begun) < MAX_STEPS:
                begun.append((step.name, self._now()))
            progress(step)

        with self.step(SHELL):
            try:
                yield note
            finally:
                ends = [*(began for _, began in begun[1:]), self._now()]
                self._steps += [
                    LoginStep(name, began, ended, of=SHELL)
                    for (name, began), ended in zip(begun, ends, strict=False)
                ]

    @contextmanager
    def report_to(self, on_trace: OnTrace) -> Iterator[None]:
        """Call `on_trace` with the trace when the block ends, in whatever way."""
        try:
            yield
        except BaseException as error:
            self.outcome = CANCELLED if isinstance(error, CancelledError) else FAULT
            raise
        finally:
            on_trace(self.trace())

    def trace(self) -> LoginTrace:
        """Return the trace of the steps so far."""
        return LoginTrace(
            self.context,
            self.origin.way,
            self.origin.source,
            self._began,
            self._now(),
            self.outcome,
            self.identity,
            self.target,
            self.session,
            tuple(self._steps),
        )


def no_trace(trace: LoginTrace) -> None:
    """Discard a trace."""
