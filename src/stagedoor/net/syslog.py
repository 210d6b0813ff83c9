"""A connection to a syslog server, over TLS or to this machine."""

import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path

from stagedoor.model.errors import SettingsError, StagedoorError
from stagedoor.model.source import join_host_port
from stagedoor.net import sockopts
from stagedoor.net.tcp import TcpStream
from stagedoor.net.tls import make_client_context

WAIT_S = 10.0
"""The time limit of a connect, of a handshake, and of the acknowledgement of sent bytes."""


def make_syslog_context(
    ca_file: Path | None, certificate_file: Path | None, key_file: Path | None
) -> ssl.SSLContext:
    """Return a TLS context for a client, with its certificate if it has one. Raises SettingsError."""
    try:
        context = make_client_context(ca_file)
        if certificate_file is not None:
            context.load_cert_chain(certificate_file, key_file)
    except OSError as error:
        raise SettingsError(
            f"audit.sinks: {ca_file or certificate_file} cannot be used: {error}"
        ) from None
    return context


class SyslogConnection:
    """A connection for use by one thread.

    Syslog has no answers, so messages count as sent once the server's kernel has acknowledged them.
    """

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self._host = host
        self._port = port
        self._context = context
        self._socket: socket.socket | None = None

    def send(self, frames: bytes) -> None:
        """Send messages, connecting first if necessary.

        Raises StagedoorError after closing the connection; the next call opens another one.
        """
        self.check()
        try:
            if self._socket is None:
                self._socket = self._connect()
            self._socket.sendall(frames)
            self._await_acknowledged(self._socket)
        except TimeoutError:
            why = f"no answer within {WAIT_S:g} s"
        except OSError as error:
            why = str(error.strerror or error)
        else:
            return
        self.close()
        raise StagedoorError(f"{join_host_port(self._host, self._port)}: {why}")

    def check(self) -> None:
        """Check that the server has not closed the connection. Raises StagedoorError.

        After such a close it is unknown which messages the server has read.
        """
        if self._socket is not None and _has_ended(self._socket):
            self.close()
            raise StagedoorError(
                f"{join_host_port(self._host, self._port)}: the server closed the connection"
            )

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket:
        connection = socket.create_connection((self._host, self._port), timeout=WAIT_S)
        try:
            sockopts.tune(connection)
            if self._context is not None:
                return self._context.wrap_socket(connection, server_hostname=self._host)
        except BaseException:
            connection.close()
            raise
        return connection

    def _await_acknowledged(self, connection: socket.socket) -> None:
        deadline = time.monotonic() + WAIT_S
        wait_s = 0.0005
        stream = TcpStream(connection)  # not closed: it is not the owner here
        while stream.count_unacknowledged():
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, 0.05)
        if _has_ended(connection):
            raise ConnectionResetError("the server closed the connection")


def _has_ended(open_socket: socket.socket) -> bool:
    """Return True if the server has closed the connection.

    Bytes from the server are dropped. A TLS server sends session tickets, and syslog has no answers.
    """
    open_socket.settimeout(0)
    try:
        while data := open_socket.recv(4096):
            del data
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        open_socket.settimeout(WAIT_S)
    return True
