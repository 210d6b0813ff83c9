"""An SSH connection whose channel data bypasses asyncssh's packet code, with fewer copies.

asyncssh copies each data packet eight times, slices the rest of a read again for each packet, and
sends an empty packet before each one. This module parses and builds channel data that is encrypted
by AES-GCM directly; asyncssh handles everything else as before. Names that begin with _recv, _send,
_rekey or _keepalive belong to asyncssh, as do `_auth_complete`, `_auth_final`, `_channels`,
`_inpbuf`, `_kex_complete`, `_loop` and `_max_recv_pktlen`.
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
"""The most bytes of one read. The longest packet that asyncssh accepts is half of it."""
_DATA = 94
"""SSH_MSG_CHANNEL_DATA (RFC 4254 §5.2)."""
_IGNORE = 2
_LENGTH_BYTES = 4
_TAG_BYTES = 16
_BLOCK_BYTES = 16
_MIN_PADDING = 4
_DATA_HEAD = 10
"""The bytes of a data packet before its data: padding length, type, channel, and data length."""


class Gcm(Encryption):
    """AES-GCM for one direction (RFC 5647 §7), which continues from the state of asyncssh's cipher."""

    def __init__(self, before: GCMEncryption) -> None:
        key, nonce = before._cipher._key, before._cipher._iv
        self._aead = AESGCM(key)
        self._fixed = nonce[:4]
        self._invocation = int.from_bytes(nonce[4:], "big")
        self._opened: bytes | None = None

    def seal(self, length: bytes, plain: bytes) -> bytes:
        """Return `plain` encrypted, with its tag."""
        return self._aead.encrypt(self._nonce(), plain, length)

    def open(self, length: memoryview, sealed: memoryview) -> bytes:
        """Decrypt what `seal` has returned. Raises asyncssh.MACError if it was changed on the way."""
        try:
            plain = self._aead.decrypt(self._nonce(), sealed, length)
        except InvalidTag:
            plain = b""
        if not plain:
            raise asyncssh.MACError("MAC verification failed")
        return plain

    def give_back(self, plain: bytes) -> None:
        """Keep a decrypted packet for asyncssh, which reads it next with `decrypt_packet`."""
        self._opened = plain

    def _nonce(self) -> bytes:
        nonce = self._fixed + self._invocation.to_bytes(8, "big")
        self._invocation = (self._invocation + 1) & 0xFFFFFFFFFFFFFFFF
        return nonce

    # For asyncssh.

    def encrypt_packet(self, seq: int, header: bytes, packet: bytes) -> tuple[bytes, bytes]:
        """Return the encrypted packet with its header, and the tag."""
        sealed = self.seal(header, packet)
        return header + sealed[:-_TAG_BYTES], sealed[-_TAG_BYTES:]

    def decrypt_header(self, seq: int, first_block: bytes, header_len: int) -> tuple[bytes, bytes]:
        """Return the first block and the header in it, which is not encrypted."""
        return first_block, first_block[:header_len]

    def decrypt_packet(
        self, seq: int, first: bytes, rest: bytes, header_len: int, mac: bytes
    ) -> bytes | None:
        """Return the packet kept by `give_back`, or decrypt one."""
        opened, self._opened = self._opened, None
        if opened is not None:
            return opened
        sealed = first[header_len:] + rest + mac
        return self.open(memoryview(first)[:header_len], memoryview(sealed))


class PacketConnection(asyncssh.SSHServerConnection, asyncio.BufferedProtocol):
    """A server connection that reads into `buffer`.

    The buffer has `READ_BYTES`. All connections of an event loop may share it.
    """

    def __init__(self, options: asyncssh.SSHServerConnectionOptions, buffer: memoryview) -> None:
        super().__init__(asyncio.get_running_loop(), options)
        self._buffer = buffer
        self._placed = -1
        self._heard_at = 0.0

    # Reading (asyncio.BufferedProtocol). Between two reads, an incomplete packet is kept in
    # `_inpbuf`, so that other connections can use the buffer.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for the next read, after the incomplete packet if there is one."""
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
        """Handle `nbytes` that were read into the buffer."""
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
            if not self._deliver_data(plain):
                cipher.give_back(plain)
                self._inpbuf = bytes(unread[at:end])
                done = super()._recv_pkthdr() and self._recv_packet()
                if not done or self._recv_encryption is not cipher:
                    self._inpbuf += unread[end:]  # bytes again
                    return done
            at = end
        self._inpbuf = unread[at:]  # type: ignore[assignment]  # until `_recv_data` is done
        return False

    def _deliver_data(self, plain: bytes) -> bool:
        """Deliver a valid data packet. Return False for any other packet, which asyncssh then handles."""
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
        # A view saves a copy, since most code only passes the data on.
        takes_views = getattr(channel._session, "takes_views", False)
        data = memoryview(plain)[_DATA_HEAD:end] if takes_views else plain[_DATA_HEAD:end]
        channel._accept_data(data)
        return True

    # Writing.

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        """Begin to use new keys, with `Gcm` if they are for AES-GCM."""
        super().send_newkeys(k, h)
        # Both directions have new keys now (RFC 4253 §7.3); sending may have used its key already.
        if isinstance(self._send_encryption, GCMEncryption):
            self._send_encryption = Gcm(self._send_encryption)
        if isinstance(self._next_recv_encryption, GCMEncryption):
            self._next_recv_encryption = Gcm(self._next_recv_encryption)

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        """Send a packet, unless it is one of asyncssh's empty packets.

        asyncssh sends an empty packet before each packet, to protect ciphers in CBC mode
        (RFC 4251 §9.3.1). We offer no such cipher.
        """
        if pkttype != _IGNORE:
            super().send_packet(pkttype, *args, handler=handler)

    def send_data(self, channel: Any, data: bytes) -> None:
        """Send as `channel.write(data)` does, directly if possible. Raises OSError."""
        cipher = self._send_encryption
        rekey_is_due = self._rekey_bytes_sent >= self._rekey_bytes or (
            self._rekey_seconds and time.monotonic() >= self._rekey_time
        )
        if (
            not isinstance(cipher, Gcm)
            or not self._kex_complete
            or rekey_is_due
            or channel._send_state != "open"
            or channel._send_buf
            or not channel._send_pktsize
        ):
            channel.write(data)
            return
        at_once = min(len(data), channel._send_window)
        view = memoryview(data)
        self._send(b"".join(self._seal(cipher, channel, view[:at_once])))
        channel._send_window -= at_once
        if at_once < len(data):
            channel.write(view[at_once:])

    def _seal(self, cipher: Gcm, channel: Any, data: memoryview) -> Iterable[bytes]:
        """Yield `data` in the parts of encrypted packets (RFC 4253 §6)."""
        head = bytes((_DATA,)) + channel._send_chan.to_bytes(4, "big")
        for at in range(0, len(data), channel._send_pktsize):
            piece = data[at : at + channel._send_pktsize]
            padding = -(_DATA_HEAD + len(piece)) % _BLOCK_BYTES
            if padding < _MIN_PADDING:
                padding += _BLOCK_BYTES
            plain = b"".join((
                bytes((padding,)), head, len(piece).to_bytes(4, "big"), piece, os.urandom(padding),
            ))  # fmt: skip
            length = len(plain).to_bytes(4, "big")
            self._rekey_bytes_sent += len(plain)
            self._send_seq = (self._send_seq + 1) & 0xFFFFFFFF
            yield length
            yield cipher.seal(length, plain)

    # Keepalive: asyncssh makes a new timer for each read. Here one timer checks the time of the last read.

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
