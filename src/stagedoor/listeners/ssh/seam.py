"""What the SSH listener and direct login know of each other.

The listener authenticates, refuses what nobody may have, and keeps the connection alive. Code that
came with a target for a login name (`ssh app01@gateway`) is then handed to a `DirectLogin`, one
channel at a time.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import asyncssh

from stagedoor.model.certificate import EVERYTHING, PTY
from stagedoor.model.credential import UnknownKey
from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.session.flow import Flow


@dataclass(eq=False, slots=True)
class Login:
    """One authenticated SSH connection. Made by the listener only, once the signature is verified.

    `identity` is who came; `login_name` what stood before the @. `target` is that name read as an
    app (`app01`, `app01.staging`), None when it is the identity's own name: then it is a jump or
    the page, and direct login never sees it. `permits` is what the credential allows: the
    extensions of a certificate (OpenSSH's PROTOCOL.certkeys), everything for a registered key, a
    sign-in or a password. `force_command` is the certificate's critical option: it runs whatever was
    asked for. `draining` is True once the gateway takes nothing new.

    A session channel enters by `Flow.enter` as a direct login from `source`; `connection` is asyncssh's own.
    """

    identity: Identity
    login_name: str
    target: Target | None
    source: Source
    flow: Flow
    connection: asyncssh.SSHServerConnection
    permits: frozenset[str] = field(default=EVERYTHING)
    force_command: str | None = None
    draining: bool = False
    public_key: str | None = None
    """The key whose private half was shown, `type base64`, be it by itself or certified."""
    stop_agent: Callable[[], None] = lambda: None
    """Close every way to the client's agent, and what is open to it."""
    hang_up: Callable[[str], None] = lambda _: None
    """Close the connection, with one line that the person's ssh prints (RFC 4253 §11.1)."""

    @property
    def permits_terminals(self) -> bool:
        return PTY in self.permits


class SshSignIns(Protocol):
    """Sign-ins of those who come by SSH: how a key gets one, and what its person may do with it."""

    def holds(self, public_key: str) -> bool:
        """Whether this unknown key may wait for its person. One that was revoked may not."""
        ...

    async def bind(self, key: UnknownKey, show: Callable[[str], None]) -> Denial | None:
        """Wait until somebody has signed in and approved this key; then it is bound, and None. `show` gets
        what the person has to do, as lines."""
        ...

    async def certificate(self, identity: Identity, public_key: str) -> str | Denial:
        """One for this key, which must be that of the sign-in; one line."""
        ...

    async def log_out(self, identity: Identity) -> Denial | None:
        """End the sign-in, and all that it opened."""
        ...

    def ends_at(self, identity: Identity) -> float | None:
        """When the sign-in ends, seconds since the epoch; None where there is none."""
        ...

    def groups(self, identity: Identity) -> tuple[str, ...]:
        """As they are now."""
        ...


class DirectLogin(Protocol):
    """Serves the channels of logins whose `target` is set. Belongs to the listener's event loop.

    What is not named here (X11, tun, Unix sockets, `tcpip-forward`, unknown requests) the listener
    has refused already.
    """

    def session(self, login: Login) -> asyncssh.SSHServerSession[bytes]:
        """A `session` channel is asked for (RFC 4254 §6.1). Never blocks.

        The channel has encoding None and no line editor. What the person may not have is said on
        the channel (stderr and an exit status), once shell, exec or subsystem is asked for.
        """
        ...

    def forward(
        self, login: Login, host: str, port: int
    ) -> Awaitable[asyncssh.SSHTCPSession[bytes]]:
        """A `direct-tcpip` channel is asked for: a LocalForward into the shell (RFC 4254 §7.2).

        Raises `asyncssh.ChannelOpenError` with OPEN_ADMINISTRATIVELY_PROHIBITED and one line.
        """
        ...

    async def agent(self, login: Login) -> bool:
        """The client's SSH agent is offered (`ssh -A`): whether it is forwarded into the shell."""
        ...

    def entering(self, login: Login) -> int:
        """How many are between being asked for and having entered; a drain waits for them."""
        ...

    def warn(self, login: Login, line: str) -> None:
        """The gateway drains: tell it in the terminals of this login. Never blocks."""
        ...

    def leave(self, login: Login, detail: str) -> None:
        """This person may be here no longer; the listener hangs up right after. Never blocks."""
        ...

    def ended(self, login: Login) -> None:
        """The connection is gone, however that came; asyncssh has told each channel."""
        ...
