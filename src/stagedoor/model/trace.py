"""The trace of one login: to which it belongs (W3C Trace Context), and its steps with their times."""

from dataclasses import dataclass

from stagedoor.model.source import Source


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Ids in lower-case hex: 32 digits of the trace, 16 of the caller's span, "" where no caller named one.

    https://www.w3.org/TR/trace-context/#traceparent-header
    """

    trace_id: str
    span_id: str = ""
    sampled: bool = True


@dataclass(frozen=True, slots=True)
class LoginStep:
    """Seconds since the epoch. `of` names the step that it is a part of, "" for none."""

    name: str
    began: float
    ended: float
    of: str = ""


@dataclass(frozen=True, slots=True)
class LoginTrace:
    """One attempt, from its request to the shell's stream or to the refusal.

    `outcome` is `opened`, `cancelled`, `fault` or the reason of a denial; `identity`, `target` and `session`
    are "" where the attempt did not come so far.
    """

    context: TraceContext
    way: str
    source: Source
    began: float
    ended: float
    outcome: str
    identity: str = ""
    target: str = ""
    session: str = ""
    steps: tuple[LoginStep, ...] = ()
