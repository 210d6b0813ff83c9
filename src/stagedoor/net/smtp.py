"""Mail to the server that the settings name, over TLS (RFC 8314) or STARTTLS (RFC 3207), never without."""

import smtplib
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

from stagedoor.net.resolve import Choose, find_addresses
from stagedoor.net.tls import make_client_context


@dataclass(frozen=True, slots=True)
class MailServer:
    """A server of mail. With `is_tls` TLS comes first, else STARTTLS. `login` is a name and a password."""

    host: str
    port: int
    is_tls: bool
    ca_file: Path | None = None
    login: tuple[str, str] | None = field(default=None, repr=False)


def send_mail(server: MailServer, mail: EmailMessage, limit_s: float, choose: Choose) -> None:
    """Send one mail, and return when the server has taken it. Blocks.

    `choose` returns the addresses that may be connected to. Raises OSError, whose text has no secret.
    """
    context = make_client_context(server.ca_file)
    address = str(find_addresses(server.host, choose)[0])
    sock = socket.create_connection((address, server.port), limit_s)
    try:
        if server.is_tls:
            sock = context.wrap_socket(sock, server_hostname=server.host)
        client = _Client(server.host, server.port, sock)
        try:
            if not server.is_tls:
                client.starttls(context=context)
            if server.login is not None:
                client.login(*server.login)
            client.send_message(mail)
            with suppress(smtplib.SMTPException, OSError):  # the server has the mail already
                client.quit()
        finally:
            client.close()
    except smtplib.SMTPAuthenticationError as error:
        raise OSError(f"it refuses the login ({error.smtp_code})") from None
    except smtplib.SMTPNotSupportedError:
        raise OSError("it offers no STARTTLS, or no login") from None
    except smtplib.SMTPException as error:
        raise OSError(f"it does not take the mail ({type(error).__name__})") from None
    finally:
        sock.close()


class _Client(smtplib.SMTP):
    """A client over a socket that is connected already. `host` is the name in its certificate."""

    def __init__(self, host: str, port: int, connected: socket.socket) -> None:
        self._connected = connected
        super().__init__(host, port, "localhost")

    def _get_socket(self, *_: object) -> socket.socket:
        return self._connected
