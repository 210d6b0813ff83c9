"""A target: the app, and where apps have several, the environment, whose shell is asked for."""

from dataclasses import dataclass

SSH_PORT = 22


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
        return f"{self.app}-ssh" + (f".{self.environment}" if self.environment else "")

    @property
    def host_name(self) -> str:
        """The name to give to ssh: `app01.ssh`, `app01.staging.ssh`."""
        return f"{self.app}.{self.environment}.ssh" if self.environment else f"{self.app}.ssh"

    @property
    def login_name(self) -> str:
        """The name by which the gateway's own ways in ask for it: `app01`, `app01.staging`."""
        return f"{self.app}.{self.environment}" if self.environment else self.app

    def __str__(self) -> str:
        return self.host_name
