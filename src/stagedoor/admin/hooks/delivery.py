"""A hook as a sink of the audit: it gets every line, and sends a message for some of them."""

import json
import time
from collections.abc import Callable, Sequence

from stagedoor.admin.audit.sinks import LineSink
from stagedoor.admin.hooks.messages import BODIES, Message, is_over, make_mail, make_message
from stagedoor.audit.chain import Line
from stagedoor.keys.files import PrivateKey, load_or_create
from stagedoor.keys.webhook import sign_webhook
from stagedoor.model.errors import StagedoorError
from stagedoor.model.shell import Shell
from stagedoor.model.source import Address, is_within
from stagedoor.model.target import Target
from stagedoor.settings.hooks import HookSettings
from stagedoor.settings.safe_files import read_secret
from stagedoor.settings.settings import Settings, parse_networks
from stagedoor.shells.address import filter_addresses

SEND_LIMIT_S = 15.0
"""The time limit for a message and its answer."""


def load_hook_key(settings: Settings) -> PrivateKey:
    """Return the key that signs messages, and create it if there is none. Raises KeyFileError."""
    return load_or_create(settings.data_dir / "keys" / "hook_key", "stagedoor hooks")


class HookSink(LineSink):
    """A hook as a sink. A new hook begins with the next event."""

    def __init__(
        self,
        hook: HookSettings,
        settings: Settings,
        site: str | None,
        now: Callable[[], float] = time.time,
    ) -> None:
        # Imported here, so that the supervisor does not load the library without such a sink.
        from stagedoor.net.https import load_trust

        self._hook = hook
        self._site = site
        self._now = now
        self._trust = load_trust(hook.ca_file, "hooks.ca_file")
        self._key = load_hook_key(settings)
        self.confirmed = 0

    def resume(self, stored: int | None, last: int) -> int:
        """Return the stored number, or the last one for a new hook."""
        return last if stored is None else stored

    def send(self, lines: Sequence[Line]) -> None:
        """Send the messages, one after the other. Raises StagedoorError."""
        for line in lines:
            message = make_message(line.event, self._site)
            is_wanted = message is not None and message.type in self._hook.events
            if message is not None and is_wanted and not is_over(line.event, self._now()):
                self.send_message(message, f"audit-{line.link.seq}")
            self.confirmed = line.link.seq

    def send_message(self, message: Message, id_: str) -> None:
        """Send one message. `id_` is the same at each attempt. Raises StagedoorError."""
        if self._hook.kind == "smtp":
            self._send_mail(message, id_)
            return
        from stagedoor.net.https import post

        body = BODIES[self._hook.kind](message)
        headers = [("Content-Type", "application/json")]
        if self._hook.kind == "json":
            headers += sign_webhook(self._key, id_, int(self._now()), body)
        answer = post(self._trust, self._hook.url, headers, body, SEND_LIMIT_S, self.choose)
        if self._hook.kind == "feishu" and (code := read_code(answer)):
            raise StagedoorError(f"{self._hook.shown_url}: it answered code {code}")

    def choose(self, addresses: Sequence[Address]) -> Sequence[Address]:
        """Return the server's addresses that the hook may connect to.

        These are public addresses, and those in its networks. So a name that is under the control of others
        cannot lead into the gateway's own network.
        """
        networks = parse_networks(self._hook.networks)
        # As for shells: never a metadata service, whatever the settings say.
        allowed = filter_addresses(addresses, Shell(Target("hook"), "", 0, networks=networks))
        return [a for a in allowed if a.is_global or is_within(a, networks)]

    def _send_mail(self, message: Message, id_: str) -> None:
        from stagedoor.net.smtp import MailServer, send_mail

        hook = self._hook
        login = None
        if hook.username is not None and hook.password_file is not None:
            password = read_secret(hook.password_file, "hooks.password_file", "the password")
            login = (hook.username, password)
        server = MailServer(*hook.server, hook.url.startswith("smtps:"), hook.ca_file, login)
        mail = make_mail(message, id_, hook.sender or "", hook.to)
        try:
            send_mail(server, mail, SEND_LIMIT_S, self.choose)
        except OSError as error:
            raise StagedoorError(f"{hook.shown_url}: {error}") from None


def read_code(answer: bytes) -> object:
    """Return the error code in an answer of Feishu, 0 if there is none.

    It is shown to administrators, so it is a number or our own words.
    """
    try:
        document = json.loads(answer)
    except ValueError:
        return "that is no JSON"
    code = document.get("code", 0) if isinstance(document, dict) else None
    return code if isinstance(code, int) else "that is not a number"
