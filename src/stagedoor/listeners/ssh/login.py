"""An authenticated SSH connection."""

from collections.abc import Callable
from dataclasses import dataclass

from stagedoor.model.certificate import ALL_EXTENSIONS
from stagedoor.model.identity import Identity
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.session.flow import Flow
from stagedoor.wire.language.gateway import load_catalogue


@dataclass(frozen=True, eq=False, slots=True)
class SshLogin:
    """One authenticated SSH connection. Only the router makes one, after the credential was verified.

    `login_name` is the name before the @. `target` is that name read as an app (`app01`,
    `app01.staging`), or None if it is the identity's own name: then the login is for jumps or the
    page. `permitted_extensions` are those of the certificate (OpenSSH's PROTOCOL.certkeys), or all of them
    for a registered key, a sign-in or a password. `force_command` is the certificate's critical option: this
    command runs whatever the client requests.

    `gateway_address` is the gateway's own address and port, to which the client has connected.
    """

    identity: Identity
    login_name: str
    target: Target | None
    source: Source
    flow: Flow
    gateway_address: tuple[str, int]
    permitted_extensions: frozenset[str] = ALL_EXTENSIONS
    force_command: str | None = None
    public_key: str | None = None
    """The key, `type base64`, that the client has proved to have, plain or in a certificate."""
    stop_agent: Callable[[], None] = lambda: None
    """Closes the socket of the client's agent, and the open channels to the agent."""
    hang_up: Callable[[str], None] = lambda _: None
    """Closes the connection with a line that the developer's ssh prints (RFC 4253 §11.1)."""

    def translate(self, text: str) -> str:
        """Return `text` in the user's language, for a channel's stdout and stderr.

        The reasons of disconnects and of refused forwards stay English, because ssh prints each letter
        outside ASCII in them as an octal number.
        """
        return load_catalogue(self.flow.find_language(self.identity)).translate_output(text)
