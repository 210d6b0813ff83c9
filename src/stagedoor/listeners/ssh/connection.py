"""asyncssh's server connection, with what it leaves open closed: memory, requests, tries.

Names with an underscore are asyncssh's own; they are looked up by name there, and this file and
`packets` are the ones that rely on them.
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
from stagedoor.wire.blob import string
from stagedoor.wire.kexinit import is_wrong_guess, parse_ciphers

UNREAD_BEFORE_LOGIN = 256 * KIB
"""How much may come in while a login is being judged; an honest client sends one packet."""
UNSENT_BYTES = 4 * MIB
"""From so much on that a client does not take, nothing more is read from it either."""
CONGESTED_BYTES = 256 * KIB
ENVIRONMENT_BYTES = 64 * KIB
"""Variables that a channel may bring; more are passed over."""
_VARIABLE_BYTES = 256
"""Of memory beside its name and value."""
WAITING_REQUESTS = 64
"""Of one channel, behind one that takes its time: a wish for the agent waits for the shell."""
LINGER_S = 1.0
"""How long a client that was told to go has to read why."""
PERSON_LINGER_S = 5.0
"""The same for one who has logged in: on a busy machine, or a line that loses a packet, a second is short."""
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
    """Who the connection reports to: its `asyncssh.SSHServer`, which is ours."""

    async def key_offered(self, name: str, blob: bytes, message: bytes, signature: bytes) -> bool:
        """Whether a key may be used; `message` is empty if that is only asked (RFC 4252 §7)."""
        ...

    def partial_success(self) -> bool:
        """Return True once, right after a refusal that the client takes as a partial success."""
        ...

    @property
    def asks_person(self) -> bool:
        """True where only a person's sign-in is left, by keyboard-interactive."""
        ...

    async def sign_in(self, name: str) -> bool:
        """Wait for the person's sign-in. Return True if that let in the user of the request, `name`."""
        ...

    def tries_used_up(self) -> bool:
        """One try has failed: was it the last?"""
        ...

    def congestion(self, congested: bool) -> None:
        """The client takes its bytes too slowly, or keeps up again."""
        ...

    async def agent_wanted(self) -> bool:
        """Whether the client's agent, which it offers, may be used."""
        ...


class Connection(PacketConnection):
    """One downstream. `hang_up` is the way to close it."""

    def __init__(
        self,
        options: asyncssh.SSHServerConnectionOptions,
        visitor: ConnectionOwner,
        buffer: memoryview,
    ) -> None:
        super().__init__(options, buffer)
        self._visitor = visitor
        self._protocol_factory = lambda: cast(asyncssh.SSHServer, visitor)
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
        """The client closed its TCP connection."""

    @property
    def channel_count(self) -> int:
        return len(self._channels)

    @property
    def leaving(self) -> bool:
        return self._leaving

    def hang_up(self, reason: str, code: int = asyncssh.DISC_BY_APPLICATION) -> None:
        """Close with one line that the client's ssh prints (RFC 4253 §11.1).

        The DISCONNECT goes before any channel is closed, for a client whose last channel is closed
        exits without reading on; then the client has a moment to close first, because a socket
        closed with bytes unread resets, and the line would be lost.
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
        self._wire = cast(asyncio.Transport, transport)
        self._wire.set_write_buffer_limits(CONGESTED_BYTES)
        super().connection_made(transport)
        if self._aborted:
            self.abort()

    def abort(self) -> None:
        self._aborted = True  # it may come before there is a transport to close
        super().abort()

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        if not self._leaving:
            self._key_exchanges.carried(len(data))
            super().data_received(data, datatype)
            self._bounded()

    def buffer_updated(self, nbytes: int) -> None:
        if not self._leaving:
            self._key_exchanges.carried(nbytes)
            super().buffer_updated(nbytes)
            self._bounded()

    def _send(self, data: bytes) -> None:
        self._key_exchanges.carried(len(data))
        super()._send(data)

    def _bounded(self) -> None:
        """Read no more from who sends too much too early, or takes nothing."""
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
        """What a channel asks for is kept until something runs."""
        kept = 0
        for name, value in tuple(channel._env.items()):
            kept += len(name) + len(value) + _VARIABLE_BYTES
            if kept > ENVIRONMENT_BYTES:
                del channel._env[name]
        if len(channel._request_queue) > WAITING_REQUESTS:
            self.hang_up(f"more than {WAITING_REQUESTS} requests of one channel wait for an answer")

    def eof_received(self) -> None:
        self.hung_up = True
        super().eof_received()

    def connection_lost(self, exc: Exception | None = None) -> None:
        if isinstance(exc, OSError):
            self.hung_up = True
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        self._visitor.congestion(True)

    def resume_writing(self) -> None:
        if self._wire is not None and not self._wire.is_closing():
            self._wire.resume_reading()
        self._visitor.congestion(False)

    # Key exchange.

    def _send_kexinit(self) -> None:
        """Propose; to OpenSSH only once it has proposed.

        Its order decides (RFC 4253 §7.1), and before version 10 it prefers AES-CTR to AES-GCM. So it is
        offered AES-GCM alone if it has that. Others may wait for our proposal, as libssh's client does.
        """
        if not self._session_id and self._proposing is None and self._is_openssh:
            self._proposing = self._loop.call_later(KEXINIT_WAIT_S, self._propose)
        else:
            super()._send_kexinit()

    @property
    def _is_openssh(self) -> bool:
        return self._client_version.startswith(_OPENSSH)

    def _propose(self, client: bytes | None = None) -> None:
        """Send what `_send_kexinit` held back. `client` is the client's own proposal, if it has come."""
        waiting = self._proposing
        if waiting is None or waiting.cancelled() or self.is_closed():
            return
        waiting.cancel()
        if client is not None and all(names.intersection(_GCM) for names in parse_ciphers(client)):
            self._enc_algs = _GCM
        super()._send_kexinit()

    async def _proposed(self, kind: int, number: int, packet: asyncssh.packet.SSHPacket) -> None:
        """Answer the client's proposal, or hang up if it exchanges keys too often.

        asyncssh takes a guess for right if it is what both agree on; Dropbear's client keeps to
        the RFC, and sends again.
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
        """Nothing here depends on the user's name: no OpenSSH configuration is ever read."""

    async def validate_public_key(
        self, username: str, key_data: bytes, msg: bytes, signature: bytes
    ) -> bool:
        # RFC 4252 §7: the signature is over the session identifier and the request.
        message = string(self._session_id) + msg if msg else b""
        return await self._visitor.key_offered(username, key_data, message, signature)

    def send_userauth_failure(self, partial_success: bool) -> None:
        if self._visitor.partial_success():
            super().send_userauth_failure(True)
        elif self._visitor.tries_used_up():
            self.hang_up(
                "too many tries to log in (try one key: ssh -o IdentitiesOnly=yes -i FILE)",
                asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE,
            )
        else:
            super().send_userauth_failure(partial_success)

    def kbdint_auth_supported(self) -> bool:
        return self._visitor.asks_person or super().kbdint_auth_supported()

    async def get_kbdint_challenge(
        self, username: str, lang: str, submethods: str
    ) -> KbdIntChallenge:
        if self._visitor.asks_person:
            return await self._visitor.sign_in(username)
        return await super().get_kbdint_challenge(username, lang, submethods)

    @property
    def offers_all_keys_again(self) -> bool:
        """Whether the client does so after a partial success."""
        return self._is_openssh

    def wait_for_person(self) -> None:
        """Let the login take as long as a person needs in a browser."""
        self._waits_for_person = True
        self._cancel_login_timer()

    async def create_agent_listener(self) -> bool:
        """A way to somebody's agent is made on this machine only where it was granted."""
        # One at a time: two requests at once would each make one, and one would never be closed.
        async with self._making_agent:
            if not (await self._visitor.agent_wanted() and await super().create_agent_listener()):
                return False
        if self.is_closed() and self._agent_listener is not None:
            # The client went meanwhile, and nobody else will close it now.
            self._agent_listener.close()
            self._agent_listener = None
            return False
        return True

    async def create_agent_connection(self, *given: Any, **named: Any) -> Any:
        """As asyncssh has it; one that was on its way when `stop_agent` was called is closed."""
        stopped = self._agent_stopped
        channel, session = await super().create_agent_connection(*given, **named)
        if stopped != self._agent_stopped:
            channel.abort()
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, _REFUSED)
        return channel, session

    def stop_agent(self) -> None:
        """The client's agent may not be used any more: its socket goes, and what is open to it."""
        self._agent_stopped += 1
        if self._agent_listener is not None:
            self._agent_listener.close()
            self._agent_listener = None
        for channel in tuple(self._channels.values()):
            if isinstance(channel, SSHAgentChannel):
                channel.abort()

    # What nobody may have. Without a handler a global request is answered with a failure, and the
    # connection stays; asyncssh's own would drop it for a forward that is not there to be cancelled.

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
