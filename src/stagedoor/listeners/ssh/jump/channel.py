"""One jump channel: a `direct-tcpip` channel into a shell (RFC 4254 §5.1 and §7.2)."""

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol

import asyncssh

from stagedoor.listeners.ssh.jump import relay
from stagedoor.listeners.ssh.jump.relay import ChannelRelay
from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity
from stagedoor.model.session import Origin
from stagedoor.model.shell import StartStep
from stagedoor.model.target import Target
from stagedoor.session.flow import Flow
from stagedoor.wire.ssh.preface import SshPreface


class JumpConnection(relay.RelayOwner, Protocol):
    """The connection of the channel."""

    @property
    def gone(self) -> bool:
        """Return whether the connection is closed, or is being closed."""
        ...

    def channel_began(self, relay: ChannelRelay) -> None:
        """Add a relay that has begun."""
        ...

    def send_debug_line(self, line: str) -> None:
        """Send a line that `ssh -v` shows."""
        ...


async def open_jump(
    flow: Flow,
    connection: JumpConnection,
    identity: Identity,
    target: Target,
    origin: Origin,
    idle_timeout_s: float | None,
) -> ChannelRelay:
    """Enter `target`, and return the relay for asyncssh's channel.

    Raises `asyncssh.ChannelOpenError` with the line that OpenSSH prints.
    """

    def progress(step: StartStep) -> None:
        # A channel that is not open yet carries no text, and a banner (RFC 4252 §5.4) belongs before
        # the login, when the client has not named a target. What is left is a debug message (RFC 4253
        # §11.3), which OpenSSH shows only with -v, and passes on to the ssh of its -J.
        if not connection.gone:
            detail = f": {step.detail}" if step.detail else ""
            connection.send_debug_line(f"stagedoor: {step.name}{detail}")

    entered = await flow.enter(identity, target, origin, progress)
    if isinstance(entered, Denial):
        # Nothing can be shown during a wait (see above), so a step-up does not wait here.
        raise refused(entered.line)
    try:
        with entered.carry() as hand_over:
            if connection.gone:
                raise ConnectionResetError
            preface = SshPreface(entered.grant.target.shell_name)
            channel = ChannelRelay(
                connection, entered.stream, entered.leave, idle_timeout_s, preface
            )
            connection.channel_began(channel)
            hand_over(channel)
    except ConnectionResetError:
        raise refused("the developer's side hung up") from None
    return channel


def refused(message: str) -> asyncssh.ChannelOpenError:
    """Return the error that OpenSSH prints as `open failed: administratively prohibited: MESSAGE`."""
    return asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, message)


class PendingAnswer:
    """An answer that begins once it is awaited.

    asyncssh awaits an answer in a task, and drops it if the client hangs up before the task begins. If
    the answer were a coroutine, Python would log a warning that it was never awaited.
    """

    __slots__ = ("_begin",)

    def __init__(
        self, begin: Callable[[], Coroutine[Any, Any, asyncssh.SSHTCPSession[bytes]]]
    ) -> None:
        self._begin = begin

    def __await__(self) -> Generator[Any, None, asyncssh.SSHTCPSession[bytes]]:
        return self._begin().__await__()
