"""asyncssh's server connection, with bounds that it lacks: on memory, on requests, and on key exchanges.

asyncssh looks handlers up by name. `_auth_complete`, `_cancel_login_timer`, `_channels`, `_client_version`,
`_enc_algs`, `_ignore_first_kex`, `_inpbuf`, `_loop`, `_session_id` and names that contain `kex` belong to it.
"""

import asyncio
from enum import Enum, auto
from typing import Any, cast

import asyncssh

from stagedoor.listeners.ssh.options import AES_GCM
from stagedoor.listeners.ssh.packets import PacketConnection
from stagedoor.model.farewell import FAREWELL_S, REFUSAL_S
from stagedoor.model.units import KIB, MIB
from stagedoor.wire.ssh.blob import encode_string
from stagedoor.wire.ssh.kexinit import is_wrong_guess, parse_ciphers

UNREAD_BEFORE_LOGIN = 256 * KIB
"""The most bytes that a client may send while its login is checked; a correct client sends one packet."""
UNSENT_BYTES = 4 * MIB
"""When a client leaves this many bytes unread, the gateway stops reading from it."""
CONGESTED_BYTES = 256 * KIB
ENVIRONMENT_BYTES = 64 * KIB
"""The most bytes of a channel's environment variables; further variables are dropped."""
_VARIABLE_BYTES = 256
"""The memory of a variable besides its name and value."""
WAITING_REQUESTS = 64
"""The most requests of one channel that may wait behind a slow one, such as an agent request that waits for
the shell."""
KEXINIT_WAIT_S = 1.0
"""How long a client that calls itself OpenSSH has to send its KEXINIT first; stock ssh does so at once."""
_OPENSSH = b"SSH-2.0-OpenSSH_"
_GCM = tuple(name.encode() for name in AES_GCM)
TOO_MANY_KEY_EXCHANGES = (
    "too many key exchanges for so little data; "
    "connect again with a larger limit: ssh -o RekeyLimit=1G"
)
_DISCONNECT = 1
_KEXINIT = 20
_CHANNEL_REQUEST = 98
EXCHANGE_BURST = 80
"""The exchanges that are allowed at once after the login."""
EXCHANGES_PER_SECOND = 2.0
"""The further exchanges allowed per second."""
BYTES_EACH = 64 * KIB
"""One more exchange is allowed for each block of this many bytes, sent or received."""
WAITING_S = 60.0
"""The shortest time between two exchanges while a key waits for its user to sign in."""


class LoginPhase(Enum):
    """The phase of a connection's login."""

    LOGIN = auto()
    WAITING = auto()
    """The client's key waits until its user has signed in."""
    LOGGED_IN = auto()


class KeyExchanges:
    """The limit on a client's key exchanges (RFC 4253 §9). Pure: time is an argument, monotonic, in seconds.

    RFC 4253 permits a new exchange at any time, and each costs the worker a millisecond. OpenSSH starts none
    before its login is complete. After that, stock clients start one an hour or one a gigabyte by default;
    the limit still suffices for a user who sets `RekeyLimit 64K`.
    """

    def __init__(self) -> None:
        self._left: float = EXCHANGE_BURST
        self._last: float | None = None

    def count_bytes(self, size: int) -> None:
        """Count `size` bytes on the connection."""
        self._left = min(self._left + size / BYTES_EACH, EXCHANGE_BURST)

    def begin(self, phase: LoginPhase, now: float) -> bool:
        """Record an exchange that the client began or answered. Return False if it exceeds the limit."""
        last, self._last = self._last, now
        if last is None:
            return True
        match phase:
            case LoginPhase.LOGIN:
                return False
            case LoginPhase.WAITING:
                return now - last >= WAITING_S
            case LoginPhase.LOGGED_IN:
                self._left = (
                    min(self._left + (now - last) * EXCHANGES_PER_SECOND, EXCHANGE_BURST) - 1
                )
                return self._left >= 0


class BoundedConnection(PacketConnection):
    """An SSH connection of a client within the bounds. Close it by `hang_up`."""

    def __init__(self, options: asyncssh.SSHServerConnectionOptions, buffer: memoryview) -> None:
        super().__init__(options, buffer)
        self._tcp: asyncio.Transport | None = None
        self.close_reason: str | None = None
        """Why the gateway is closing the connection, or None."""
        self._aborted = False
        self._key_exchanges = KeyExchanges()
        self._waits_for_person = False
        self._proposing: asyncio.TimerHandle | None = None
        """Set while our first proposal waits for the client's."""
        self.is_congested = False
        """Whether the client reads too slowly."""
        self.has_hung_up = False
        """Whether the client has closed its TCP connection."""

    @property
    def is_leaving(self) -> bool:
        """Return whether the gateway is closing the connection."""
        return self.close_reason is not None

    @property
    def channel_count(self) -> int:
        """Return the number of open channels."""
        return len(self._channels)

    def hang_up(self, reason: str, code: int = asyncssh.DISC_BY_APPLICATION) -> None:
        """Close the connection with a line that the client's ssh prints (RFC 4253 §11.1).

        The DISCONNECT is sent before any channel is closed, because a client whose last channel is closed
        exits without reading on. Then the client gets a moment to close first, since closing a socket with
        unread bytes resets the connection and the line would be lost.
        """
        if self.is_leaving:
            return
        self.close_reason = reason
        parts = (code.to_bytes(4, "big"), encode_string(reason.encode()), encode_string(b""))
        self.send_packet(_DISCONNECT, *parts)
        time_s = FAREWELL_S if self._auth_complete else REFUSAL_S
        self._loop.call_later(time_s, self.abort)

    # Input and output, within the bounds.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin on `transport`, unless the connection has already been aborted."""
        self._tcp = cast(asyncio.Transport, transport)
        self._tcp.set_write_buffer_limits(CONGESTED_BYTES)
        super().connection_made(transport)
        if self._aborted:
            self.abort()

    def abort(self) -> None:
        """Close the connection at once."""
        self._aborted = True  # there may be no transport to close yet
        super().abort()

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        """Process bytes of the client, within the bounds."""
        if not self.is_leaving:
            self._key_exchanges.count_bytes(len(data))
            super().data_received(data, datatype)
            self._check_bounds()

    def buffer_updated(self, nbytes: int) -> None:
        """Process `nbytes` in the buffer, within the bounds."""
        if not self.is_leaving:
            self._key_exchanges.count_bytes(nbytes)
            super().buffer_updated(nbytes)
            self._check_bounds()

    def _send(self, data: bytes) -> None:
        self._key_exchanges.count_bytes(len(data))
        super()._send(data)

    def _check_bounds(self) -> None:
        """Abort if the client sends too much before the login. Pause reading if it does not read."""
        if not self._auth_complete and len(self._inpbuf) > UNREAD_BEFORE_LOGIN:
            self.abort()
        elif self._tcp is not None and self._tcp.get_write_buffer_size() > UNSENT_BYTES:
            self._tcp.pause_reading()

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
        """Record that the client has hung up."""
        self.has_hung_up = True
        super().eof_received()

    def connection_lost(self, exc: Exception | None = None) -> None:
        """Record whether the client closed the connection."""
        if isinstance(exc, OSError):
            self.has_hung_up = True
        super().connection_lost(exc)

    # Key exchange.

    def _send_kexinit(self) -> None:
        """Send our KEXINIT. To OpenSSH, only after its own has arrived.

        The client's order decides (RFC 4253 §7.1), and OpenSSH before version 10 prefers AES-CTR to
        AES-GCM. So it is offered AES-GCM alone if it supports that. Other clients may wait for our
        proposal, as libssh's does.
        """
        if not self._session_id and self._proposing is None and self.is_openssh:
            self._proposing = self._loop.call_later(KEXINIT_WAIT_S, self._propose)
        else:
            super()._send_kexinit()

    @property
    def is_openssh(self) -> bool:
        """Return whether the client calls itself OpenSSH."""
        return self._client_version.startswith(_OPENSSH)

    def suspend_login_timeout(self) -> None:
        """Suspend the login's time limit, since a sign-in in a browser takes longer."""
        self._waits_for_person = True
        self._cancel_login_timer()

    def _propose(self, client: bytes | None = None) -> None:
        """Send the proposal that `_send_kexinit` held back. `client` is the client's proposal, or None."""
        waiting = self._proposing
        if waiting is None or waiting.cancelled() or self.is_closed():
            return
        waiting.cancel()
        if client is not None and all(names.intersection(_GCM) for names in parse_ciphers(client)):
            self._enc_algs = _GCM
        super()._send_kexinit()

    async def _process_client_kexinit(
        self, kind: int, number: int, packet: asyncssh.packet.SSHPacket
    ) -> None:
        """Answer the client's proposal, or hang up if the client exchanges keys too often.

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
    def _phase(self) -> LoginPhase:
        if self._auth_complete:
            return LoginPhase.LOGGED_IN
        return LoginPhase.WAITING if self._waits_for_person else LoginPhase.LOGIN

    _packet_handlers = {  # noqa: RUF012 - asyncssh's way
        **asyncssh.SSHServerConnection._packet_handlers,
        _KEXINIT: _process_client_kexinit,
    }
