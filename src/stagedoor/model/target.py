"""Targets: the app, and the environment if the app has several, whose shell is requested."""

import re

from msgspec import Struct

SSH_PORT = 22
MAX_LABEL_CHARS = 63
SHELL_SUFFIX = "-ssh"
"""The suffix in the name of an app's shell."""

# Used with `fullmatch`: `match` with `$` would take a trailing newline.
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class Target(Struct, frozen=True):
    """An app's shell as a person names it. Names from clients become one in `wire.target` only.

    `app` and `environment` are lower-case RFC 1123 labels. `environment` is None if the name has none,
    which stands for the installation's only or default environment.
    """

    app: str
    environment: str | None = None

    @property
    def shell_name(self) -> str:
        """Return the name of the Deployment and Service: `app01-ssh`, `app01-ssh.staging`."""
        return f"{self.app}{SHELL_SUFFIX}" + (f".{self.environment}" if self.environment else "")

    @property
    def host_name(self) -> str:
        """Return the name to give to ssh: `app01.ssh`, `app01.staging.ssh`."""
        return f"{self.app}.{self.environment}.ssh" if self.environment else f"{self.app}.ssh"

    @property
    def principals(self) -> tuple[str, str]:
        """Return the names that the host certificate of the target's shell must hold."""
        return self.host_name, self.shell_name

    @property
    def login_name(self) -> str:
        """Return the login name for direct login and the WebShell: `app01`, `app01.staging`."""
        return f"{self.app}.{self.environment}" if self.environment else self.app

    def __str__(self) -> str:
        return self.host_name


def is_valid_label(text: str) -> bool:
    """Return True if `text` is a lower-case RFC 1123 label of at most 63 characters."""
    return _LABEL.fullmatch(text) is not None


def is_valid_app(text: str) -> bool:
    """Return True if `text` may name an app: it and `text-ssh` are labels, and it does not end in -ssh."""
    return (
        len(text) <= MAX_LABEL_CHARS - len(SHELL_SUFFIX)
        and is_valid_label(text)
        and not text.endswith(SHELL_SUFFIX)
    )


def is_valid_environment(text: str) -> bool:
    """Return True if `text` may name an environment: any label but `ssh`."""
    return is_valid_label(text) and text != "ssh"
