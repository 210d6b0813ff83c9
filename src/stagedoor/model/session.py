"""One login from open to close, as the proofs that each step of the flow hands to the next.

Each proof holds the one before it, so a step cannot be called without all that comes before:
`Identity` → `Grant` → `Ready` → `Opened` → the relay → `Ended`.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from stagedoor.model.grant import Grant
from stagedoor.model.shell import Shell
from stagedoor.model.source import Source
from stagedoor.model.trace import TraceContext


class AccessMethod(StrEnum):
    """The access method: which listener a session came through."""

    CONNECT = "connect"
    JUMP = "jump"
    DIRECT = "direct"
    WEB = "web"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where somebody comes from: the access method and the source address; and the trace to which the attempt
    belongs, None where its client names none and none has begun."""

    way: AccessMethod
    source: Source
    trace: TraceContext | None = None


class End(StrEnum):
    """Why a session ended."""

    CLOSED = "closed"
    """Both directions ended in order."""
    DOWNSTREAM_RESET = "downstream_reset"
    UPSTREAM_RESET = "upstream_reset"
    DOWNSTREAM_LOST = "downstream_lost"
    """The developer's side vanished: keepalives or data went unacknowledged."""
    UPSTREAM_LOST = "upstream_lost"
    IDLE = "idle"
    REVOKED = "revoked"
    EXPIRED = "expired"
    EVICTED = "evicted"
    """An administrator closed it."""
    DRAINED = "drained"
    """The gateway stopped and its drain time ran out."""
    UNREACHED = "unreached"
    """It was opened in the audit, but the shell could not be reached or the developer had gone."""
    UNRECORDED = "unrecorded"
    """It could not be recorded any more, and the settings let nobody go on without."""
    FAULT = "fault"
    """A fault of the gateway's own ended it; the log has the traceback."""
    LOST = "lost"
    """The gateway died; found and closed at the next start."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The proof that a shell was ensured for a grant. Made by the flow from `ensure` only."""

    grant: Grant
    shell: Shell
    trace_id: str = field(default="", compare=False)
    """For the log alone: nothing is decided by it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The proof that the session is durable in the audit. Made by `audit` only."""

    id: str
    at: float
    way: AccessMethod
    source: Source
    ready: Ready


@dataclass(frozen=True, slots=True)
class Counts:
    """Bytes relayed: `sent` from downstream to upstream, `received` the other way."""

    sent: int = 0
    received: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """What the relay says when it is over; `detail` is one line for the person, may be empty."""

    end: End
    counts: Counts = Counts()
    detail: str = ""
