"""asyncssh's client connection, with the limits on memory and time that hostile shells make necessary.

A shell's developers may run anything in place of its sshd. `_auth_complete`, `_channels`,
`_cleanup`, `_deferred_packets`, `_force_close`, `_kex_complete`, `_loop`, `_recv_handler`, `_stdin`,
`_stdout` and `_stderr` are asyncssh's own.
"""

import asyncio
import socket
from contextlib import suppress
from typing import Any, cast

import asyncssh
from asyncssh.stream import SSHStreamSession

from stagedoor.model.denial import Denial
from stagedoor.model.target import Target
from stagedoor.model.units import KIB, MIB
from stagedoor.wire.oneline import to_one_line
from stagedoor.wire.ssh.preface import MAX_BYTES, SshPreface

READ_BYTES = 64 * KIB
"""The most bytes of one read, before other connections are served. They may contain two thousand messages."""
CONGESTED_BYTES = 256 * KIB
"""With this many unsent bytes, no more data is sent, whatever windows the shell opens."""
UNREAD_BYTES = 4 * MIB
"""This many unsent bytes can only be answers to a shell that sends requests and reads nothing."""
DEFERRED = 4096
"""The answers that may wait for the end of a key exchange."""
REKEY_S = 30.0
"""A key exchange after the login takes seconds at most."""
PIECES = 256
"""The most pieces of data that wait separately. More are joined, since a piece of two bytes takes a
hundred."""
CHANNELS = 256
"""The most channels of one connection, including those that the shell opens (to a forwarded agent)."""
_DATA = 94
_EXTENDED_DATA = 95
_WINDOWS = (91, 93)
"""The messages that grant a window (RFC 4254 §5.1, §5.2)."""


MAX_MESSAGE_CHARS = 200
"""The most characters of a shell's message that a user is shown."""


MESSAGE_BURST = 4000
"""The messages without data that a shell may send at once; a real sshd sends a few."""
MESSAGES_PER_SECOND = 100
"""The further messages without data allowed per second."""
PER_DATA = 2
"""The further messages allowed per data packet, in either direction: asyncssh's server sends an empty message
before each packet, and both sides have to open windows and renew keys."""
_COST = {20: 50, 90: 20}
"""How many other messages cost as much work as one SSH_MSG_KEXINIT or SSH_MSG_CHANNEL_OPEN."""


def skip_data() -> bool:
    """Parse nothing, as the last of asyncssh's `_recv_handler`s."""
    return False


class MessageRateLimit:
    """The limit on a shell's messages without data, each of which costs work and an answer. Pure.

    Such messages are global requests, key exchanges, and the opening of channels that are refused. `now` is
    monotonic, in seconds.
    """

    def __init__(self, now: float) -> None:
        self._left: float = MESSAGE_BURST
        self._at = now

    def count_data(self) -> None:
        """Count a data packet to the shell."""
        self._left = min(self._left + PER_DATA, MESSAGE_BURST)

    def count_message(self, kind: int, now: float) -> bool:
        """Count a message of this kind from the shell. Return False if the shell sends too many."""
        if kind in (_DATA, _EXTENDED_DATA):
            self._left = min(self._left + PER_DATA, MESSAGE_BURST)
            return True
        since_s, self._at = now - self._at, now
        self._left = min(self._left + since_s * MESSAGES_PER_SECOND, MESSAGE_BURST) - _COST.get(
            kind, 1
        )
        return self._left >= 0


class ProtocolError(asyncssh.ProtocolError):
    """Raised to hang up on a shell that behaves as no sshd does. The message is one line."""


def explain_hang_up(name: str, error: Exception | None) -> str:
    """Return the message for a lost connection to the shell `name`; `error` is asyncssh's."""
    if not isinstance(error, asyncssh.Error) or isinstance(error, asyncssh.ConnectionLost):
        return f"the shell {name} hung up"
    is_breach = isinstance(error, asyncssh.ProtocolError)
    what = "broke the SSH protocol" if is_breach else "hung up"
    return f"the shell {name} {what}: {to_one_line(error.reason, MAX_MESSAGE_CHARS)}"


class ShellConnection(asyncssh.SSHClientConnection):
    """One connection to a shell. `connect` makes it."""

    def __init__(
        self, options: asyncssh.SSHClientConnectionOptions, target: Target, sock: socket.socket
    ) -> None:
        super().__init__(asyncio.get_running_loop(), options, wait="auth")
        self._socket = sock
        self._message_rate = MessageRateLimit(self._loop.time())
        self._tcp: asyncio.Transport | None = None
        self._holds: set[str] = set()
        """The current reasons to send no data."""
        self._withheld: dict[Any, int] = {}
        """The window withheld from each channel."""
        self._rekeying: asyncio.TimerHandle | None = None
        self._preface: SshPreface | None = SshPreface(target)

    @classmethod
    async def connect(
        cls, sock: socket.socket, options: asyncssh.SSHClientConnectionOptions, target: Target
    ) -> "ShellConnection | Denial":
        """Log in to the shell of `target`. Raises asyncssh.Error and OSError, and closes `sock` then.

        Return a denial if the shell's server refuses all logins before it speaks SSH.
        """
        loop = asyncio.get_running_loop()
        options.waiter = loop.create_future()
        _, connection = await loop.create_connection(lambda: cls(options, target, sock), sock=sock)
        try:
            await options.waiter
        except (asyncssh.Error, OSError):
            connection.abort()
            denial = connection._preface.find_refusal() if connection._preface is not None else None
            if denial is None:
                raise
            return denial
        except BaseException:
            connection.abort()
            raise
        return connection

    # Receiving.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, and bound what it buffers."""
        self._tcp = cast(asyncio.Transport, transport)
        self._tcp.set_write_buffer_limits(CONGESTED_BYTES)
        self._tcp.max_size = READ_BYTES  # type: ignore[attr-defined]  # asyncio's own, of its sockets
        super().connection_made(transport)

    def data_received(self, data: bytes, datatype: Any = None) -> None:
        """Pass the first bytes to the preface before asyncssh parses them."""
        if self._preface is not None and not self._preface.feed(data):
            self._preface = None
        super().data_received(data, datatype)

    def connection_lost(self, exc: Exception | None = None) -> None:
        """Read the last bytes of a server that refuses before asyncssh reports the loss."""
        if self._preface is not None:
            # Such a server does not wait for our bytes, so a write may fail before its line is read.
            with suppress(OSError):
                if not self._preface.feed(self._socket.recv(MAX_BYTES)):
                    self._preface = None
        super().connection_lost(exc)

    def _cleanup(self, exc: Exception | None) -> None:
        super()._cleanup(exc)
        self._recv_handler = skip_data  # its bound method would be a cycle, as in `ShellProcess`

    def _finish_recv_packet(
        self, pkttype: int, seq: int, _task: Any = None, is_async: bool = False
    ) -> None:
        """Check each message. asyncssh ends the connection if this raises."""
        breach = self._find_breach(pkttype)
        if breach is None:
            self._bound_channels(pkttype)
            super()._finish_recv_packet(pkttype, seq, _task, is_async)
        elif is_async:
            self._force_close(ProtocolError(breach))
        else:
            raise ProtocolError(breach)

    def _find_breach(self, kind: int) -> str | None:
        """Count a message, and return how the shell breaks the limits, or None."""
        if not self._message_rate.count_message(kind, self._loop.time()):
            return "it sends requests and other messages without end, and no data"
        if len(self._channels) > CHANNELS:
            return f"it opened more than {CHANNELS} channels"
        if len(self._deferred_packets) > DEFERRED:
            return "it began a key exchange, and asks for answers instead of ending it"
        if self._tcp is not None and self._tcp.get_write_buffer_size() > UNREAD_BYTES:
            return f"it asks for answers, and does not read them ({UNREAD_BYTES // MIB} MiB wait)"
        return None

    def _bound_channels(self, kind: int) -> None:
        """Bound what the channels keep and send, after a message of this kind was processed."""
        if kind in (_DATA, _EXTENDED_DATA):
            self._join_pieces()
        elif kind in _WINDOWS and self._holds:
            self._withhold()

    def _join_pieces(self) -> None:
        """Join the pieces of data that wait for their reader, since asyncssh keeps each."""
        channel: Any
        for channel in self._channels.values():
            if len(channel._recv_buf) > PIECES:
                by_type: dict[int | None, list[bytes]] = {}
                for data, datatype in channel._recv_buf:
                    by_type.setdefault(datatype, []).append(data)
                channel._recv_buf[:] = [(b"".join(each), of) for of, each in by_type.items()]
            if isinstance(channel._session, SSHStreamSession):
                for pieces in channel._session._recv_buf.values():
                    if len(pieces) <= PIECES:
                        continue
                    plain = [piece for piece in pieces if isinstance(piece, bytes)]
                    if len(plain) == len(pieces):  # and contain no exception
                        pieces[:] = [b"".join(plain)]

    # Sending. A shell may open a window of gigabytes and read nothing. So while too many bytes wait to be
    # sent, channels get no window, and asyncssh pauses the code that writes to them.

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        """Send a packet. Each data packet allows the shell more messages."""
        if pkttype == _DATA:
            self._message_rate.count_data()
        super().send_packet(pkttype, *args, handler=handler)

    def pause_writing(self) -> None:
        """Stop reading from channels while the socket's buffer is full."""
        self._hold("unsent")

    def resume_writing(self) -> None:
        """Read from channels again."""
        self._release("unsent")

    def _send_kexinit(self) -> None:
        super()._send_kexinit()
        if self._auth_complete:
            self._hold("key exchange")
            if self._rekeying is None:
                self._rekeying = self._loop.call_later(REKEY_S, self._rekey_late)

    def _send_deferred_packets(self) -> None:
        super()._send_deferred_packets()
        if self._kex_complete and self._rekeying is not None:
            self._rekeying.cancel()
            self._rekeying = None
            self._release("key exchange")

    def _rekey_late(self) -> None:
        self._force_close(ProtocolError(f"it did not end a key exchange within {REKEY_S:g} s"))

    def _hold(self, reason: str) -> None:
        self._holds.add(reason)
        self._withhold()

    def _release(self, reason: str) -> None:
        self._holds.discard(reason)
        if self._holds:
            return
        withheld, self._withheld = self._withheld, {}
        for channel, window in withheld.items():
            channel._send_window += window
            if channel._send_state != "closed":
                channel._flush_send_buf()
        if self._holds:
            self._withhold()  # flushing filled the buffer again

    def _withhold(self) -> None:
        channel: Any
        for channel in self._channels.values():
            if channel._send_window:
                self._withheld[channel] = self._withheld.get(channel, 0) + channel._send_window
                channel._send_window = 0


class ShellProcess(asyncssh.SSHClientProcess[bytes]):
    """A program in a shell, with its input, output and errors. `start` creates it.

    asyncssh's processes and their streams refer to each other. So a closed process, and its connection, which
    takes 80 KiB, would live until the garbage collector looks for cycles.
    """

    @classmethod
    async def start(cls, shell: asyncssh.SSHClientConnection, command: str) -> "ShellProcess":
        """Start `command` in a shell. Raises asyncssh.Error."""
        _, process = await shell.create_session(cls, command, encoding=None)
        return cast(ShellProcess, process)

    def release(self) -> None:
        """Close the channel, and let go of the streams. Nothing can be read or written any more."""
        self.close()
        self._stdin = self._stdout = self._stderr = None
