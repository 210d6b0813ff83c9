"""The interface between the SSH listener and direct login.

The listener authenticates, refuses what no user may have, and keeps the connection alive. If the
login name is an app's (`ssh app01@gateway`), it hands each channel to a `DirectLogin`.
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
    """One authenticated SSH connection. Only the listener makes one, after verifying the signature.

    `login_name` is the name before the @. `target` is that name read as an app (`app01`,
    `app01.staging`), or None if it is the identity's own name: then the login is for jumps or the
    page, and direct login does not get it. `permits` has what the credential permits: the extensions
    of a certificate (OpenSSH's PROTOCOL.certkeys), or everything for a registered key, a sign-in or
    a password. `force_command` is the certificate's critical option: this command runs whatever the
    client requests. `draining` is True once the gateway accepts no new channels.

    A session channel enters by `Flow.enter` as a direct login from `source`. `connection` is asyncssh's.
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
    """The key, `type base64`, that the client has proved to hold, plain or in a certificate."""
    stop_agent: Callable[[], None] = lambda: None
    """Close the socket of the client's agent, and the channels that are open to it."""
    hang_up: Callable[[str], None] = lambda _: None
    """Close the connection, with one line that the developer's ssh prints (RFC 4253 §11.1)."""

    @property
    def permits_terminals(self) -> bool:
        """Return whether the credential permits terminals."""
        return PTY in self.permits


class SshSignIns(Protocol):
    """The sign-ins of SSH keys: how a key gets one, and what its user may do with it."""

    def holds(self, public_key: str) -> bool:
        """Return whether this unknown key may wait for its user. A revoked key may not."""
        ...

    async def bind(self, key: UnknownKey, show: Callable[[str], None]) -> Denial | None:
        """Wait until a user has signed in and approved this key, then bind it. Return None if it is bound.

        `show` gets the lines that explain to the user what to do.
        """
        ...

    async def certificate(self, identity: Identity, public_key: str) -> str | Denial:
        """Return a certificate, one line, for this key, which must be that of the sign-in."""
        ...

    async def log_out(self, identity: Identity) -> Denial | None:
        """End the sign-in and all of its sessions."""
        ...

    def ends_at(self, identity: Identity) -> float | None:
        """Return the end of the sign-in, in seconds since the epoch, or None if there is no sign-in."""
        ...

    def groups(self, identity: Identity) -> tuple[str, ...]:
        """Return the user's current groups."""
        ...


class DirectLogin(Protocol):
    """The server of the channels of logins with a `target`. Belongs to the listener's event loop.

    The listener has already refused all other requests (X11, tun, Unix sockets, `tcpip-forward`,
    unknown ones).
    """

    def session(self, login: Login) -> asyncssh.SSHServerSession[bytes]:
        """Open a `session` channel (RFC 4254 §6.1). Never blocks.

        The channel has encoding None and no line editor. Once shell, exec or subsystem is requested, a
        refusal is written to the channel (stderr and an exit status).
        """
        ...

    def forward(
        self, login: Login, host: str, port: int
    ) -> Awaitable[asyncssh.SSHTCPSession[bytes]]:
        """Open a `direct-tcpip` channel: a LocalForward into the shell (RFC 4254 §7.2).

        Raises `asyncssh.ChannelOpenError` with OPEN_ADMINISTRATIVELY_PROHIBITED and one line.
        """
        ...

    async def agent(self, login: Login) -> bool:
        """Return whether the client's SSH agent (`ssh -A`) is forwarded into the shell."""
        ...

    def entering(self, login: Login) -> int:
        """Return how many requests are entering the shell now; a drain waits for them."""
        ...

    def warn(self, login: Login, line: str) -> None:
        """Show a line in the terminals of this login, because the gateway drains. Never blocks."""
        ...

    def leave(self, login: Login, detail: str) -> None:
        """End the session of a login that is no longer allowed. Never blocks.

        The listener hangs up right after.
        """
        ...

    def ended(self, login: Login) -> None:
        """Forget a login whose connection is closed. asyncssh has notified each channel."""
        ...
