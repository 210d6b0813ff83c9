"""TLS over memory buffers, so that the two directions never wait for each other."""

from __future__ import annotations

import errno
import select
import ssl
import time

from stagedoor.laptop.tunnel.errors import TLS, USAGE, TunnelError
from stagedoor.laptop.tunnel.wire import CHUNK, CONNECT_TIMEOUT_S, TcpWire, socket, wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stagedoor.laptop.tunnel.options import Options
    from stagedoor.laptop.tunnel.wire import Watch


class TlsWire(TcpWire):
    """A TLS connection. The constructor performs the handshake, and raises TunnelError."""

    is_tls = True

    def __init__(
        self, sock: socket.socket, name: str, options: Options, watch: Watch | None = None
    ) -> None:
        super().__init__(sock, name, watch)
        try:
            context = ssl.create_default_context(cafile=options.ca_file)
            # As curl does: since 3.13, Python applies RFC 5280's rules for public CAs to private ones.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        except OSError as error:  # or its subclass ssl.SSLError
            reason = error.strerror if error.errno == errno.ENOENT else "no PEM certificate in it"
            raise TunnelError(
                USAGE, f"cannot use the CA file {options.ca_file}: {reason}"
            ) from None
        context.set_alpn_protocols(["http/1.1"])
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_hostname=options.server_name
        )
        self.clear = b""  # decrypted and not yet read
        self.cipher = b""  # encrypted and not yet sent
        self.has_ended = False
        self.complete_handshake(options.trust)

    def complete_handshake(self, trust: str) -> None:
        """Perform the TLS handshake. Raises TunnelError."""
        deadline = time.monotonic() + CONNECT_TIMEOUT_S
        try:
            while True:
                try:
                    self.tls.do_handshake()
                    return
                except ssl.SSLWantReadError:
                    wait_for(self, self.flush, select.POLLOUT, deadline)
                    wait_for(self, self.fill, select.POLLIN, deadline)
        except ssl.SSLCertVerificationError as error:
            line = f"the certificate of {self.name} is not trusted: {error.verify_message}; {trust}"
        except ssl.SSLError as error:
            line = f"TLS with {self.name} failed: {error.reason or error}"
            if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
                line = f"{self.name} does not speak TLS; give its address as http://"
        except OSError as error:
            line = f"{self.name} hung up during the TLS handshake: {error.strerror or error}"
        raise TunnelError(TLS, line)

    def fill(self) -> None:
        """Receive bytes, or their end, for the TLS layer."""
        data = self.sock.recv(CHUNK)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def flush(self) -> None:
        """Send pending encrypted bytes."""
        self.cipher += self.outgoing.read()
        while self.cipher:
            self.cipher = self.cipher[self.sock.send(self.cipher) :]

    def decrypt(self, limit: int) -> bytes | None:
        """Return decrypted bytes, b"" at the end, or None if `fill` must be called first."""
        try:
            return self.tls.read(limit)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLError:
            # The peer closed without close_notify: SSH itself detects truncated data.
            if self.incoming.eof:
                return b""
            raise

    def recv(self, limit: int) -> bytes:
        """Return decrypted bytes, or b"" at the end."""
        if self.clear:
            data, self.clear = self.clear[:limit], self.clear[limit:]
            return data
        while True:
            decrypted = self.decrypt(limit)
            if decrypted is not None:
                return decrypted
            try:
                self.flush()  # the answer to a key update
            except BlockingIOError:
                pass  # it is sent with the next data
            self.fill()

    def recv_into(self, buffer: memoryview) -> int:
        """Receive decrypted bytes into `buffer`, and return their number, 0 at the end."""
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def peek(self, limit: int) -> bytes:
        """Return decrypted bytes and keep them for the next read."""
        data = self.recv(limit)
        self.clear = data + self.clear
        return data

    def send(self, view: memoryview) -> int:
        """Encrypt bytes after earlier ones are sent, and return the number taken."""
        self.flush()
        return self.tls.write(view)

    def end(self) -> None:
        """Send close_notify, then FIN. Receiving is still possible."""
        if not self.has_ended:
            # With undecrypted bytes, OpenSSL's shutdown would fail and lose them.
            while True:
                data = self.decrypt(CHUNK)
                if not data:
                    break
                self.clear += data
            try:
                self.tls.unwrap()
            except ssl.SSLError:
                pass  # the peer's close_notify is missing; `recv` waits for it
            self.has_ended = True
        self.flush()
        super().end()
