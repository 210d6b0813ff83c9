"""The trace of a login (W3C Trace Context), and its steps with their times."""

from msgspec import Struct

from stagedoor.model.source import Source


class TraceContext(Struct, frozen=True):
    """The ids of a trace, in lower-case hex: 32 digits for the trace, 16 for the caller's span.

    `span_id` is "" if no caller named a span. https://www.w3.org/TR/trace-context/#traceparent-header
    """

    trace_id: str
    span_id: str = ""
    sampled: bool = True


class LoginStep(Struct, frozen=True):
    """A step of a login. Times are seconds since the epoch; `of` names the enclosing step, "" for none."""

    name: str
    began: float
    ended: float
    of: str = ""


class LoginTrace(Struct, frozen=True):
    """One attempt, from its request to the shell's stream or to the refusal.

    `outcome` is `opened`, `cancelled`, `fault` or the reason of a denial. `identity`, `target` and
    `session` are "" if the attempt ended before they were known.
    """

    context: TraceContext
    access_method: str
    source: Source
    began: float
    ended: float
    outcome: str
    identity: str = ""
    target: str = ""
    session: str = ""
    steps: tuple[LoginStep, ...] = ()
