"""The channels of one SSH connection: each goes to a jump, to the page, or to direct login."""

from collections.abc import Awaitable
from functools import partial

import asyncssh

from stagedoor.listeners.ssh.authentication import SshAuthentication
from stagedoor.listeners.ssh.connection import ClientConnection
from stagedoor.listeners.ssh.context import ListenerContext
from stagedoor.listeners.ssh.credentials import VerifiedCredential
from stagedoor.listeners.ssh.direct.driver import DirectDriver
from stagedoor.listeners.ssh.direct.events import ConnectionClosed, GatewayDrains, SessionEnded
from stagedoor.listeners.ssh.jump.jumps import Jumps, PendingAnswer, make_channel_error
from stagedoor.listeners.ssh.login import SshLogin
from stagedoor.listeners.ssh.page import AppPage, PageSession
from stagedoor.model.certificate import ALL_EXTENSIONS
from stagedoor.model.denial import Denial
from stagedoor.model.session import CONNECT_AGAIN, HUNG_UP, EndReason
from stagedoor.model.source import Source
from stagedoor.model.target import SSH_PORT, Target
from stagedoor.wire.target import parse_login, parse_target


class ChannelRouter(asyncssh.SSHServer):
    """The server of one client's channels, created with its connection."""

    def __init__(
        self,
        context: ListenerContext,
        source: Source,
        connection: ClientConnection,
    ) -> None:
        self.source = source
        self.connection = connection
        self.authentication = SshAuthentication(context, source, connection)
        self._context = context
        self._jumps = Jumps(context, source, connection)
        self._verified: VerifiedCredential | None = None
        self._login: SshLogin | None = None
        self._direct: DirectDriver | None = None
        """Set by a login with the name of an app."""
        self._is_draining = False

    # For asyncssh, until the login is complete.

    def public_key_auth_supported(self) -> bool:
        """Offer keys, unless only a sign-in is left."""
        return not self.authentication.has_only_sign_in_left

    def password_auth_supported(self) -> bool:
        """Offer passwords, unless only a sign-in is left. The options can disable them altogether."""
        return not self.authentication.has_only_sign_in_left

    async def validate_password(self, username: str, password: str) -> bool:
        """Return whether a password logs the user in."""
        return await self.authentication.check_password(username, password)

    def auth_completed(self) -> None:
        """Begin the login of the identity that was verified."""
        self._verified = verified = self.authentication.take_verified_credential()
        key, identity, connection = verified.key, verified.identity, self.connection
        login_name = verified.login_name
        here, port = connection.get_extra_info("sockname", ("gateway", SSH_PORT))[:2]
        # A key with a sign-in is not restricted by its certificate here; the grants decide.
        restricted = key if not identity.sign_in else None
        permitted_extensions = restricted.permitted_extensions if restricted else ALL_EXTENSIONS
        self._login = login = SshLogin(
            identity=identity,
            login_name=login_name,
            target=None if login_name == identity.name else parse_login(login_name),
            source=self.source,
            flow=self._context.flow,
            gateway_address=(str(here), int(port)),
            permitted_extensions=permitted_extensions,
            force_command=key.force_command if key else None,
            public_key=key.line if key else None,
            stop_agent=connection.stop_agent,
            hang_up=connection.hang_up,
        )
        if login.target is not None:
            self._direct = DirectDriver(self._context.direct, login)
        self._context.end_startup(self.connection)

    # For asyncssh, after the login.

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        """Open a session channel: of direct login, or of the page."""
        login = self._require_login(self.connection.channel_count + 1)
        if self._direct is not None:
            return self._direct.open_session()
        return PageSession(AppPage(login, self._context.page), self._context.report_fault)

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> Awaitable[asyncssh.SSHTCPSession[bytes]]:
        """Open a `direct-tcpip` channel: a jump, or a forward of direct login."""
        return PendingAnswer(partial(self._open_tcpip, dest_host, dest_port))

    async def _open_tcpip(self, dest_host: str, dest_port: int) -> asyncssh.SSHTCPSession[bytes]:
        # asyncssh has already counted this channel.
        login = self._require_login(self.connection.channel_count)
        target = parse_target(dest_host, str(dest_port))
        if self._direct is None:
            return await self._jumps.open(login, target)
        if isinstance(target, Target) and login.target is not None:
            raise make_channel_error(
                f"you came as {login.login_name}; to jump, come as {login.identity.name}: "
                f"{AppPage(login, self._context.page).make_jump_command(login.target)}"
            )
        return await self._direct.open_forward(dest_host, dest_port)

    def _require_login(self, channels: int) -> SshLogin:
        """Return the login if it may have this many channels, else raise `asyncssh.ChannelOpenError`."""
        assert self._login is not None, "no channel is opened before the login"
        if self._is_draining:
            raise make_channel_error(CONNECT_AGAIN)
        limit = self._context.settings.client_limits.max_channels
        if channels > limit:
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_RESOURCE_SHORTAGE,
                f"there are {limit} channels on this connection already",
            )
        return self._login

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything that the connection holds."""
        self._jumps.connection_lost(exc)
        self.authentication.record_refused_keys()
        if self._direct is not None:
            self._direct.post(ConnectionClosed(self.connection.close_reason or HUNG_UP))
        self._context.on_closed(self)

    # For the connection.

    def update_relays(self) -> None:
        """Pause or resume the jumps, because the client reads too slowly or keeps up again."""
        self._jumps.update_relays()

    async def may_use_agent(self) -> bool:
        """Return whether the agent that the client offers may be used."""
        if self._direct is None:
            return False
        try:
            return await self._direct.may_use_agent()
        except Exception as error:
            # asyncssh would close the connection without a message or a log line.
            self._context.report_fault(error)
            return False

    # For the listener.

    @property
    def entering_count(self) -> int:
        """Return the number of channels between the request and the answer."""
        is_entering = self._direct is not None and self._direct.is_entering
        return self._jumps.entering_count + is_entering

    def review(self) -> None:
        """Hang up if the login is no longer allowed, or the gateway drains and no channel is open."""
        if self._verified is None or self.connection.is_leaving:
            return
        denial = self._context.flow.check_still_valid(
            self._verified.credential, self._verified.identity
        )
        if denial is not None:
            self._revoke(denial)
        elif self._is_draining and not self.connection.channel_count:
            self.connection.hang_up(CONNECT_AGAIN)

    def _revoke(self, denial: Denial) -> None:
        """Close the connection with all its channels, because of `denial`."""
        if self._direct is not None:
            self._direct.post(SessionEnded(None, EndReason.REVOKED, denial.line, by_gateway=True))
        self.connection.hang_up(denial.line)
        self._jumps.revoke(denial.line)

    def drain(self, line: str) -> None:
        """Accept no new channels. Hang up if none is open, or else show `line` in the terminals.

        A client that has not logged in yet is refused by its first channel, or by `review`.
        """
        self._is_draining = True
        if self._login is None:
            return
        if not self.connection.channel_count:
            self.connection.hang_up(CONNECT_AGAIN)
        elif self._direct is not None:
            self._direct.post(GatewayDrains(line))
