"""A login from open to close, as the values that each step of the flow passes to the next.

Only its own step makes a value. Each value but the last contains the one before it, so no step can be called
before the earlier ones: `Identity` → `Grant` → `ReadyShell` → `OpenedSession` → the relay → `SessionResult`.
"""

from enum import StrEnum

from msgspec import Struct

from stagedoor.model.grant import Grant
from stagedoor.model.shell import Shell
from stagedoor.model.source import Source
from stagedoor.model.trace import TraceContext


class AccessMethod(StrEnum):
    """The ways to open a session."""

    CONNECT = "connect"
    JUMP = "jump"
    DIRECT = "direct"
    WEB = "web"


class LoginOrigin(Struct, frozen=True):
    """The origin of an attempt: its access method, source address and trace.

    `trace_context` is None if the client sent none and none has begun.
    """

    access_method: AccessMethod
    source: Source
    trace_context: TraceContext | None = None


class EndReason(StrEnum):
    """The reasons why a session ended."""

    CLOSED = "closed"
    """Both directions were closed normally (FIN)."""
    DOWNSTREAM_RESET = "downstream_reset"
    UPSTREAM_RESET = "upstream_reset"
    DOWNSTREAM_LOST = "downstream_lost"
    """The developer's side disappeared: it did not acknowledge keepalives or data."""
    UPSTREAM_LOST = "upstream_lost"
    IDLE = "idle"
    REVOKED = "revoked"
    EXPIRED = "expired"
    EVICTED = "evicted"
    """An administrator closed it."""
    DRAINED = "drained"
    """The gateway stopped, and its drain time ran out."""
    UNREACHED = "unreached"
    """The audit recorded the session as opened, but the shell was unreachable or the developer had left."""
    UNRECORDED = "unrecorded"
    """The recording failed, and the settings allow no session without it."""
    FAULT = "fault"
    """A bug in the gateway ended it; the log has the traceback."""
    LOST = "lost"
    """The gateway died; the next start closed the session."""


HUNG_UP = "the developer's side hung up"
STOPPED = "the gateway stopped"
STOPPING = "the gateway is stopping"
CONNECT_AGAIN = "the gateway is stopping or was reloaded; connect again"
"""The refusal of a draining gateway. A new connection reaches the next worker or another gateway."""


def explain_cancellation(error: BaseException) -> str:
    """Return why a login was cancelled: the message of its CancelledError. Without one the client left."""
    return str(error) or HUNG_UP


class ReadyShell(Struct, frozen=True):
    """The shell of a grant, which is running. Made by the flow only."""

    grant: Grant
    shell: Shell
    trace_number: int = 0
    """The trace's id as a number, half the size of its text; 0 if there is none. For the log only."""

    @property
    def trace_id(self) -> str:
        """Return the trace's id in hexadecimal, or an empty string if there is none."""
        return f"{self.trace_number:032x}" if self.trace_number else ""


class Counts(Struct, frozen=True):
    """Bytes relayed: `sent` from downstream to upstream, `received` the other way."""

    sent: int = 0
    received: int = 0


ZERO_COUNTS = Counts()


class StoredSession(Struct, frozen=True):
    """A session in the store, with the process that holds it (`instance`) and its client's `source`.

    `closed_at` and `end` are None while it is open.
    """

    identity: str
    target: str
    access_method: str
    opened_at: float
    counts: Counts
    instance: str
    source: str
    closed_at: float | None
    end: str | None


class OpenedSession(Struct, frozen=True):
    """A session that the audit durably records. Made by `audit` only.

    A session that continues over another connection has the bytes that it has moved `before`, and
    `continues`, its state in the store until then.
    """

    id: str
    at: float
    access_method: AccessMethod
    source: Source
    ready: ReadyShell
    before: Counts = ZERO_COUNTS
    continues: StoredSession | None = None


class ResumedSession(Struct, frozen=True):
    """A session that continues, with its id and the bytes that it has moved (None: see the store).

    Its client has come back after `away_s` seconds, or is away and another worker adopts the session
    (`is_adopted`).
    """

    id: str
    counts: Counts | None = ZERO_COUNTS
    away_s: float = 0.0
    is_adopted: bool = False


class SessionResult(Struct, frozen=True):
    """How a session ended. `detail` is one line for the user, and may be empty."""

    end: EndReason
    counts: Counts = Counts()
    detail: str = ""
