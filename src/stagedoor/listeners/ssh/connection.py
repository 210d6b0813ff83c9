"""asyncssh's server connection, with bounds that it lacks: on memory, requests and tries.

Names with an underscore are asyncssh's own, and asyncssh looks handlers up by name. Only this
module and `packets` rely on them.
"""

import asyncio
from typing import Any, NoReturn, Protocol, cast

import asyncssh
from asyncssh.auth import KbdIntChallenge
from asyncssh.channel import SSHAgentChannel

from stagedoor.listeners.ssh.key_exchanges import KeyExchanges, Phase
from stagedoor.listeners.ssh.options import AES_GCM
from stagedoor.listeners.ssh.packets import PacketConnection
from stagedoor.model.units import KIB, MIB
from stagedoor.wire.ssh.blob import string
from stagedoor.wire.ssh.kexinit import is_wrong_guess, parse_ciphers

UNREAD_BEFORE_LOGIN = 256 * KIB
"""The most bytes that a client may send while its login is checked; an honest one sends one packet."""
UNSENT_BYTES = 4 * MIB
"""With so many bytes that a client does not read, nothing more is read from it either."""
CONGESTED_BYTES = 256 * KIB
ENVIRONMENT_BYTES = 64 * KIB
"""The most bytes of a channel's environment variables; further variables are dropped."""
_VARIABLE_BYTES = 256
"""The memory of a variable besides its name and value."""
WAITING_REQUESTS = 64
"""The most requests of one channel that may wait for a slow one: an agent's waits for the shell."""
LINGER_S = 1.0
"""How long a client has to read the reason before its connection is closed."""
PERSON_LINGER_S = 5.0
"""The same after a login: a second is short on a busy machine, or on a line that loses packets."""
KEXINIT_WAIT_S = 1.0
"""How long a client that calls itself OpenSSH has to propose first; stock ssh does so at once."""
_OPENSSH = b"SSH-2.0-OpenSSH_"
_GCM = tuple(name.encode() for name in AES_GCM)
TOO_MANY_KEY_EXCHANGES = (
    "too many key exchanges for so little data; "
    "connect again with a larger limit: ssh -o RekeyLimit=1G"
)
_DISCONNECT = 1
_KEXINIT = 20
_CHANNEL_REQUEST = 98
_REFUSED = "the gateway forwards to apps' shells only, such as app01.ssh:22"


class ConnectionOwner(Protocol):
    """The object that makes the connection's decisions: our `asyncssh.SSHServer`."""

    async def check_key(self, name: str, blob: bytes, message: bytes, signature: bytes) -> bool:
        """Return whether a key may be used. `message` is empty for a query without proof (RFC 4252 §7)."""
        ...

    def take_partial_success(self) -> bool:
        """Return True once after a refusal that must be sent as a partial success."""
        ...

    @property
    def asks_person(self) -> bool:
        """Return whether only the user's sign-in is left, by keyboard-interactive."""
        ...

    async def sign_in(self, name: str) -> bool:
        """Wait for the user's sign-in. Return whether it logs in the user of the request, `name`."""
        ...

    def count_failed_try(self) -> bool:
        """Count a failed try, and return whether it was the last one allowed."""
        ...

    def set_congested(self, congested: bool) -> None:
        """Note that the client reads too slowly, or keeps up again."""
        ...

    async def may_use_agent(self) -> bool:
        """Return whether the agent that the client offers may be used."""
        ...


class Connection(PacketConnection):
    """The SSH connection of one downstream. Close it by `hang_up`."""

    def __init__(
        self,
        options: asyncssh.SSHServerConnectionOptions,
        downstream: ConnectionOwner,
        buffer: memoryview,
    ) -> None:
        super().__init__(options, buffer)
        self._downstream = downstream
        self._protocol_factory = lambda: cast(asyncssh.SSHServer, downstream)
        self._wire: asyncio.Transport | None = None
        self._making_agent = asyncio.Lock()
        self._agent_stopped = 0
        self._leaving = False
        self._aborted = False
        self._key_exchanges = KeyExchanges()
        self._waits_for_person = False
        self._proposing: asyncio.TimerHandle | None = None
        """Set while our first proposal waits for the client's."""
        self.hung_up = False
        """Whether the client has closed its TCP connection."""

    @property
    def channel_count(self) -> int:
        """Return the number of open channels."""
        return len(self._channels)

    @property
    def leaving(self) -> bool:
        """Return whether the gateway is closing the connection."""
        return self._leaving

    def hang_up(self, reason: str, code: int = asyncssh.DISC_BY_APPLICATION) -> None:
        """Close with one line that the client's ssh prints (RFC 4253 §11.1).

        The DISCONNECT is sent before any channel is closed, because a client whose last channel is
        closed exits without reading on. Then the client has a moment to close first: closing a socket
        with unread bytes resets the connection, and the line would be lost.
        """
        if self._leaving:
            return
        self._leaving = True
        parts = (code.to_bytes(4, "big"), string(reason.encode()), string(b""))
        self.send_packet(_DISCONNECT, *parts)
        linger_s = PERSON_LINGER_S if self._auth_complete else LINGER_S
        self._loop.call_later(linger_s, self.abort)

    # Input and output within bounds.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin on `transport`, unless the connection was aborted before."""
        self._wire = cast(asyncio.Transport, transport)
        self._wire.set_write_buffer_limits(CONGESTED_BYTES)
        super().connection_made(transport)
        if self._aborted:
            self.abort()

    def abort(self) -> None:
        """Close the connection at once."""
        self._aborted = True  # there may be no transport to close yet
        super().abort()

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        """Process bytes of the client, within the bounds."""
        if not self._leaving:
            self._key_exchanges.carried(len(data))
            super().data_received(data, datatype)
            self._check_bounds()

    def buffer_updated(self, nbytes: int) -> None:
        """Process `nbytes` in the buffer, within the bounds."""
        if not self._leaving:
            self._key_exchanges.carried(nbytes)
            super().buffer_updated(nbytes)
            self._check_bounds()

    def _send(self, data: bytes) -> None:
        self._key_exchanges.carried(len(data))
        super()._send(data)

    def _check_bounds(self) -> None:
        """Abort if the client sends too much before the login. Pause reading if it does not read."""
        if not self._auth_complete and len(self._inpbuf) > UNREAD_BEFORE_LOGIN:
            self.abort()
        elif self._wire is not None and self._wire.get_write_buffer_size() > UNSENT_BYTES:
            self._wire.pause_reading()

    def _finish_recv_packet(
        self, pkttype: int, seq: int, _task: Any = None, is_async: bool = False
    ) -> None:
        super()._finish_recv_packet(pkttype, seq, _task, is_async)
        if pkttype == _CHANNEL_REQUEST:
            channel: Any
            for channel in self._channels.values():
                self._bound_requests(channel)

    def _bound_requests(self, channel: Any) -> None:
        """Bound the variables and requests that a channel keeps until something runs."""
        kept = 0
        for name, value in tuple(channel._env.items()):
            kept += len(name) + len(value) + _VARIABLE_BYTES
            if kept > ENVIRONMENT_BYTES:
                del channel._env[name]
        if len(channel._request_queue) > WAITING_REQUESTS:
            self.hang_up(f"more than {WAITING_REQUESTS} requests of one channel wait for an answer")

    def eof_received(self) -> None:
        """Note that the client has hung up."""
        self.hung_up = True
        super().eof_received()

    def connection_lost(self, exc: Exception | None = None) -> None:
        """Note whether the client's side closed the connection."""
        if isinstance(exc, OSError):
            self.hung_up = True
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Report that the client reads too slowly."""
        self._downstream.set_congested(True)

    def resume_writing(self) -> None:
        """Read from the client again, and report that it keeps up."""
        if self._wire is not None and not self._wire.is_closing():
            self._wire.resume_reading()
        self._downstream.set_congested(False)

    # Key exchange.

    def _send_kexinit(self) -> None:
        """Send our proposal; to OpenSSH, only after its own.

        The client's order decides (RFC 4253 §7.1), and OpenSSH before version 10 prefers AES-CTR to
        AES-GCM. So it is offered AES-GCM alone if it supports that. Other clients may wait for our
        proposal, as libssh's does.
        """
        if not self._session_id and self._proposing is None and self._is_openssh:
            self._proposing = self._loop.call_later(KEXINIT_WAIT_S, self._propose)
        else:
            super()._send_kexinit()

    @property
    def _is_openssh(self) -> bool:
        return self._client_version.startswith(_OPENSSH)

    def _propose(self, client: bytes | None = None) -> None:
        """Send the proposal that `_send_kexinit` held back. `client` is the client's own, or None."""
        waiting = self._proposing
        if waiting is None or waiting.cancelled() or self.is_closed():
            return
        waiting.cancel()
        if client is not None and all(names.intersection(_GCM) for names in parse_ciphers(client)):
            self._enc_algs = _GCM
        super()._send_kexinit()

    async def _proposed(self, kind: int, number: int, packet: asyncssh.packet.SSHPacket) -> None:
        """Answer the client's proposal, or hang up if it exchanges keys too often.

        asyncssh accepts a guess that is what both sides agree on, even where RFC 4253 §7 calls it wrong.
        Dropbear's client follows the RFC, and sends its packet again.
        """
        if not self._key_exchanges.begin(self._phase, self._loop.time()):
            self.hang_up(TOO_MANY_KEY_EXCHANGES, asyncssh.DISC_PROTOCOL_ERROR)
            return
        self._propose(packet.get_full_payload())
        await self._process_kexinit(kind, number, packet)
        self._ignore_first_kex = is_wrong_guess(self._client_kexinit, self._server_kexinit)

    @property
    def _phase(self) -> Phase:
        if self._auth_complete:
            return Phase.LOGGED_IN
        return Phase.WAITING if self._waits_for_person else Phase.LOGIN

    _packet_handlers = {**asyncssh.SSHServerConnection._packet_handlers, _KEXINIT: _proposed}  # noqa: RUF012 - asyncssh's way

    # Authentication.

    async def reload_config(self) -> None:
        """Do nothing: no option depends on the user's name, and no OpenSSH configuration is read."""

    async def validate_public_key(
        self, username: str, key_data: bytes, msg: bytes, signature: bytes
    ) -> bool:
        """Return whether a key may be used. `msg` is the signed request, or empty for a query."""
        # RFC 4252 §7: the signature is over the session identifier and the request.
        message = string(self._session_id) + msg if msg else b""
        return await self._downstream.check_key(username, key_data, message, signature)

    def send_userauth_failure(self, partial_success: bool) -> None:
        """Refuse a try: as a partial success if a key waits, and by hanging up if it was the last."""
        if self._downstream.take_partial_success():
            super().send_userauth_failure(True)
        elif self._downstream.count_failed_try():
            self.hang_up(
                "too many tries to log in (try one key: ssh -o IdentitiesOnly=yes -i FILE)",
                asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE,
            )
        else:
            super().send_userauth_failure(partial_success)

    def kbdint_auth_supported(self) -> bool:
        """Return whether keyboard-interactive is offered: by the settings, or for a sign-in."""
        return self._downstream.asks_person or super().kbdint_auth_supported()

    async def get_kbdint_challenge(
        self, username: str, lang: str, submethods: str
    ) -> KbdIntChallenge:
        """Return the challenge of keyboard-interactive, or the result of waiting for a sign-in."""
        if self._downstream.asks_person:
            return await self._downstream.sign_in(username)
        return await super().get_kbdint_challenge(username, lang, submethods)

    @property
    def offers_all_keys_again(self) -> bool:
        """Return whether the client offers all its keys again after a partial success."""
        return self._is_openssh

    def wait_for_person(self) -> None:
        """Stop the time limit of the login, since a sign-in with a browser takes longer."""
        self._waits_for_person = True
        self._cancel_login_timer()

    async def create_agent_listener(self) -> bool:
        """Create a socket for the client's agent on this machine, only if that is granted."""
        # In turn: two requests at once would each create a socket, and one would never be closed.
        async with self._making_agent:
            if not (
                await self._downstream.may_use_agent() and await super().create_agent_listener()
            ):
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
        """Close the agent's socket and all channels to the agent, because it may not be used any more."""
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
