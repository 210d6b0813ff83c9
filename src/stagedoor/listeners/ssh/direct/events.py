"""The events of a direct login. Its channels and its sessions have numbers."""

from dataclasses import dataclass

from stagedoor.model.permission import Permissions
from stagedoor.model.session import End
from stagedoor.model.shell import StartStep
from stagedoor.recording.channel_audit import ChannelRequest, Exit

PROHIBITED = 1
"""SSH_OPEN_ADMINISTRATIVELY_PROHIBITED, the failure code of a channel that is not granted (RFC 4254 §5.1)."""


# Events from the developer.


@dataclass(frozen=True, slots=True)
class ProgramRequest:
    """The request for a program in the shell, on an open session channel."""

    channel: int
    request: ChannelRequest


@dataclass(frozen=True, slots=True)
class ForwardRequest:
    """The request to open a channel to a port of the shell's loopback."""

    channel: int
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """The request to forward the developer's agent into the shell."""

    channel: int


Request = ProgramRequest | ForwardRequest | AgentRequest


@dataclass(frozen=True, slots=True)
class ChannelClosed:
    """The end of a developer's channel, by either side or with the connection, which may be lost."""

    channel: int
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The interrupt key (Ctrl-C) at a terminal whose login waits for a person."""

    channel: int


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """The end of the developer's connection. Open channels were closed before."""


# Events from the flow and the listener.


@dataclass(frozen=True, slots=True)
class StartReport:
    """A step of entering the shell."""

    step: StartStep


@dataclass(frozen=True, slots=True)
class WaitTimeout:
    """The news that entering the shell takes so long that the developer should see why."""

    session: int


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """The beginning of a session: the gateway is logged in to the shell.

    `granted` are the permissions in the certificate for the shell, `current` those by the policy now.
    """

    session: int
    granted: Permissions
    current: Permissions


@dataclass(frozen=True, slots=True)
class SessionRefused:
    """A refusal, or a failure to enter the shell; `why` is one line. Ignored if the session had begun."""

    session: int
    why: str


@dataclass(frozen=True, slots=True)
class PermissionChange:
    """A change of the permissions by the policy."""

    session: int
    current: Permissions


@dataclass(frozen=True, slots=True)
class EndNotice:
    """The news that the session's access ends soon; `line` is for the terminals."""

    session: int
    line: str


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The end of a session, or of the current one if `session` is None.

    It ends by the gateway, which shows the reason, or because the shell hung up.
    """

    session: int | None
    end: End
    detail: str
    by_gateway: bool


@dataclass(frozen=True, slots=True)
class GatewayDrains:
    """The news that the gateway accepts no new channels; `line` is for the terminals."""

    line: str


# Events from the shell.


@dataclass(frozen=True, slots=True)
class ShellStarted:
    """The success of a `StartChannel`."""

    channel: int


@dataclass(frozen=True, slots=True)
class ShellFailed:
    """The failure of a `StartChannel`; `code` is for a forward (RFC 4254 §5.1)."""

    channel: int
    why: str
    code: int = PROHIBITED


@dataclass(frozen=True, slots=True)
class ShellChannelClosed:
    """The end of the shell's channel. `why` is a line for the developer if it was not in order."""

    channel: int
    exit: Exit = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Drained:
    """The news that the developer has received all of the shell's bytes."""

    channel: int


ChannelEvent = (
    ShellStarted | ShellFailed | ShellChannelClosed | Drained | ChannelClosed | Interrupted
)
SessionEvent = (
    StartReport
    | WaitTimeout
    | SessionStarted
    | SessionRefused
    | PermissionChange
    | EndNotice
    | SessionEnded
)
Event = Request | SessionEvent | ChannelEvent | GatewayDrains | ConnectionClosed
