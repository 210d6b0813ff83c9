"""A connection to the gateway with a ticket for the terminal: for the first one, and for each after a cut."""

from __future__ import annotations

import os

from stagedoor.client.attach.attachment import Attachment
from stagedoor.client.attach.request import AttachRequest
from stagedoor.client.attach.screen import Screen
from stagedoor.client.attach.secret_prompt import AttachError, SecretPrompt
from stagedoor.client.attach.web import LostError, TerminalConnection
from stagedoor.laptop.tunnel.errors import TunnelError, clean


class TerminalDialer:
    """A maker of connections for one attachment. It asks for a secret once."""

    def __init__(self, request: AttachRequest, attachment: Attachment, screen: Screen) -> None:
        self._request = request
        self._attachment = attachment
        self._screen = screen
        self._prompt = SecretPrompt(request.options)

    def reach(self) -> tuple[TerminalConnection, str]:
        """Connect to the gateway; return the connection and a ticket. Raises LostError, AttachError."""
        try:
            connection = TerminalConnection(self._request.options, self._request.path)
        except TunnelError as error:
            raise LostError(error.line) from None
        try:
            ticket = self._ticket(connection)
            connection.open()
        except (LostError, AttachError):
            connection.close()
            raise
        return connection, ticket

    def _ticket(self, connection: TerminalConnection) -> str:
        request = self._request
        is_again = bool(self._attachment.window)
        if request.session:
            about = f"{request.session} may not be watched by {request.options.user}"
            body: dict[str, object] = {"watch": request.session}
            said = self._prompt.ask(connection, "guest-ticket", body, about, is_again=is_again)
            self._attachment.terminal = str(said["terminal"])
            if not is_again and os.isatty(2):
                user, app = (clean(str(said[name])) for name in ("host", "app"))
                self._screen.print(f"stagedoor: watching {user} in {app}; Enter ~. ends it")
            return str(said["ticket"])
        about = f"{request.target} is not open to {request.options.user}"
        body = {"target": request.target}
        return str(self._prompt.ask(connection, "ticket", body, about, is_again=is_again)["ticket"])
