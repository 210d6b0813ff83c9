"""The jumps of one connection: `direct-tcpip` channels into shells (RFC 4254 §5.1 and §7.2)."""

from collections.abc import Callable, Coroutine, Generator
from typing import Any

import asyncssh

from stagedoor.listeners.ssh.bounds import BoundedConnection
from stagedoor.listeners.ssh.context import ListenerContext
from stagedoor.listeners.ssh.jump.relay import ChannelRelay
from stagedoor.listeners.ssh.login import SshLogin
from stagedoor.model.certificate import PORT_FORWARDING
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.session import HUNG_UP, AccessMethod, EndReason, LoginOrigin
from stagedoor.model.shell import ProgressStep
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.session.person_wait import PERSON_STEPS
from stagedoor.wire.ssh.preface import SshPreface


class Jumps:
    """The jumps of one connection. `entering_count` counts the requests that are not answered yet."""

    def __init__(
        self, context: ListenerContext, source: Source, connection: BoundedConnection
    ) -> None:
        self.entering_count = 0
        self._context = context
        self._origin = LoginOrigin(AccessMethod.JUMP, source)
        self._connection = connection
        self._relays: set[ChannelRelay] = set()

    async def open(self, login: SshLogin, target: Target | Denial) -> ChannelRelay:
        """Enter `target`, and return the relay for asyncssh's channel.

        Raises `asyncssh.ChannelOpenError` with the line that OpenSSH prints.
        """
        flow = self._context.flow
        if isinstance(target, Denial):
            flow.record_denial(target, self._origin, login.identity)
            raise make_channel_error(target.message)
        if PORT_FORWARDING not in login.permitted_extensions:
            denial = Denial(
                Reason.NO_GRANT,
                "your certificate does not permit port forwarding, which a jump needs",
            )
            flow.record_denial(denial, self._origin, login.identity, target)
            raise make_channel_error(denial.line)
        self.entering_count += 1
        try:
            relay = await self._enter(login.identity, target)
        except asyncssh.ChannelOpenError:
            raise
        except Exception as error:
            self._context.report_fault(error)
            raise make_channel_error(Denial.of_fault().message) from None
        finally:
            self.entering_count -= 1
        if self._connection.is_closed():
            # The channel was closed while we entered the shell, so asyncssh will not notify the session.
            relay.connection_lost(asyncssh.ConnectionLost("gone"))
        return relay

    async def _enter(self, identity: Identity, target: Target) -> ChannelRelay:
        try:
            entered = await self._context.flow.enter(
                identity, target, self._origin, self._show_step
            )
            if isinstance(entered, Denial):
                # The user sees nothing during a wait (`_show_step`), so wait only for a request that is
                # already pending.
                raise make_channel_error(entered.line)
            with entered.transfer() as hand_over:
                if self._is_gone:
                    raise ConnectionResetError
                relay = ChannelRelay(
                    self._connection,
                    entered.stream,
                    entered,
                    self._relay_ended,
                    self._context.settings.idle_timeout_s,
                    SshPreface(entered.grant.target),
                )
                self._relays.add(relay)
                hand_over(relay)
        except ConnectionResetError:
            raise make_channel_error(HUNG_UP) from None
        return relay

    @property
    def _is_gone(self) -> bool:
        return self._connection.is_closed() or self._connection.is_leaving

    def _show_step(self, step: ProgressStep) -> None:
        # A channel that is not open yet carries no text, and a banner (RFC 4252 §5.4) must come before the
        # login, when the client has not named a target. A debug message is left (RFC 4253 §11.3), which
        # OpenSSH shows only with -v, and passes on to the ssh of its -J.
        if self._is_gone and step.name in PERSON_STEPS:
            raise ConnectionResetError  # the client is gone
        if not self._is_gone:
            self._connection.send_debug(f"stagedoor: {step.line}", always_display=True)

    def revoke(self, detail: str) -> None:
        """End all jumps of a login that is no longer allowed."""
        for relay in tuple(self._relays):
            relay.finish(EndReason.REVOKED, detail)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the jumps that are not open yet, because asyncssh will not notify them."""
        for relay in tuple(self._relays):
            if not relay.began:
                relay.connection_lost(exc or asyncssh.ConnectionLost("gone"))

    def update_relays(self) -> None:
        """Pause or resume all relays, because the client reads too slowly or keeps up again."""
        for relay in tuple(self._relays):
            relay.update()

    def _relay_ended(
        self, relay: ChannelRelay, channel: "asyncssh.SSHTCPChannel[bytes] | None", reason: str
    ) -> None:
        """Close the channel of a relay that has ended.

        SSH can give a `reason` only when a whole connection is closed, so the last channel closes that.
        """
        self._relays.discard(relay)
        if reason and not self._relays and self._connection.channel_count <= 1:
            self._connection.hang_up(reason)
        elif channel is not None:
            channel.abort()


def make_channel_error(message: str) -> asyncssh.ChannelOpenError:
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
