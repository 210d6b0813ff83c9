"""One SSH connection from the banner to the last channel: who it is, and what it asks for."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

import asyncssh

from stagedoor.listeners.ssh.connection import Connection
from stagedoor.listeners.ssh.credentials import (
    ClientKey,
    asked_person,
    read_shown,
    signed_by_owner,
)
from stagedoor.listeners.ssh.hold import PendingLogins
from stagedoor.listeners.ssh.jump.channel import PendingAnswer, open_jump, refused
from stagedoor.listeners.ssh.jump.relay import ChannelRelay
from stagedoor.listeners.ssh.options import SshLimits
from stagedoor.listeners.ssh.page import Page, PageParts, PageSession
from stagedoor.listeners.ssh.pending_key import PendingKey
from stagedoor.listeners.ssh.seam import DirectLogin, Login
from stagedoor.model.certificate import EVERYTHING, PORT_FORWARDING
from stagedoor.model.credential import Credential, PasswordCredential, TokenCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.session import AccessMethod, End, Origin
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.session.flow import Flow
from stagedoor.wire.target import parse_login, parse_target

SHOWN_REASONS = 4
STOPPING = "the gateway is stopping or was reloaded; connect again"


@dataclass(frozen=True, slots=True)
class ListenerContext:
    """What all connections of a listener share. `gone` is told when one has ended."""

    flow: Flow
    limits: SshLimits
    direct: DirectLogin | None
    page: PageParts
    holds: PendingLogins
    logged_in: Callable[["Downstream"], None]
    gone: Callable[["Downstream"], None]
    fault: Callable[[BaseException], None]


_WHY_NOT_FOR_APPS = (
    "if the user name is an app's, a password does not say who you are; use an SSH key or a token"
)


@dataclass(frozen=True, slots=True)
class _Proof:
    """Whose credential was verified last, and what it was."""

    identity: Identity
    name: str
    credential: Credential
    key: ClientKey | None = None


class Downstream(asyncssh.SSHServer):
    """One developer's SSH connection: its authentication, and what its channels may do."""

    def __init__(self, context: ListenerContext, source: Source) -> None:
        self._context = context
        self.source = source
        self.congested = False
        self.connection: Connection
        """Set right after this is made: each of the two has the other."""
        self._proof: _Proof | None = None
        self._login: Login | None = None
        self._tries = 0
        self._explained_password = False
        self._held = PendingKey(context.page.sign_ins, context.holds, source)
        self._refused: list[str] = []
        """Why each key was not taken; written down together if none is, for an agent offers many."""
        self._relays: set[ChannelRelay] = set()
        self._entering = 0

    # Who is it?

    def begin_auth(self, username: str) -> bool:
        return True  # there is no name that may come in without a credential

    def public_key_auth_supported(self) -> bool:
        return not self.asks_person

    def password_auth_supported(self) -> bool:
        return not self.asks_person  # whether passwords are taken at all is in the options

    async def key_offered(self, name: str, blob: bytes, message: bytes, signature: bytes) -> bool:
        try:
            return await self._key_offered(name, blob, message, signature)
        except Exception as error:  # asyncssh would drop the connection and say nothing to anybody
            self._context.fault(error)
            return False

    async def _key_offered(self, name: str, blob: bytes, message: bytes, signature: bytes) -> bool:
        shown = read_shown(name, blob)
        if shown is None:
            return self._not_taken("a key or certificate of a kind that is not taken, or damaged")
        verdict = await self._context.flow.authenticate(shown.credential, self.source)
        if isinstance(verdict, Denial):
            held = self._held.may_wait(shown, verdict, self.connection)
            if isinstance(held, Denial):
                return self._not_now(held) or self._not_taken(held.message)
        if not message:
            return True
        if not signed_by_owner(shown, message, signature):
            return self._not_taken(
                f"the signature of {shown.credential.fingerprint} is wrong, or its key was not touched"
            )
        if isinstance(verdict, Denial):
            self._held.hold(shown, self.connection)
            return False
        if asked_person(signature):
            verdict = self._context.flow.present_now(verdict)
        self._proof = _Proof(verdict, name, shown.credential, shown)
        return True

    @property
    def asks_person(self) -> bool:
        return self._held.asks_person

    async def sign_in(self, name: str) -> bool:
        try:
            return await self._signed_in(name)
        except Exception as error:  # as above
            self._context.fault(error)
            return False

    async def _signed_in(self, name: str) -> bool:
        shown = self._held.shown
        if shown is None or name != shown.credential.name:
            return False
        context = self._context
        context.logged_in(self)  # it is bounded by itself, and takes nobody's place
        denial = await self._held.wait(self.connection)
        verdict = denial or await context.flow.authenticate(shown.credential, self.source)
        if isinstance(verdict, Denial):
            self.connection.hang_up(verdict.line)
            return self._not_taken(verdict.message)
        self._proof = _Proof(verdict, name, shown.credential, shown)
        return True

    def partial_success(self) -> bool:
        return self._held.partial_success()

    def _not_now(self, denial: Denial) -> bool:
        """Whatever else they show, they cannot be let in: to go on would end in "Permission denied"."""
        if denial.reason in (Reason.AUDIT_UNAVAILABLE, Reason.UPSTREAM_TIMEOUT):
            self.connection.hang_up(denial.line)
        return False

    def _not_taken(self, why: str) -> bool:
        if why not in self._refused:
            self._refused.append(why)
        return False

    async def validate_password(self, username: str, password: str) -> bool:
        try:
            return await self._password(username, password)
        except Exception as error:  # as above
            self._context.fault(error)
            return False

    async def _password(self, name: str, password: str) -> bool:
        """A password, or a token in its place; a token says by itself whose it is."""
        authenticate = self._context.flow.authenticate
        credential: Credential = PasswordCredential(name, password)
        verdict = await authenticate(credential, self.source)
        if isinstance(verdict, Denial) and parse_login(name) is not None:
            credential = TokenCredential(password)
            by_token = await authenticate(credential, self.source)
            verdict = verdict if isinstance(by_token, Denial) else by_token
        if isinstance(verdict, Denial):
            self._not_now(verdict)
            if verdict.reason is Reason.CREDENTIAL_WRONG and parse_login(name) is not None:
                verdict = replace(verdict, message=f"{verdict.message}; {_WHY_NOT_FOR_APPS}")
                if not self._explained_password:
                    self._explained_password = True
                    self.connection.send_auth_banner(
                        f"stagedoor: wrong user name, password or token; {_WHY_NOT_FOR_APPS}\n"
                    )
            self._context.flow.deny(verdict, self._origin)
            return False
        self._proof = _Proof(verdict, name, credential)
        return True

    def tries_used_up(self) -> bool:
        self._tries += 1
        # Every client's first try is `none`, to be told what there is (RFC 4252 §5.2).
        return self._tries > self._context.limits.max_auth_tries + 1

    def auth_completed(self) -> None:
        proof = self._proof
        assert proof is not None, "asyncssh lets in only whom we have verified"
        key = proof.key
        self._login = Login(
            identity=proof.identity,
            login_name=proof.name,
            target=None if proof.name == proof.identity.name else parse_login(proof.name),
            source=self.source,
            flow=self._context.flow,
            connection=self.connection,
            # A sign-in's certificate takes nothing from what its key may do here: the grants decide.
            permits=key.permits if key and not proof.identity.sign_in else EVERYTHING,
            force_command=key.force_command if key else None,
            public_key=key.line if key else None,
            stop_agent=self.connection.stop_agent,
            hang_up=self.connection.hang_up,
        )
        self._refused.clear()
        self._context.logged_in(self)

    def review(self) -> None:
        """Some time has passed: may this person still be here?"""
        if self._proof is None or self._login is None or self.connection.leaving:
            return
        denial = self._context.flow.still_holds(self._proof.credential, self._proof.identity)
        if denial is not None:
            self.leave(denial)
        elif self._login.draining and not self.connection.channel_count:
            self.connection.hang_up(STOPPING)

    # What do they want?

    def _page(self, login: Login) -> Page:
        return Page(login, self._context.page)

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        login = self._admitted(self.connection.channel_count + 1)
        if login.target is None:
            return PageSession(self._page(login), self._context.fault)
        if self._context.direct is None:
            raise refused(f"this gateway only jumps: {self._page(login).jump(login.target)}")
        return self._context.direct.session(login)

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> Awaitable[asyncssh.SSHTCPSession[bytes]]:
        return PendingAnswer(partial(self._connection_requested, dest_host, dest_port))

    async def _connection_requested(
        self, dest_host: str, dest_port: int
    ) -> asyncssh.SSHTCPSession[bytes]:
        login = self._admitted(self.connection.channel_count)  # asyncssh has made this one already
        target = parse_target(dest_host, str(dest_port))
        if login.target is not None:
            if self._context.direct is None or isinstance(target, Target):
                raise refused(
                    f"you came as {login.login_name}; to jump, come as {login.identity.name}: "
                    f"{self._page(login).jump(login.target)}"
                )
            return await self._context.direct.forward(login, dest_host, dest_port)
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

    async def _jump(self, login: Login, target: Target) -> asyncssh.SSHTCPSession[bytes]:
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
            context.fault(error)
            raise refused(Denial.internal().message) from None
        finally:
            self._entering -= 1
        if self.connection.is_closed():
            # It went while we entered: asyncssh will not tell the session of it.
            channel.connection_lost(asyncssh.ConnectionLost("gone"))
        return channel

    async def agent_wanted(self) -> bool:
        login, direct = self._login, self._context.direct
        if login is None or login.target is None or direct is None:
            return False
        try:
            return await direct.agent(login)
        except Exception as error:  # asyncssh would drop the connection and say nothing to anybody
            self._context.fault(error)
            return False

    def _admitted(self, channels: int) -> Login:
        """Return the login, if it may have so many channels. Raises `asyncssh.ChannelOpenError` if not."""
        login = self._login
        assert login is not None, "no channel is opened before the login"
        if login.draining:
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

    # What happens meanwhile?

    @property
    def entering(self) -> int:
        """How many channels are between the request and the answer."""
        login, direct = self._login, self._context.direct
        if login is None or login.target is None or direct is None:
            return self._entering
        return self._entering + direct.entering(login)

    @property
    def hung_up(self) -> bool:
        return self.connection.hung_up

    @property
    def gone(self) -> bool:
        return self.connection.is_closed() or self.connection.leaving

    def send_data(self, channel: "asyncssh.SSHTCPChannel[bytes]", data: bytes) -> None:
        self.connection.send_data(channel, data)

    def congestion(self, congested: bool) -> None:
        self.congested = congested
        for relay in tuple(self._relays):
            relay.update()

    def channel_began(self, relay: ChannelRelay) -> None:
        self._relays.add(relay)

    def send_debug_line(self, line: str) -> None:
        self.connection.send_debug(line, always_display=True)

    def channel_ended(self, relay: ChannelRelay, told: str) -> None:
        """`told`: why the gateway ended it. SSH has no word for that but for a whole connection, so
        the last channel takes its connection along."""
        self._relays.discard(relay)
        if told and not self._relays and self.connection.channel_count <= 1:
            self.connection.hang_up(told)
        else:
            relay.cut()

    def leave(self, denial: Denial) -> None:
        """This person has to go, whatever is open."""
        if self._login is not None and self._login.target is not None and self._context.direct:
            self._context.direct.leave(self._login, denial.line)
        self.connection.hang_up(denial.line)
        for relay in tuple(self._relays):
            relay.finish(End.REVOKED, denial.line)

    def drain(self, line: str) -> None:
        """Take nothing new; who has nothing open is told to come again."""
        login = self._login
        if login is None:
            return
        login.draining = True
        if not self.connection.channel_count:
            self.connection.hang_up(STOPPING)
        elif login.target is not None and self._context.direct is not None:
            self._context.direct.warn(login, line)

    def connection_lost(self, exc: Exception | None) -> None:
        for relay in tuple(self._relays):
            if not relay.began:
                relay.connection_lost(exc or asyncssh.ConnectionLost("gone"))
        if self._refused:
            shown, more = self._refused[:SHOWN_REASONS], len(self._refused) - SHOWN_REASONS
            text = "; ".join(shown) + (f"; and {more} more" if more > 0 else "")
            denial = Denial(Reason.CREDENTIAL_WRONG, text)
            self._context.flow.deny(denial, self._origin)
        if self._login is not None and self._login.target is not None and self._context.direct:
            self._context.direct.ended(self._login)
        self._context.gone(self)
