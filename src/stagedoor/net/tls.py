"""The server's end of TLS over a non-blocking stream, with half-close both ways.

The `ssl` module's own sockets cannot half-close: their `unwrap` waits for the peer's close_notify
and takes what comes before it for an error. Here TLS runs in memory (`ssl.SSLObject`).
"""

import contextlib
import ssl
from pathlib import Path

from cryptography import x509

from stagedoor.model.errors import SettingsError
from stagedoor.net import aio
from stagedoor.net.tcp import TcpStream

_RECORD = 16 * 1024
"""The most plain text in one record (RFC 8446 §5.1). We hold no more than that on the way out."""

_READ = 64 * 1024
_MOST_UNSENT = 64 * 1024
"""More than a record and a handshake's flight: beyond it stand answers to messages of TLS itself
(KeyUpdate, RFC 8446 §4.6.3), and a peer that asks for those and reads none is cut off."""


class TlsStream:
    """TLS over `stream`, which it owns, as the relay wants it (`relay.ports.Stream`).

    `await handshake()` comes first.
    """

    __slots__ = ("_in", "_out", "_read_bytes", "_ready", "_shut", "_tcp", "_tcp_ended", "_tls")

    def __init__(
        self, stream: TcpStream, context: ssl.SSLContext, received: bytes, read_bytes: int
    ) -> None:
        self._tcp = stream
        self._read_bytes = read_bytes
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._in.write(received)
        self._ready = b""
        """Deciphered before our close_notify went out, and not yet read."""
        self._shut = False
        self._tcp_ended = False

    @classmethod
    def over(
        cls,
        stream: TcpStream,
        context: ssl.SSLContext,
        received: bytes = b"",
        read_bytes: int = _READ,
    ) -> "TlsStream":
        """Take over a stream from which `received` was read already.

        At most `read_bytes` are read at once. OpenSSL keeps a buffer of that size for each stream.
        """
        return cls(stream, context, received, read_bytes)

    @property
    def spliceable(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._tcp.fileno()

    async def handshake(self) -> None:
        """Raises OSError (`ssl.SSLError` is one) when the peer speaks no TLS that we do, or leaves."""
        while not self._shake():
            if self.flush():
                await aio.readable(self.fileno())
            else:
                await aio.writable(self.fileno())

    def _shake(self) -> bool:
        """Go on with the handshake as far as can be now; whether it is done."""
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
                self._say_why()
                raise
            return self.flush()

    def recv(self, limit: int) -> bytes | None:
        if self._ready:
            data, self._ready = self._ready[:limit], self._ready[limit:]
            return data
        while True:
            data_or_none = self._decipher(limit)
            if data_or_none is not None:
                return data_or_none
            if not self._fill():
                if self._tcp_ended:
                    # RFC 8446 §6.1: an end without close_notify may be an attacker's.
                    raise ConnectionResetError("TLS ended without close_notify: cut short")
                return None

    def send(self, data: bytes | memoryview) -> int:
        """Nothing is taken while the socket has not taken the last record."""
        taken = 0
        while taken < len(data) and self.flush():
            taken += self._tls.write(data[taken : taken + _RECORD])
        self.flush()
        return taken

    def flush(self) -> bool:
        if not self._out.pending:
            return True
        # A BIO forgets what it gives. What the socket does not take is put back into an empty one.
        data = self._out.read()
        taken = self._tcp.send(data)
        if taken < len(data):
            self._out.write(data[taken:])
            return False
        if self._shut:
            self._tcp.shutdown_write()
        return True

    def shutdown_write(self) -> None:
        """Send close_notify (RFC 8446 §6.1), then FIN; what the peer still sends can be read.

        SSL_shutdown(3) takes data that it meets as it reads for an error, so all that is there is
        deciphered first. Then it finds nothing, wants to read, and our close_notify is out.
        """
        if self._shut:
            return
        self.flush()
        ready = bytearray(self._ready)
        while chunk := self._decipher(_READ):
            ready += chunk
        self._ready = bytes(ready)
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            self._tls.unwrap()
        self._shut = True
        self.flush()

    def unacknowledged(self) -> int:
        """As `TcpStream.unacknowledged`, of what is enciphered."""
        return self._tcp.unacknowledged()

    def set_option(self, level: int, option: int, value: int) -> None:
        """As `TcpStream.set_option`."""
        self._tcp.set_option(level, option, value)

    def error(self) -> int:
        return self._tcp.error()

    def abort(self) -> None:
        self._tcp.abort()

    def close(self) -> None:
        self._tcp.close()

    def _decipher(self, limit: int) -> bytes | None:
        """Up to `limit` bytes of what is in memory; b"" at the peer's close_notify; None: nothing."""
        try:
            return self._tls.read(limit)
        except ssl.SSLWantReadError:
            # Reading may have made an answer to a KeyUpdate (RFC 8446 §4.6.3).
            if self._out.pending and not self._shut:
                self.flush()
            return None
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLError:
            self._say_why()
            raise

    def _fill(self) -> bool:
        """Take more from the socket; whether there was any."""
        if self._out.pending > _MOST_UNSENT and not self.flush():
            raise ConnectionResetError("the peer asks for more than it reads")
        data = self._tcp.recv(self._read_bytes)
        if data is None:
            return False
        if not data:
            self._tcp_ended = True
            return False
        self._in.write(data)
        return True

    def _say_why(self) -> None:
        """Send the alert that TLS has made of an error, if it can be sent now."""
        with contextlib.suppress(OSError):
            self.flush()


ServerTls = ssl.SSLContext
"""TLS for those who are accepted, as `server_context` makes it."""


def server_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """A context for accepting TLS 1.2 and 1.3, from a PEM chain and its unencrypted key.

    Raises SettingsError with one line that names the file, what is wrong and the setting.
    """
    _holds(cert_file, b"-----BEGIN CERTIFICATE-----", "tunnel.certificate_file", "certificate")
    _holds(key_file, b"PRIVATE KEY-----", "tunnel.key_file", "private key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Renegotiation lets a peer make us work for nothing; compression leaks (RFC 9325 §3.3, §3.5).
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # No tickets: a peer that only writes, and then closes, would meet them with an RST.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except _EncryptedError:
        raise SettingsError(
            f"the private key {key_file} is encrypted, and nobody is there to type a passphrase; "
            f"write it without one (openssl pkey -in {key_file} -out NEW, mode 0600) "
            "and set tunnel.key_file"
        ) from None
    except ssl.SSLError as error:
        raise SettingsError(_wrong(error, cert_file, key_file)) from None
    return context


def client_context(ca_file: Path | None) -> ssl.SSLContext:
    """A context for connecting to a server that the authorities in `ca_file` vouch for; None: the system's.

    As OpenSSL, curl and Go have it. Since 3.13 Python asks of every certificate what RFC 5280 asks of those
    of public CAs (VERIFY_X509_STRICT); a company's own often lack key identifiers or key usage. Raises
    OSError, of which ssl.SSLError is one.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def names_in(cert_file: Path) -> frozenset[str]:
    """The DNS names that a certificate is for (RFC 5280 §4.2.1.6), in lower case.

    Of a file that `server_context` takes. Raises OSError, ValueError.
    """
    certificate = x509.load_pem_x509_certificates(cert_file.read_bytes())[0]
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(name.lower() for name in names.get_values_for_type(x509.DNSName))


def validity(cert_file: Path) -> tuple[float, float]:
    """From when to when the first certificate of a file is valid (RFC 5280 §4.1.2.5), seconds since the
    epoch. Of a file that `server_context` takes. Raises OSError, ValueError.
    """
    certificate = x509.load_pem_x509_certificates(cert_file.read_bytes())[0]
    return (
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
    )


class _EncryptedError(Exception):
    """OpenSSL asks for a passphrase."""


def _no_password() -> str:
    raise _EncryptedError


def _holds(path: Path, marker: bytes, setting: str, what: str) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror} ({setting})") from None
    if marker not in content:
        raise SettingsError(f"{path} holds no {what} in PEM ({setting})")


def _wrong(error: ssl.SSLError, cert_file: Path, key_file: Path) -> str:
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
