"""A connection whose bulk data takes a short way past asyncssh: fewer copies, and nothing superfluous.

asyncssh copies each data packet eight times, slices what is left of a read again for each packet,
and sends an empty packet before each. Here channel data that is encrypted by AES-GCM is taken apart
and put together at once; whatever else comes or goes is asyncssh's, as before. Names with an
underscore are asyncssh's own.
"""

import asyncio
import os
import time
from collections.abc import Iterable
from typing import Any

import asyncssh
from asyncssh.encryption import Encryption, GCMEncryption
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stagedoor.model.units import KIB

READ_BYTES = 512 * KIB
"""What one read of a socket may bring. The longest packet that asyncssh takes is half of it."""
_DATA = 94
"""SSH_MSG_CHANNEL_DATA (RFC 4254 §5.2)."""
_IGNORE = 2
_LENGTH_BYTES = 4
_TAG_BYTES = 16
_BLOCK_BYTES = 16
_LEAST_PADDING = 4
_DATA_HEAD = 10
"""Of a data packet: padding length, type, channel, and the data's own length."""


class Gcm(Encryption):
    """AES-GCM for one direction (RFC 5647 §7), from where asyncssh's own has got to."""

    def __init__(self, before: GCMEncryption) -> None:
        key, nonce = before._cipher._key, before._cipher._iv
        self._aead = AESGCM(key)
        self._fixed = nonce[:4]
        self._invocation = int.from_bytes(nonce[4:], "big")
        self._opened: bytes | None = None

    def seal(self, length: bytes, plain: bytes) -> bytes:
        """`plain` encrypted, with its tag."""
        return self._aead.encrypt(self._nonce(), plain, length)

    def open(self, length: memoryview, sealed: memoryview) -> bytes:
        """The counterpart of `seal`. Raises asyncssh.MACError: it was changed on the way."""
        try:
            plain = self._aead.decrypt(self._nonce(), sealed, length)
        except InvalidTag:
            plain = b""
        if not plain:
            raise asyncssh.MACError("MAC verification failed")
        return plain

    def give_back(self, plain: bytes) -> None:
        """What was opened is read once more, by asyncssh's way."""
        self._opened = plain

    def _nonce(self) -> bytes:
        nonce = self._fixed + self._invocation.to_bytes(8, "big")
        self._invocation = (self._invocation + 1) & 0xFFFFFFFFFFFFFFFF
        return nonce

    # What asyncssh asks of it.

    def encrypt_packet(self, seq: int, header: bytes, packet: bytes) -> tuple[bytes, bytes]:
        sealed = self.seal(header, packet)
        return header + sealed[:-_TAG_BYTES], sealed[-_TAG_BYTES:]

    def decrypt_header(self, seq: int, first_block: bytes, header_len: int) -> tuple[bytes, bytes]:
        return first_block, first_block[:header_len]

    def decrypt_packet(
        self, seq: int, first: bytes, rest: bytes, header_len: int, mac: bytes
    ) -> bytes | None:
        opened, self._opened = self._opened, None
        if opened is not None:
            return opened
        sealed = first[header_len:] + rest + mac
        return self.open(memoryview(first)[:header_len], memoryview(sealed))


class PacketConnection(asyncssh.SSHServerConnection, asyncio.BufferedProtocol):
    """Reads into `buffer`, of `READ_BYTES`, which all connections of an event loop may share."""

    def __init__(self, options: asyncssh.SSHServerConnectionOptions, buffer: memoryview) -> None:
        super().__init__(asyncio.get_running_loop(), options)
        self._buffer = buffer
        self._placed = -1
        self._heard_at = 0.0

    # Reading (asyncio.BufferedProtocol): between two reads, what is not a whole packet yet lies in
    # `_inpbuf`, so that the buffer is nobody's.

    def get_buffer(self, sizehint: int) -> memoryview:
        kept = len(self._inpbuf)
        at_header = isinstance(self._recv_encryption, Gcm) and (
            self._recv_handler == self._recv_pkthdr
        )
        if not at_header or kept > READ_BYTES - self._max_recv_pktlen // 2:
            self._placed = -1
            return self._buffer
        self._buffer[:kept] = self._inpbuf
        self._placed = kept
        return self._buffer[kept:]

    def buffer_updated(self, nbytes: int) -> None:
        if self._placed < 0:
            self.data_received(bytes(self._buffer[:nbytes]))
            return
        self._inpbuf = self._buffer[: self._placed + nbytes]  # type: ignore[assignment]  # till below
        self._recv_data()

    def _recv_data(self) -> None:
        super()._recv_data()
        self._inpbuf = bytes(self._inpbuf)

    def _recv_pkthdr(self) -> bool:
        cipher = self._recv_encryption
        if not isinstance(cipher, Gcm):
            return super()._recv_pkthdr()
        unread = memoryview(self._inpbuf)
        at = 0
        while len(unread) - at >= _LENGTH_BYTES:
            begin = at + _LENGTH_BYTES
            size = int.from_bytes(unread[at:begin], "big")
            if size > self._max_recv_pktlen:
                raise asyncssh.ProtocolError("Max packet size exceeded")
            end = begin + size + _TAG_BYTES
            if end > len(unread):
                break
            plain = cipher.open(unread[at:begin], unread[begin:end])
            if not self._took_data(plain):
                cipher.give_back(plain)
                self._inpbuf = bytes(unread[at:end])
                done = super()._recv_pkthdr() and self._recv_packet()
                if not done or self._recv_encryption is not cipher:
                    self._inpbuf += unread[end:]  # bytes again
                    return done
            at = end
        self._inpbuf = unread[at:]  # type: ignore[assignment]  # until `_recv_data` is done
        return False

    def _took_data(self, plain: bytes) -> bool:
        """Whether it was a data packet in order, and is delivered. All else is asyncssh's to judge."""
        if len(plain) < _DATA_HEAD or plain[1] != _DATA:
            return False
        channel: Any = self._channels.get(int.from_bytes(plain[2:6], "big"))
        size = int.from_bytes(plain[6:10], "big")
        if (
            channel is None
            or channel._recv_state != "open"
            or size > channel._recv_window
            or _DATA_HEAD + size + plain[0] != len(plain)
        ):
            return False
        self._auth_final = True  # as asyncssh does after any packet of this phase
        self._recv_seq = (self._recv_seq + 1) & 0xFFFFFFFF
        end = _DATA_HEAD + size
        # A view saves a copy, for code that only passes it on.
        view = getattr(channel._session, "takes_views", False)
        channel._accept_data(memoryview(plain)[_DATA_HEAD:end] if view else plain[_DATA_HEAD:end])
        return True

    # Writing.

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        super().send_newkeys(k, h)
        # Both are new from here on (RFC 4253 §7.3); the first may have sealed a packet already.
        if isinstance(self._send_encryption, GCMEncryption):
            self._send_encryption = Gcm(self._send_encryption)
        if isinstance(self._next_recv_encryption, GCMEncryption):
            self._next_recv_encryption = Gcm(self._next_recv_encryption)

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        # asyncssh puts an empty packet before each one, which helps ciphers in CBC mode
        # (RFC 4251 §9.3.1). None of those that we offer is.
        if pkttype != _IGNORE:
            super().send_packet(pkttype, *args, handler=handler)

    def send_data(self, channel: Any, data: bytes) -> None:
        """As `channel.write(data)`, by the short way if nothing stands in it. Raises OSError."""
        cipher = self._send_encryption
        loaded = self._rekey_bytes_sent >= self._rekey_bytes or (
            self._rekey_seconds and time.monotonic() >= self._rekey_time
        )
        if (
            not isinstance(cipher, Gcm)
            or not self._kex_complete
            or loaded
            or channel._send_state != "open"
            or channel._send_buf
            or not channel._send_pktsize
        ):
            channel.write(data)
            return
        at_once = min(len(data), channel._send_window)
        view = memoryview(data)
        self._send(b"".join(self._sealed(cipher, channel, view[:at_once])))
        channel._send_window -= at_once
        if at_once < len(data):
            channel.write(view[at_once:])

    def _sealed(self, cipher: Gcm, channel: Any, data: memoryview) -> Iterable[bytes]:
        """`data` as packets (RFC 4253 §6)."""
        head = bytes((_DATA,)) + channel._send_chan.to_bytes(4, "big")
        for at in range(0, len(data), channel._send_pktsize):
            piece = data[at : at + channel._send_pktsize]
            padding = -(_DATA_HEAD + len(piece)) % _BLOCK_BYTES
            if padding < _LEAST_PADDING:
                padding += _BLOCK_BYTES
            plain = b"".join((
                bytes((padding,)), head, len(piece).to_bytes(4, "big"), piece, os.urandom(padding),
            ))  # fmt: skip
            length = len(plain).to_bytes(4, "big")
            self._rekey_bytes_sent += len(plain)
            self._send_seq = (self._send_seq + 1) & 0xFFFFFFFF
            yield length
            yield cipher.seal(length, plain)

    # Keepalive: asyncssh makes a new timer for each read; here one looks when it was heard last.

    def _reset_keepalive_timer(self) -> None:
        self._heard_at = self._loop.time()
        if self._auth_complete and self._keepalive_timer is None:
            self._set_keepalive_timer()

    def _keepalive_timer_callback(self) -> None:
        left_s = self._heard_at + self._keepalive_interval - self._loop.time()
        if left_s > 0:
            self._keepalive_timer = self._loop.call_later(left_s, self._keepalive_timer_callback)
        else:
            super()._keepalive_timer_callback()
