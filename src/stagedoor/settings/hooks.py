"""The settings of hooks: where messages about access requests are sent."""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from stagedoor.model.secure_url import check_secure_url, show_url
from stagedoor.settings.form import Table, check_networks, check_word, report_as

_MAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,255}", re.ASCII)
_PORTS = {"smtp": 587, "smtps": 465}

HookEvent = Literal["request.make", "request.approve", "request.deny"]


class HookSettings(Table, frozen=True):
    """A receiver of messages about access requests, in the order of the audit.

    A message has a link to the request, and no means to decide on it. Each is delivered at least once, with
    the same `webhook-id`. A message that cannot be delivered is tried again, until its request has lapsed.
    """

    name: Annotated[
        str,
        Meta(
            description="The hook's name in commands, the log and metrics: lower-case letters, digits and "
            "inner hyphens. Under another name it starts with the events from then on."
        ),
    ]
    kind: Annotated[
        Literal["json", "slack", "teams", "feishu", "smtp"],
        Meta(
            description="The form of messages: `json` for programs, signed by Standard Webhooks (ed25519, "
            "`v1a`; `stagedoor hook list` shows the public key); an incoming webhook of Slack, Teams "
            "(Workflows) or Feishu; or mail."
        ),
    ]
    url: Annotated[
        str,
        Meta(
            description="`https://…` (a chat's is a secret), or for mail `smtp://HOST:587` (STARTTLS) or "
            "`smtps://HOST:465`."
        ),
    ]
    events: Annotated[
        tuple[HookEvent, ...],
        Meta(description="The events to send."),
    ] = ("request.make", "request.approve", "request.deny")
    networks: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks of yours that the server may be in, such as `10.1.2.0/24`. Without one, a "
            "hook reaches public addresses only."
        ),
    ] = ()
    ca_file: Annotated[
        Path | None,
        Meta(
            description="PEM file with the authorities that verify the server's certificate. None: the "
            "system's."
        ),
    ] = None
    sender: Annotated[str | None, Meta(description="The address that mail comes from.")] = None
    to: Annotated[tuple[str, ...], Meta(description="The addresses that mail goes to.")] = ()
    username: Annotated[
        str | None, Meta(description="The account at the mail server. None: no login.")
    ] = None
    password_file: Annotated[
        Path | None,
        Meta(
            description="A file with one line, that account's password. A world-readable file is refused."
        ),
    ] = None

    def __post_init__(self) -> None:
        check_word(self.name, "hooks.name")
        check_networks(self.networks, "hooks.networks")
        with report_as("hooks.url"):
            if self.kind != "smtp":
                check_secure_url(self.url)
            elif self.server[1] not in range(1, 65536):
                raise ValueError("the port is out of range")
        self._check_mail()

    def _check_mail(self) -> None:
        if self.kind != "smtp":
            for name in ("sender", "to", "username", "password_file"):
                if getattr(self, name):
                    raise ValueError(f"hooks.{name} is for smtp; this hook is {self.kind}")
            return
        if self.sender is None or not self.to:
            raise ValueError("a hook by smtp needs hooks.sender and hooks.to")
        for address in (self.sender, *self.to):
            if not _MAIL.fullmatch(address):
                raise ValueError(f"hooks: {address!r} is not a mail address; write NAME@HOST")
        if (self.username is None) != (self.password_file is None):
            raise ValueError("hooks.username and hooks.password_file go together")

    @property
    def shown_url(self) -> str:
        """Return the URL for people, logs and reports, without the secret part of a chat's URL."""
        return show_url(self.url)

    @property
    def server(self) -> tuple[str, int]:
        """Return the host and port of a mail server. Raises ValueError."""
        parts = urlsplit(self.url)
        if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError(f"{show_url(self.url)!r} is not a mail server; write smtp://HOST:PORT")
        if parts.username is not None:
            raise ValueError("the URL has a user name or a password in it")
        return parts.hostname, parts.port or _PORTS[parts.scheme]
