"""The server's side of TLS over a non-blocking stream, with half-close in both directions.

The `ssl` module's sockets cannot half-close: their `unwrap` waits for the peer's close_notify, and
treats data before it as an error. Here TLS runs in memory (`ssl.SSLObject`).
"""

import contextlib
import ssl
from pathlib import Path

from cryptography import x509

from stagedoor.model.errors import SettingsError
from stagedoor.net import aio
from stagedoor.net.tcp import TcpStream

_RECORD = 16 * 1024
"""The most plain text in one record (RFC 8446 §5.1), and in the output buffer."""

_READ = 64 * 1024
_MAX_UNSENT = 64 * 1024
"""More than a record and a handshake's flight. Anything beyond it answers messages of TLS itself
(KeyUpdate, RFC 8446 §4.6.3); a peer that requests such answers and does not read them is cut off."""


class TlsStream:
    """TLS over `stream`, which it owns, as a `relay.ports.Stream`. Await `complete_handshake` first.

    `received` was read from the stream already. At most `read_bytes` are read at once; OpenSSL keeps a buffer
    of that size for each stream.
    """

    __slots__ = ("_in", "_out", "_read_bytes", "_ready", "_shut", "_tcp", "_tcp_ended", "_tls")

    def __init__(
        self,
        stream: TcpStream,
        context: ssl.SSLContext,
        received: bytes = b"",
        read_bytes: int = _READ,
    ) -> None:
        self._tcp = stream
        self._read_bytes = read_bytes
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._in.write(received)
        self._ready = b""
        """Decrypted before our close_notify was sent, and not yet read."""
        self._shut = False
        self._tcp_ended = False

    @property
    def spliceable(self) -> bool:
        """Return False: the bytes have to be encrypted."""
        return False

    def fileno(self) -> int:
        """Return the socket's descriptor, -1 once it is closed."""
        return self._tcp.fileno()

    async def complete_handshake(self) -> None:
        """Complete the handshake.

        Raises OSError, of which `ssl.SSLError` is one, if the peer speaks no supported TLS, or leaves.
        """
        while not self._continue_handshake():
            if self.flush():
                await aio.wait_readable(self.fileno())
            else:
                await aio.wait_writable(self.fileno())

    def _continue_handshake(self) -> bool:
        """Continue the handshake as far as possible without waiting. Return True if it is complete."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                if self.flush() and self._fill():
                    continue
                if self._tcp_ended:
                    raise ConnectionResetError("the peer left in the TLS handshake") from None
                return False
            except ssl.SSLError:
                self._send_alert()
                raise
            return self.flush()

    def recv(self, limit: int) -> bytes | None:
        """Return up to `limit` decrypted bytes; b"" at the peer's close_notify; None if nothing is there yet.

        Raises OSError, also for an end without close_notify.
        """
        if self._ready:
            data, self._ready = self._ready[:limit], self._ready[limit:]
            return data
        while True:
            data_or_none = self._decrypt(limit)
            if data_or_none is not None:
                return data_or_none
            if not self._fill():
                if self._tcp_ended:
                    # RFC 8446 §6.1: an end without close_notify may be an attacker's.
                    raise ConnectionResetError("TLS ended without close_notify: cut short")
                return None

    def send(self, data: bytes | memoryview) -> int:
        """Encrypt and send, and return the number of bytes taken. Raises OSError.

        Nothing is taken while a part of the last record is still unsent.
        """
        taken = 0
        while taken < len(data) and self.flush():
            taken += self._tls.write(data[taken : taken + _RECORD])
        self.flush()
        return taken

    def flush(self) -> bool:
        """Send what is left of the last record. Return True if nothing is left. Raises OSError."""
        if not self._out.pending:
            return True
        # Reading empties the BIO, so bytes that the socket does not take can be put back.
        data = self._out.read()
        taken = self._tcp.send(data)
        if taken < len(data):
            self._out.write(data[taken:])
            return False
        if self._shut:
            self._tcp.shutdown_write()
        return True

    def shutdown_write(self) -> None:
        """Send close_notify (RFC 8446 §6.1), then FIN. The peer's data can still be read.

        SSL_shutdown(3) reports an error if it comes across unread data, so everything that has arrived
        is decrypted first. Then it finds nothing and wants to read, and our close_notify is sent.
        """
        if self._shut:
            return
        self.flush()
        ready = bytearray(self._ready)
        while chunk := self._decrypt(_READ):
            ready += chunk
        self._ready = bytes(ready)
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            self._tls.unwrap()
        self._shut = True
        self.flush()

    def count_unacknowledged(self) -> int:
        """Return `TcpStream.count_unacknowledged`, in encrypted bytes."""
        return self._tcp.count_unacknowledged()

    def set_option(self, level: int, option: int, value: int) -> None:
        """Set a socket option, as `TcpStream.set_option` does."""
        self._tcp.set_option(level, option, value)

    def error(self) -> int:
        """Return and clear the socket's pending errno (SO_ERROR), 0 if there is none."""
        return self._tcp.error()

    def abort(self) -> None:
        """Close with RST."""
        self._tcp.abort()

    def close(self) -> None:
        """Close the TCP connection. Only `shutdown_write` sends close_notify."""
        self._tcp.close()

    def _decrypt(self, limit: int) -> bytes | None:
        """Decrypt up to `limit` bytes from memory; b"" at the peer's close_notify; None if there are none."""
        try:
            return self._tls.read(limit)
        except ssl.SSLWantReadError:
            # Reading may have produced an answer to a KeyUpdate (RFC 8446 §4.6.3).
            if self._out.pending and not self._shut:
                self.flush()
            return None
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLError:
            self._send_alert()
            raise

    def _fill(self) -> bool:
        """Read from the socket. Return True if there were any bytes."""
        if self._out.pending > _MAX_UNSENT and not self.flush():
            raise ConnectionResetError("the peer asks for more than it reads")
        data = self._tcp.recv(self._read_bytes)
        if data is None:
            return False
        if not data:
            self._tcp_ended = True
            return False
        self._in.write(data)
        return True

    def _send_alert(self) -> None:
        """Send the alert that TLS has produced for an error, if it can be sent now."""
        with contextlib.suppress(OSError):
            self.flush()


ServerTls = ssl.SSLContext
"""The TLS context for accepting connections, from `make_server_context`."""


def make_server_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """Return a context for accepting TLS 1.2 and 1.3, from a PEM chain and its unencrypted key.

    Raises SettingsError with one line that names the file, the fault and the setting.
    """
    _check_pem(cert_file, b"-----BEGIN CERTIFICATE-----", "tunnel.certificate_file", "certificate")
    _check_pem(key_file, b"PRIVATE KEY-----", "tunnel.key_file", "private key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Renegotiation lets a peer cause work for free; compression leaks (RFC 9325 §3.3, §3.5).
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # No tickets: a peer that only writes, and then closes, would answer them with an RST.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except _EncryptedError:
        raise SettingsError(
            f"the private key {key_file} is encrypted, and the gateway cannot ask for its passphrase; "
            f"write it without one (openssl pkey -in {key_file} -out NEW, mode 0600) "
            "and set tunnel.key_file"
        ) from None
    except ssl.SSLError as error:
        raise SettingsError(_describe_error(error, cert_file, key_file)) from None
    return context


def make_client_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context for connecting to servers with certificates from the authorities in `ca_file`.

    None stands for the system's authorities. Certificates are checked as OpenSSL, curl and Go do. Since
    3.13 Python requires of every certificate what RFC 5280 requires of those of public CAs
    (VERIFY_X509_STRICT); a company's own certificates often lack key identifiers or key usage. Raises
    OSError, of which ssl.SSLError is one.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def read_names(cert_file: Path) -> frozenset[str]:
    """Return the DNS names in a certificate (RFC 5280 §4.2.1.6), in lower case.

    `cert_file` is a file that `make_server_context` accepts. Raises OSError, ValueError.
    """
    certificate = x509.load_pem_x509_certificates(cert_file.read_bytes())[0]
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(name.lower() for name in names.get_values_for_type(x509.DNSName))


def read_validity(cert_file: Path) -> tuple[float, float]:
    """Return the start and the end of the validity of a certificate, in seconds since the epoch.

    `cert_file` is a file that `make_server_context` accepts; its first certificate counts (RFC 5280
    §4.1.2.5). Raises OSError, ValueError.
    """
    certificate = x509.load_pem_x509_certificates(cert_file.read_bytes())[0]
    return (
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
    )


class _EncryptedError(Exception):
    """Raised when OpenSSL asks for a passphrase."""


def _no_password() -> str:
    raise _EncryptedError


def _check_pem(path: Path, marker: bytes, setting: str, what: str) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror} ({setting})") from None
    if marker not in content:
        raise SettingsError(f"{path} holds no {what} in PEM ({setting})")


def _describe_error(error: ssl.SSLError, cert_file: Path, key_file: Path) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return (
            f"the private key {key_file} does not belong to the certificate {cert_file} "
            "(tunnel.key_file, tunnel.certificate_file)"
        )
    reason = (error.reason or str(error)).replace("_", " ").lower()
    return (
        f"TLS does not take the certificate {cert_file} with the private key {key_file}: {reason} "
        "(tunnel.certificate_file, tunnel.key_file)"
    )
