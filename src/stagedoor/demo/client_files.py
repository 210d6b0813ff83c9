"""The files that clients on this machine need to log in at a gateway: passwords, tokens, ssh's files."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from stagedoor.client import sshconfig
from stagedoor.demo.clients import Login

USER = "dev"
APPS = ("app01", "app02")


@dataclass(frozen=True)
class DemoUser:
    """A user of the demo, with a password, a token and a grant for each of `apps`."""

    name: str
    apps: tuple[str, ...] = ()


DEVELOPER = DemoUser(USER, APPS)


@dataclass(frozen=True)
class Configs:
    """The configuration files for ssh.

    With `through`, ssh connects through Stagedoor's own client; `base` is the same without a ProxyCommand.
    With `jump`, it connects over the gateway's own SSH, which is `sshconfig.JUMP_HOST` in the file.
    """

    through: Path
    base: Path
    jump: Path


@dataclass(frozen=True)
class ClientFiles:
    """All that a client on this machine needs. Every file is in `folder`, which has mode 0700.

    `near` is True if the shells are on this machine too, so that they have the same paths.
    """

    folder: Path
    logins: Mapping[str, Login]
    configs: Configs
    near: bool

    @property
    def login(self) -> Login:
        """Return the developer's login."""
        return self.logins[USER]

    @property
    def gateway(self) -> str:
        """Return HOST:PORT of the gateway."""
        return f"{self.login.host}:{self.login.port}"


def write_configs(folder: Path, login: Login, host_ca: str, ssh_gateway: str) -> Configs:
    """Write ssh's files as `stagedoor ssh-config` does, with the developer's key, and return them.

    The key is `folder`/id_ed25519. `host_ca` is a public key line, `ssh_gateway` the HOST:PORT of the
    gateway's own SSH.
    """
    access = sshconfig.SshAccess(
        gateway=f"{login.host}:{login.port}",
        host_ca=(host_ca,),
        user=login.user,
        client=login.tunnel,
        client_options=("--token-file", str(login.token_file), "--via", "direct"),
    )
    written = sshconfig.write(access, folder / "ssh")
    jumping = sshconfig.write(replace(access, gateway=ssh_gateway, jump=True), folder / "jump")
    hosts = f"*.ssh *-ssh {sshconfig.JUMP_HOST}"
    key = f'Host {hosts}\n  IdentityFile "{folder / "id_ed25519"}"\n  IdentitiesOnly yes\n'
    configs = Configs(folder / "ssh_config", folder / "base_config", folder / "jump_config")
    configs.jump.write_text(f"{jumping.include_line}\n{key}", encoding="utf-8")
    configs.through.write_text(f"{written.include_line}\n{key}", encoding="utf-8")
    configs.base.write_text(written.config.read_text(encoding="utf-8") + key, encoding="utf-8")
    return configs
