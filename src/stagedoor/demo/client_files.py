"""What clients on this machine need to come in, wherever the gateway is: logins and ssh's files."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from stagedoor.client import sshconfig
from stagedoor.demo.clients import Login

USER = "dev"
APPS = ("app01", "app02")


@dataclass(frozen=True)
class DemoUser:
    """Somebody to be let in: a user with a password, a token and a grant for each of `apps`."""

    name: str
    apps: tuple[str, ...] = ()


DEVELOPER = DemoUser(USER, APPS)


@dataclass(frozen=True)
class Configs:
    """`through` goes through our own client; `base` is the same without a ProxyCommand; `jump` goes
    over the gateway's own SSH, which is `sshconfig.JUMP_HOST` in it.
    """

    through: Path
    base: Path
    jump: Path


@dataclass(frozen=True)
class ClientFiles:
    """All that a client on this machine needs; every file lies in `folder`, mode 0700.

    `near` says whether shells are on this machine too, so that a path there is a path here.
    """

    folder: Path
    logins: Mapping[str, Login]
    configs: Configs
    near: bool

    @property
    def login(self) -> Login:
        """The developer's."""
        return self.logins[USER]

    @property
    def gateway(self) -> str:
        return f"{self.login.host}:{self.login.port}"


def write_configs(folder: Path, login: Login, host_ca: str, ssh_gateway: str) -> Configs:
    """What ssh reads: as `stagedoor ssh-config` writes it, and the developer's key.

    The key is `folder`/id_ed25519; `host_ca` is a public key line, `ssh_gateway` the HOST:PORT of
    the gateway's own SSH.
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
    found = Configs(folder / "ssh_config", folder / "base_config", folder / "jump_config")
    found.jump.write_text(f"{jumping.include_line}\n{key}", encoding="utf-8")
    found.through.write_text(f"{written.include_line}\n{key}", encoding="utf-8")
    found.base.write_text(written.config.read_text(encoding="utf-8") + key, encoding="utf-8")
    return found
