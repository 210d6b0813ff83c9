"""A target: the app, and where apps have several, the environment, whose shell is asked for."""

import re
from dataclasses import dataclass

SSH_PORT = 22
MAX_LABEL_CHARS = 63
SHELL_SUFFIX = "-ssh"
"""What the name of an app's shell ends with."""

# Used with `fullmatch`: `match` with `$` would take a trailing newline.
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Target:
    """An app's shell as a person names it. Made by `wire.target.parse_target` only.

    `app` and `environment` are lower-case RFC 1123 labels; `environment` is None where the name
    gave none, which means the installation's only or default one.
    """

    app: str
    environment: str | None = None

    @property
    def shell_name(self) -> str:
        """The name of the Deployment and Service: `app01-ssh`, `app01-ssh.staging`."""
        return f"{self.app}{SHELL_SUFFIX}" + (f".{self.environment}" if self.environment else "")

    @property
    def host_name(self) -> str:
        """The name to give to ssh: `app01.ssh`, `app01.staging.ssh`."""
        return f"{self.app}.{self.environment}.ssh" if self.environment else f"{self.app}.ssh"

    @property
    def login_name(self) -> str:
        """The name by which the gateway's own access methods ask for it: `app01`, `app01.staging`."""
        return f"{self.app}.{self.environment}" if self.environment else self.app

    def __str__(self) -> str:
        return self.host_name


def valid_label(text: str) -> bool:
    """Whether `text` is a lower-case RFC 1123 label of at most 63 characters."""
    return _LABEL.fullmatch(text) is not None


def valid_app(text: str) -> bool:
    """Whether `text` may name an app: `text` and `text-ssh` are labels, `text` ends not in -ssh."""
    return (
        len(text) <= MAX_LABEL_CHARS - len(SHELL_SUFFIX)
        and valid_label(text)
        and not text.endswith(SHELL_SUFFIX)
    )


def valid_environment(text: str) -> bool:
    """Whether `text` may name an environment: any label but `ssh`."""
    return valid_label(text) and text != "ssh"
