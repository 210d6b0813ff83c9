"""The two ends of a tunnel as tests hold them: real sockets, plain or TLS, that block."""

import contextlib
import ctypes
import datetime
import socket
import ssl
import struct
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.pace import allow

_INTERFACES = Path("/proc/net/if_inet6")
HAS_IPV6 = _INTERFACES.exists() and bool(_INTERFACES.read_text())
PATIENCE_S = allow(60.0)
_RST = struct.pack("ii", 1, 0)
_SO_ATTACH_FILTER = 26


class Peer:
    """A plain TCP end."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(PATIENCE_S)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def read(self, limit: int = 65536) -> bytes:
        """Raises ConnectionResetError where the other end did."""
        return self.sock.recv(limit)

    def read_exactly(self, size: int) -> bytes:
        got = bytearray()
        while len(got) < size:
            data = self.read(size - len(got))
            assert data, f"the end came after {len(got)} of {size} bytes"
            got += data
        return bytes(got)

    def read_to_end(self) -> bytes:
        got = bytearray()
        while data := self.read():
            got += data
        return bytes(got)

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        self.sock.close()

    def play_dead(self) -> None:
        """Drop every packet that comes, like a machine that lost its power (socket(7), BPF)."""
        code = (ctypes.c_char * 8).from_buffer_copy(struct.pack("HBBI", 0x06, 0, 0, 0))  # ret 0
        self.sock.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(code))
        )

    def close(self) -> None:
        self.sock.close()


class TlsPeer(Peer):
    """The client's end of TLS, with half-close. Reading and sending may go on in two threads."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(sock)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._lock = threading.Lock()
        self._ready = b""
        self.tls = context.wrap_bio(self._in, self._out, server_hostname="localhost")

    def handshake(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.sock.sendall(self._out.read())
                data = self.sock.recv(65536)
                if not data:
                    raise ConnectionResetError("the gateway left in the handshake") from None
                self._in.write(data)
            else:
                self.sock.sendall(self._out.read())
                return

    def send(self, data: bytes) -> None:
        for at in range(0, len(data), 16384):
            with self._lock:
                self.tls.write(data[at : at + 16384])
                record = self._out.read()
            self.sock.sendall(record)

    def read(self, limit: int = 65536) -> bytes:
        """Read some bytes; an end without close_notify is an ssl.SSLEOFError."""
        while True:
            with self._lock:
                if self._ready:
                    data, self._ready = self._ready[:limit], self._ready[limit:]
                    return data
                try:
                    return self.tls.read(limit)
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLZeroReturnError:
                    return b""
            data = self.sock.recv(65536)
            with self._lock:
                if data:
                    self._in.write(data)
                else:
                    self._in.write_eof()

    def half_close(self) -> None:
        with self._lock:
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                while data := self.tls.read(65536):
                    self._ready += data
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                self.tls.unwrap()
            record = self._out.read()
        self.sock.sendall(record)
        self.sock.shutdown(socket.SHUT_WR)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Return a peer's socket and the gateway's, which does not block."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    ours.setblocking(False)
    for sock in (peer, ours):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer, ours


def write_certificate(folder: Path, name: str = "localhost") -> tuple[Path, Path]:
    """Write a self-signed certificate and its key, and return both files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file
