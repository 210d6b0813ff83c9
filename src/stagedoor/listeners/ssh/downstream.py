"""One SSH connection, from its authentication to its last channel."""

from collections.abc import Awaitable
from dataclasses import replace
from functools import partial

import asyncssh

from stagedoor.listeners.ssh.connection import Connection
from stagedoor.listeners.ssh.context import ListenerContext
from stagedoor.listeners.ssh.credentials import (
    VerifiedCredential,
    asked_person,
    read_shown,
    signed_by_owner,
)
from stagedoor.listeners.ssh.direct.driver import DirectDriver
from stagedoor.listeners.ssh.jump.channel import PendingAnswer, open_jump, refused
from stagedoor.listeners.ssh.jump.relay import ChannelRelay
from stagedoor.listeners.ssh.login import SshLogin
from stagedoor.listeners.ssh.page import Page, PageSession
from stagedoor.listeners.ssh.pending_key import PendingKey
from stagedoor.model.certificate import EVERYTHING, PORT_FORWARDING
from stagedoor.model.credential import Credential, PasswordCredential, TokenCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.session import AccessMethod, End, Origin
from stagedoor.model.source import Source
from stagedoor.model.target import SSH_PORT, Target
from stagedoor.wire.target import parse_login, parse_target

SHOWN_REASONS = 4
STOPPING = "the gateway is stopping or was reloaded; connect again"

_WHY_NOT_FOR_APPS = (
    "if the user name is an app's, a password does not say who you are; use an SSH key or a token"
)


class Downstream(asyncssh.SSHServer):
    """One developer's SSH connection: its authentication, and what its channels may do."""

    def __init__(self, context: ListenerContext, source: Source) -> None:
        self._context = context
        self.source = source
        self.congested = False
        self.connection: Connection
        """Set right after the constructor, because the two refer to each other."""
        self._proof: VerifiedCredential | None = None
        self._login: SshLogin | None = None
        self._direct: DirectDriver | None = None
        """Set after a login by the name of an app."""
        self._is_draining = False
        self._tries = 0
        self._explained_password = False
        self._held = PendingKey(context.page.sign_ins, context.holds, source)
        self._refused: list[str] = []
        """The reason for each refused key. They are recorded together if none is accepted."""
        self._relays: set[ChannelRelay] = set()
        self._entering = 0

    # Authentication.

    def begin_auth(self, username: str) -> bool:
        """Require a credential, whatever the name."""
        return True

    def public_key_auth_supported(self) -> bool:
        """Offer keys, unless only a sign-in is left."""
        return not self.asks_person

    def password_auth_supported(self) -> bool:
        """Offer passwords, unless only a sign-in is left. The options may disable them altogether."""
        return not self.asks_person

    async def check_key(self, name: str, blob: bytes, message: bytes, signature: bytes) -> bool:
        """Return whether a key may be used (`ConnectionOwner`)."""
        try:
            return await self._check_key(name, blob, message, signature)
        except (
            Exception
        ) as error:  # asyncssh would close the connection without a word or a log line
            self._context.report_fault(error)
            return False

    async def _check_key(self, name: str, blob: bytes, message: bytes, signature: bytes) -> bool:
        shown = read_shown(name, blob)
        if shown is None:
            return self._refuse("a key or certificate of a kind that is not taken, or damaged")
        verdict = await self._context.flow.authenticate(shown.credential, self.source)
        if isinstance(verdict, Denial):
            refusal = self._held.may_wait(shown, verdict, self.connection)
            if isinstance(refusal, Denial):
                return self._hang_up_if_down(refusal) or self._refuse(refusal.message)
        if not message:
            return True
        if not signed_by_owner(shown, message, signature):
            return self._refuse(
                f"the signature of {shown.credential.fingerprint} is wrong, or its key was not touched"
            )
        if isinstance(verdict, Denial):
            self._held.hold(shown, self.connection)
            return False
        if asked_person(signature):
            verdict = self._context.flow.present_now(verdict)
        self._proof = VerifiedCredential(verdict, name, shown.credential, shown)
        return True

    @property
    def asks_person(self) -> bool:
        """Return whether only the user's sign-in is left (`ConnectionOwner`)."""
        return self._held.asks_person

    async def sign_in(self, name: str) -> bool:
        """Wait for the user's sign-in (`ConnectionOwner`)."""
        try:
            return await self._sign_in(name)
        except Exception as error:  # as above
            self._context.report_fault(error)
            return False

    async def _sign_in(self, name: str) -> bool:
        shown = self._held.shown
        if shown is None or name != shown.credential.name:
            return False
        context = self._context
        context.on_login(self)  # the wait has its own limits, and takes no other connection's place
        denial = await self._held.wait(self.connection)
        verdict = denial or await context.flow.authenticate(shown.credential, self.source)
        if isinstance(verdict, Denial):
            self.connection.hang_up(verdict.line)
            return self._refuse(verdict.message)
        self._proof = VerifiedCredential(verdict, name, shown.credential, shown)
        return True

    def take_partial_success(self) -> bool:
        """Return True once after a refusal that must be sent as a partial success (`ConnectionOwner`)."""
        return self._held.take_partial_success()

    def _hang_up_if_down(self, denial: Denial) -> bool:
        """Hang up if no credential could succeed now, or ssh would print "Permission denied"."""
        if denial.reason in (Reason.AUDIT_UNAVAILABLE, Reason.UPSTREAM_TIMEOUT):
            self.connection.hang_up(denial.line)
        return False

    def _refuse(self, why: str) -> bool:
        if why not in self._refused:
            self._refused.append(why)
        return False

    async def validate_password(self, username: str, password: str) -> bool:
        """Return whether a password logs the user in."""
        try:
            return await self._check_password(username, password)
        except Exception as error:  # as above
            self._context.report_fault(error)
            return False

    async def _check_password(self, name: str, password: str) -> bool:
        """Check a password, or a token in its place. A token identifies its user by itself."""
        authenticate = self._context.flow.authenticate
        credential: Credential = PasswordCredential(name, password)
        verdict = await authenticate(credential, self.source)
        if isinstance(verdict, Denial) and parse_login(name) is not None:
            credential = TokenCredential(password)
            by_token = await authenticate(credential, self.source)
            verdict = verdict if isinstance(by_token, Denial) else by_token
        if isinstance(verdict, Denial):
            self._hang_up_if_down(verdict)
            if verdict.reason is Reason.CREDENTIAL_WRONG and parse_login(name) is not None:
                verdict = replace(verdict, message=f"{verdict.message}; {_WHY_NOT_FOR_APPS}")
                if not self._explained_password:
                    self._explained_password = True
                    self.connection.send_auth_banner(
                        f"stagedoor: wrong user name, password or token; {_WHY_NOT_FOR_APPS}\n"
                    )
            self._context.flow.deny(verdict, self._origin)
            return False
        self._proof = VerifiedCredential(verdict, name, credential)
        return True

    def count_failed_try(self) -> bool:
        """Count a failed try, and return whether it was the last one allowed (`ConnectionOwner`)."""
        self._tries += 1
        # All clients first try `none`, to get the list of methods (RFC 4252 §5.2).
        return self._tries > self._context.limits.max_auth_tries + 1

    def auth_completed(self) -> None:
        """Begin the login of the identity that was verified."""
        proof = self._proof
        assert proof is not None, "asyncssh accepts only credentials that we have verified"
        key = proof.key
        here, port = self.connection.get_extra_info("sockname", ("gateway", SSH_PORT))[:2]
        self._login = login = SshLogin(
            identity=proof.identity,
            login_name=proof.name,
            target=None if proof.name == proof.identity.name else parse_login(proof.name),
            source=self.source,
            flow=self._context.flow,
            address=(str(here), int(port)),
            # The certificate of a sign-in does not restrict its key here: the grants decide.
            permits=key.permits if key and not proof.identity.sign_in else EVERYTHING,
            force_command=key.force_command if key else None,
            public_key=key.line if key else None,
            stop_agent=self.connection.stop_agent,
            hang_up=self.connection.hang_up,
        )
        if login.target is not None:
            self._direct = DirectDriver(self._context.direct, login)
        self._refused.clear()
        self._context.on_login(self)

    def review(self) -> None:
        """Hang up if the login is no longer allowed, or the gateway drains and no channel is open."""
        if self._proof is None or self._login is None or self.connection.leaving:
            return
        denial = self._context.flow.still_holds(self._proof.credential, self._proof.identity)
        if denial is not None:
            self.leave(denial)
        elif self._is_draining and not self.connection.channel_count:
            self.connection.hang_up(STOPPING)

    # Channels.

    def _page(self, login: SshLogin) -> Page:
        return Page(login, self._context.page)

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        """Open a session channel: of direct login, or of the page."""
        login = self._admit(self.connection.channel_count + 1)
        if self._direct is not None:
            return self._direct.open_session()
        return PageSession(self._page(login), self._context.report_fault)

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> Awaitable[asyncssh.SSHTCPSession[bytes]]:
        """Open a `direct-tcpip` channel: a jump, or a forward of direct login."""
        return PendingAnswer(partial(self._open_tcpip, dest_host, dest_port))

    async def _open_tcpip(self, dest_host: str, dest_port: int) -> asyncssh.SSHTCPSession[bytes]:
        login = self._admit(self.connection.channel_count)  # asyncssh has already counted this one
        target = parse_target(dest_host, str(dest_port))
        if self._direct is not None:
            if login.target is not None and isinstance(target, Target):
                raise refused(
                    f"you came as {login.login_name}; to jump, come as {login.identity.name}: "
                    f"{self._page(login).jump(login.target)}"
                )
            return await self._direct.open_forward(dest_host, dest_port)
        if isinstance(target, Denial):
            self._context.flow.deny(target, self._origin, login.identity)
            raise refused(target.message)
        if PORT_FORWARDING not in login.permits:
            denial = Denial(
                Reason.NO_GRANT, "your certificate does not permit port forwarding, so no jump"
            )
            self._context.flow.deny(denial, self._origin, login.identity, target)
            raise refused(denial.line)
        return await self._jump(login, target)

    async def _jump(self, login: SshLogin, target: Target) -> asyncssh.SSHTCPSession[bytes]:
        context = self._context
        self._entering += 1
        try:
            channel = await open_jump(
                context.flow,
                self,
                login.identity,
                target,
                self._origin,
                context.limits.idle_timeout_s,
            )
        except asyncssh.ChannelOpenError:
            raise
        except Exception as error:
            context.report_fault(error)
            raise refused(Denial.internal().message) from None
        finally:
            self._entering -= 1
        if self.connection.is_closed():
            # It was closed while we entered the shell, so asyncssh will not notify the session.
            channel.connection_lost(asyncssh.ConnectionLost("gone"))
        return channel

    async def may_use_agent(self) -> bool:
        """Return whether the agent that the client offers may be used (`ConnectionOwner`)."""
        if self._direct is None:
            return False
        try:
            return await self._direct.may_use_agent()
        except Exception as error:  # as above
            self._context.report_fault(error)
            return False

    def _admit(self, channels: int) -> SshLogin:
        """Return the login if it may have so many channels. Raises `asyncssh.ChannelOpenError` if not."""
        login = self._login
        assert login is not None, "no channel is opened before the login"
        if self._is_draining:
            raise refused(STOPPING)
        limit = self._context.limits.max_channels
        if channels > limit:
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_RESOURCE_SHORTAGE,
                f"there are {limit} channels on this connection already (ssh.max_channels)",
            )
        return login

    @property
    def _origin(self) -> Origin:
        return Origin(AccessMethod.JUMP, self.source)

    # The state of the connection, and its end.

    @property
    def entering(self) -> int:
        """Return the number of channels between the request and the answer."""
        is_entering = self._direct is not None and self._direct.is_entering
        return self._entering + is_entering

    @property
    def hung_up(self) -> bool:
        """Return whether the client has closed its TCP connection."""
        return self.connection.hung_up

    @property
    def gone(self) -> bool:
        """Return whether the connection is closed, or is being closed."""
        return self.connection.is_closed() or self.connection.leaving

    def send_data(self, channel: "asyncssh.SSHTCPChannel[bytes]", data: bytes) -> None:
        """Send to the client, as soon as its window has room. Raises OSError."""
        self.connection.send_data(channel, data)

    def set_congested(self, congested: bool) -> None:
        """Pause or resume all relays, because the client reads too slowly or keeps up again."""
        self.congested = congested
        for relay in tuple(self._relays):
            relay.update()

    def channel_began(self, relay: ChannelRelay) -> None:
        """Add a relay that has begun."""
        self._relays.add(relay)

    def send_debug_line(self, line: str) -> None:
        """Send a line that `ssh -v` shows."""
        self.connection.send_debug(line, always_display=True)

    def channel_ended(self, relay: ChannelRelay, reason: str) -> None:
        """Close the channel of a relay that has ended.

        SSH can give a `reason` only when a whole connection is closed, so the last channel closes that.
        """
        self._relays.discard(relay)
        if reason and not self._relays and self.connection.channel_count <= 1:
            self.connection.hang_up(reason)
        else:
            relay.cut()

    def leave(self, denial: Denial) -> None:
        """Close the connection with all its channels, because of `denial`."""
        if self._direct is not None:
            self._direct.revoke(denial.line)
        self.connection.hang_up(denial.line)
        for relay in tuple(self._relays):
            relay.finish(End.REVOKED, denial.line)

    def drain(self, line: str) -> None:
        """Accept nothing new. Hang up if no channel is open, or else show `line` in the terminals."""
        if self._login is None:
            return
        self._is_draining = True
        if not self.connection.channel_count:
            self.connection.hang_up(STOPPING)
        elif self._direct is not None:
            self._direct.drain(line)

    def connection_lost(self, exc: Exception | None) -> None:
        """Record the refused keys, and release all that the connection holds."""
        for relay in tuple(self._relays):
            if not relay.began:
                relay.connection_lost(exc or asyncssh.ConnectionLost("gone"))
        if self._refused:
            shown, more = self._refused[:SHOWN_REASONS], len(self._refused) - SHOWN_REASONS
            text = "; ".join(shown) + (f"; and {more} more" if more > 0 else "")
            denial = Denial(Reason.CREDENTIAL_WRONG, text)
            self._context.flow.deny(denial, self._origin)
        if self._direct is not None:
            self._direct.connection_closed()
        self._context.on_closed(self)
