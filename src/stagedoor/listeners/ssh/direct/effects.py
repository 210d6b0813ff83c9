"""The effects that `login.DirectLogin` returns, and `driver.DirectDriver` performs."""

from dataclasses import dataclass

from stagedoor.listeners.ssh.direct.events import PROHIBITED, ForwardRequest, ProgramRequest
from stagedoor.model.permission import Permission
from stagedoor.model.session import EndReason
from stagedoor.recording.channel_audit import ProgramExit


@dataclass(frozen=True, slots=True)
class EnterShell:
    """Run the flow and log in to the shell; report `SessionStarted` or `EntryEnded`.

    `may_wait` is whether the login may wait for a person to act: only a program can show its user how.
    """

    session_number: int
    may_wait: bool = True


@dataclass(frozen=True, slots=True)
class StopEntry:
    """Stop entering the shell. `why` is for the audit."""

    session_number: int
    why: str


@dataclass(frozen=True, slots=True)
class StartChannel:
    """Audit a channel and start in the shell what it requests.

    Report `ChannelStarted` or `ChannelStartFailed`. `with_agent` permits a program to use the client's
    agent, if it has one.
    """

    session_number: int
    request: ProgramRequest | ForwardRequest
    with_agent: bool


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """Answer the request for a forward or the agent; `refusal` is None if it is accepted.

    `lacks` is the permission that the user does not have, and may be able to ask for.
    """

    channel_number: int
    refusal: str | None = None
    code: int = PROHIBITED
    lacks: Permission | None = None


@dataclass(frozen=True, slots=True)
class ConnectChannel:
    """Pass the waiting bytes and all later ones between both ends."""

    channel_number: int


@dataclass(frozen=True, slots=True)
class SendLine:
    """Show a line on the stderr of a session channel."""

    channel_number: int
    line: str


@dataclass(frozen=True, slots=True)
class DrainChannel:
    """Report `Drained` once the developer has received all of the shell's bytes."""

    channel_number: int


@dataclass(frozen=True, slots=True)
class CloseChannel:
    """Send the developer an exit status or signal (RFC 4254 §6.10), if any, and close the channel."""

    channel_number: int
    exit: ProgramExit


@dataclass(frozen=True, slots=True)
class ReleaseChannel:
    """Close both ends of a channel, and end its audit."""

    channel_number: int


@dataclass(frozen=True, slots=True)
class StopAgent:
    """Withdraw the developer's agent from the shell, and close the connections to it."""

    session_number: int


@dataclass(frozen=True, slots=True)
class EndSession:
    """Close the connection to the shell, and end the session in the flow like this."""

    session_number: int
    end: EndReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Close the developer's connection with a line that ssh prints."""

    line: str


ChannelEffect = ConnectChannel | SendLine | DrainChannel | CloseChannel | ReleaseChannel
SessionEffect = EnterShell | StopEntry | StartChannel | StopAgent | EndSession
Effect = SessionEffect | ChannelEffect | AnswerRequest | CloseConnection
