"""Mail to the server that the settings name, over TLS (RFC 8314) or STARTTLS (RFC 3207), never without."""

import asyncio
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import BinaryIO

from stagedoor.net.dial import connect_to_first
from stagedoor.net.resolve import Choose, find_addresses
from stagedoor.net.tls import make_client_context

_ANSWER_LIMIT_BYTES = 64 * 1024
"""All answers to one mail. One is a line or ten."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """A server of mail. With `is_tls` TLS comes first, else STARTTLS. `login` is a name and a password."""

    host: str
    port: int
    is_tls: bool
    ca_file: Path | None = None
    login: tuple[str, str] | None = field(default=None, repr=False)


def send_mail(server: MailServer, mail: EmailMessage, limit_s: float, choose: Choose) -> None:
    """Send one mail. Return when the server has accepted it, or raise after `limit_s`. Blocks.

    `choose` returns the addresses that may be connected to. Raises OSError, whose text has no secret.
    """
    context = make_client_context(server.ca_file)
    addresses = find_addresses(server.host, choose)
    sock = asyncio.run(connect_to_first(addresses, server.port, limit_s, limit_s))
    sock.settimeout(limit_s)
    with _cut_after(limit_s, sock):
        _deliver(server, sock, context, mail)


@contextmanager
def _cut_after(limit_s: float, sock: socket.socket) -> Iterator[None]:
    """Shut the connection down after `limit_s`, since a socket's timeout starts again with each byte."""
    twin, is_late = sock.dup(), threading.Event()

    def cut() -> None:
        is_late.set()
        with suppress(OSError):
            twin.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(limit_s, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except OSError:
        if is_late.is_set():
            raise OSError(f"it had not taken the mail after {limit_s:g} s") from None
        raise
    finally:
        timer.cancel()
        twin.close()


def _deliver(
    server: MailServer, sock: socket.socket, context: ssl.SSLContext, mail: EmailMessage
) -> None:
    try:
        if server.is_tls:
            sock = context.wrap_socket(sock, server_hostname=server.host)
        with closing(_ConnectedSmtp(server.host, server.port, sock)) as client:
            if not server.is_tls:
                client.starttls(context=context)
            if server.login is not None:
                client.login(*server.login)
            client.send_message(mail)
            with suppress(smtplib.SMTPException, OSError):  # the server already has the mail
                client.quit()
    except smtplib.SMTPAuthenticationError as error:
        raise OSError(f"it refuses the login ({error.smtp_code})") from None
    except smtplib.SMTPNotSupportedError:
        raise OSError("it offers no STARTTLS, or no login") from None
    except smtplib.SMTPException as error:
        raise OSError(f"it does not take the mail ({type(error).__name__})") from None
    finally:
        sock.close()


class _ConnectedSmtp(smtplib.SMTP):
    """A client over a socket that is connected already. `host` is the name in its certificate."""

    def __init__(self, host: str, port: int, connected: socket.socket) -> None:
        self._connected = connected
        super().__init__(host, port, "localhost")

    def _get_socket(self, *_: object) -> socket.socket:
        return self._connected

    def getreply(self) -> tuple[int, bytes]:
        """Return the server's answer. Raises SMTPException, also if all answers are too long."""
        if self.file is None and self.sock is not None:
            self.file = _Answers(self.sock.makefile("rb"))
        return super().getreply()


class _Answers:
    """The lines of a server, which end after `_ANSWER_LIMIT_BYTES`: one answer has any number of lines."""

    def __init__(self, lines: BinaryIO) -> None:
        self._lines = lines
        self._left = _ANSWER_LIMIT_BYTES
        self.close = lines.close

    def readline(self, limit: int) -> bytes:
        line = self._lines.readline(limit)
        self._left -= len(line)
        return line if self._left >= 0 else b""
