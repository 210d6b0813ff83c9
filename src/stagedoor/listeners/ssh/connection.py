"""The SSH connection of one client: its authentication, its agent, and its global requests.

Of the names with an underscore, `_agent_listener`, `_channels`, `_cleanup`, `_protocol_factory`,
`_recv_handler` and `_session_id` are asyncssh's own.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import asyncssh
from asyncssh.auth import KbdIntChallenge
from asyncssh.channel import SSHAgentChannel

from stagedoor.listeners.ssh.bounds import BoundedConnection
from stagedoor.upstream.connection import skip_data
from stagedoor.wire.ssh.blob import encode_string

if TYPE_CHECKING:
    from stagedoor.listeners.ssh.router import ChannelRouter

_REFUSED = "the gateway forwards to apps' shells only, such as app01.ssh:22"


class ClientConnection(BoundedConnection):
    """The SSH connection of one client. `make_router` makes `router`, asyncssh's server of its channels."""

    def __init__(
        self,
        options: asyncssh.SSHServerConnectionOptions,
        buffer: memoryview,
        make_router: Callable[["ClientConnection"], "ChannelRouter"],
    ) -> None:
        super().__init__(options, buffer)
        self._making_agent = asyncio.Lock()
        self._agent_stopped = 0
        self.router = make_router(self)
        self._protocol_factory = lambda: self.router

    def pause_writing(self) -> None:
        """Report that the client reads too slowly."""
        self.is_congested = True
        self.router.update_relays()

    def resume_writing(self) -> None:
        """Read from the client again, and report that it keeps up."""
        if self._tcp is not None and not self._tcp.is_closing():
            self._tcp.resume_reading()
        self.is_congested = False
        self.router.update_relays()

    def _cleanup(self, exc: Exception | None) -> None:
        super()._cleanup(exc)
        # Delete references back to the connection; the cycle would keep it until the garbage collector runs.
        self._recv_handler = skip_data
        del self._protocol_factory, self.router

    # Authentication.

    async def reload_config(self) -> None:
        """Do nothing: no option depends on the user's name, and no OpenSSH configuration is read."""

    async def validate_public_key(
        self, username: str, key_data: bytes, msg: bytes, signature: bytes
    ) -> bool:
        """Return whether a key may be used. `msg` is the signed request, or empty for a query."""
        # RFC 4252 §7: the signature is over the session identifier and the request.
        message = encode_string(self._session_id) + msg if msg else b""
        return await self.router.authentication.check_key(username, key_data, message, signature)

    def send_userauth_failure(self, partial_success: bool) -> None:
        """Refuse an attempt: as a partial success if a key waits, or by hanging up if it was the last one."""
        if self.router.authentication.take_partial_success():
            super().send_userauth_failure(True)
        elif self.router.authentication.count_failed_try():
            self.hang_up(
                "too many tries to log in (try one key: ssh -o IdentitiesOnly=yes -i FILE)",
                asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE,
            )
        else:
            super().send_userauth_failure(partial_success)

    def kbdint_auth_supported(self) -> bool:
        """Return whether keyboard-interactive is offered: by the settings, or for a sign-in."""
        return self.router.authentication.has_only_sign_in_left or super().kbdint_auth_supported()

    async def get_kbdint_challenge(
        self, username: str, lang: str, submethods: str
    ) -> KbdIntChallenge:
        """Return the challenge of keyboard-interactive, or the result of waiting for a sign-in."""
        if self.router.authentication.has_only_sign_in_left:
            return await self.router.authentication.sign_in(username)
        return await super().get_kbdint_challenge(username, lang, submethods)

    async def create_agent_listener(self) -> bool:
        """Create a socket for the client's agent on this machine, only if that is granted."""
        # In turn: two requests at once would each create a socket, and one would never be closed.
        async with self._making_agent:
            if not (await self.router.may_use_agent() and await super().create_agent_listener()):
                return False
        if self.is_closed() and self._agent_listener is not None:
            # The client has hung up meanwhile, and no other code will close the socket now.
            self._agent_listener.close()
            self._agent_listener = None
            return False
        return True

    async def create_agent_connection(self, *given: Any, **named: Any) -> Any:
        """Open a channel to the client's agent. Refuse it if `stop_agent` was called meanwhile."""
        stopped = self._agent_stopped
        channel, session = await super().create_agent_connection(*given, **named)
        if stopped != self._agent_stopped:
            channel.abort()
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, _REFUSED)
        return channel, session

    def stop_agent(self) -> None:
        """Close the agent's socket and all channels to the agent, whose use is no longer permitted."""
        self._agent_stopped += 1
        if self._agent_listener is not None:
            self._agent_listener.close()
            self._agent_listener = None
        for channel in tuple(self._channels.values()):
            if isinstance(channel, SSHAgentChannel):
                channel.abort()

    # Requests that are always refused. A global request without a handler is answered with a failure, and
    # the connection stays open; asyncssh's own handler would close it when a client cancels a forward that
    # does not exist.

    _process_tcpip_forward_global_request = None  # type: ignore[assignment]  # see above
    _process_cancel_tcpip_forward_global_request = None  # type: ignore[assignment]  # see above
    _process_streamlocal_forward_at_openssh_dot_com_global_request = None  # type: ignore[assignment]  # see above
    _process_cancel_streamlocal_forward_at_openssh_dot_com_global_request = None  # type: ignore[assignment]  # see above
    _process_hostkeys_prove_00_at_openssh_dot_com_global_request = None  # type: ignore[assignment]  # see above

    def _refuse_open(self, packet: object) -> NoReturn:
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, _REFUSED)

    _process_direct_streamlocal_at_openssh_dot_com_open = _refuse_open
    _process_forwarded_streamlocal_at_openssh_dot_com_open = _refuse_open
    _process_forwarded_tcpip_open = _refuse_open
    _process_tun_at_openssh_dot_com_open = _refuse_open
    _process_x11_open = _refuse_open
    _process_auth_agent_at_openssh_dot_com_open = _refuse_open
