"""One attempt to get in, as its trace has it: which steps there were, and how long each took."""

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
"""Of a shell's start: it may come to the same step again and again."""
OnTrace = Callable[[LoginTrace], None]
"""Called once for each attempt that is over; must not block."""


def new_trace() -> TraceContext:
    """One that no caller has begun."""
    return TraceContext(secrets.token_hex(16))


class LoginAttempt:
    """`origin` has a trace, its caller's or a new one. `identity`, `target`, `session` and `outcome` are set
    as the attempt comes to know them."""

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
        began = self._now()
        try:
            yield
        finally:
            self._steps.append(LoginStep(name, began, self._now()))

    @contextmanager
    def start(self, progress: Progress) -> Iterator[Progress]:
        """The step that waits for the shell: what is yielded notes each step of its start, and tells
        `progress`."""
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
    def reported_to(self, on_trace: OnTrace) -> Iterator[None]:
        """Around the whole attempt: `on_trace` has it in the end, however that comes."""
        try:
            yield
        except BaseException as error:
            self.outcome = CANCELLED if isinstance(error, CancelledError) else FAULT
            raise
        finally:
            on_trace(self.trace())

    def trace(self) -> LoginTrace:
        """As far as it has come."""
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
    """Where traces go nowhere."""
