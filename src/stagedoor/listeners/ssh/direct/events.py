"""The events of a direct login. Channels and sessions are identified by numbers."""

from dataclasses import dataclass

from stagedoor.model.permission import Permissions
from stagedoor.model.session import HUNG_UP, EndReason
from stagedoor.model.shell import ProgressStep
from stagedoor.recording.channel_audit import ChannelRequest, ProgramExit

PROHIBITED = 1
"""SSH_OPEN_ADMINISTRATIVELY_PROHIBITED, the failure code for a channel that is not granted (RFC 4254
§5.1)."""


# Events from the developer.


@dataclass(frozen=True, slots=True)
class ProgramRequest:
    """The request for a program in the shell, on an open session channel."""

    channel_number: int
    program: ChannelRequest


@dataclass(frozen=True, slots=True)
class ForwardRequest:
    """The request to open a channel to a port of the shell's loopback."""

    channel_number: int
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """The request to forward the developer's agent into the shell."""

    channel_number: int


Request = ProgramRequest | ForwardRequest | AgentRequest


@dataclass(frozen=True, slots=True)
class ChannelClosed:
    """The end of a developer's channel. `is_lost` is whether it ended because the connection broke."""

    channel_number: int
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The interrupt key (Ctrl-C) at a terminal whose login waits for a person."""

    channel_number: int


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """The end of the developer's connection, reported after its channels are closed."""

    why: str = HUNG_UP


# Events from the flow and the listener.


@dataclass(frozen=True, slots=True)
class StartReport:
    """A step of entering the shell."""

    step: ProgressStep


@dataclass(frozen=True, slots=True)
class WaitTimeout:
    """The end of the time after which the developer is shown what the login waits for."""

    session_number: int


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """The beginning of a session: the gateway is logged in to the shell.

    `granted` are the permissions in the certificate for the shell, `current` those by the policy now.
    """

    session_number: int
    granted: Permissions
    current: Permissions


@dataclass(frozen=True, slots=True)
class EntryEnded:
    """The end of the task that entered the shell and ran the session.

    `why` is one line for the requests that still wait. It does not count once the session has begun.
    """

    session_number: int
    why: str


@dataclass(frozen=True, slots=True)
class PermissionChange:
    """A change of the policy that changes the session's permissions."""

    session_number: int
    current: Permissions


@dataclass(frozen=True, slots=True)
class EndNotice:
    """A notice that the session's access ends soon; `line` is for the terminals."""

    session_number: int
    line: str


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The end of a session, or of the current one if `session_number` is None.

    Either the gateway ends it and shows the reason, or the shell has hung up.
    """

    session_number: int | None
    end: EndReason
    detail: str
    by_gateway: bool


@dataclass(frozen=True, slots=True)
class GatewayDrains:
    """A notice that the gateway accepts no new channels; `line` is for the terminals."""

    line: str


# Events from the shell.


@dataclass(frozen=True, slots=True)
class ChannelStarted:
    """The success of a `StartChannel`."""

    channel_number: int


@dataclass(frozen=True, slots=True)
class ChannelStartFailed:
    """The failure of a `StartChannel`; `code` is for a forward (RFC 4254 §5.1)."""

    channel_number: int
    why: str
    code: int = PROHIBITED


@dataclass(frozen=True, slots=True)
class ShellChannelClosed:
    """The end of the shell's channel. `why` is a line for the developer after an irregular end."""

    channel_number: int
    exit: ProgramExit = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Drained:
    """A notice that the developer has received all of the shell's bytes."""

    channel_number: int


ChannelEvent = (
    ChannelStarted | ChannelStartFailed | ShellChannelClosed | Drained | ChannelClosed | Interrupted
)
SessionEvent = (
    StartReport
    | WaitTimeout
    | SessionStarted
    | EntryEnded
    | PermissionChange
    | EndNotice
    | SessionEnded
)
Event = Request | SessionEvent | ChannelEvent | GatewayDrains | ConnectionClosed
