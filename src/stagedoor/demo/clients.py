"""The users of a demo, and the files and command lines by which they reach its gateway."""

import os
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from stagedoor.client import sshconfig


@dataclass(frozen=True)
class DemoLogin:
    """A user's login at a gateway. `folder` is private, and has the files that clients read."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    token_file: Path
    folder: Path
    tunnel: tuple[str, ...] = ("stagedoor", "tunnel")


def find(program: str) -> str | None:
    """Return the name of an installed program, or None. For `nc` it is OpenBSD's, which alone has CONNECT."""
    if program != "nc":
        return program if shutil.which(program) else None
    # With Debian's alternatives, `nc` may be a link to ncat or netcat-traditional.
    path = shutil.which("nc")
    if path and Path(path).resolve().name not in ("ncat", "nc.traditional", "busybox"):
        return "nc"
    return "nc.openbsd" if shutil.which("nc.openbsd") else None


def make_tunnel_command(login: DemoLogin, *options: str) -> str:
    """Return the command line of Stagedoor's own client."""
    words = [
        *login.tunnel,
        *options,
        *("--gateway", f"{login.host}:{login.port}", "--via", "direct"),
        *("--user", login.user, "--token-file", str(login.token_file)),
    ]
    return f"{shlex.join(words)} %h %p"


def make_nc_command(login: DemoLogin) -> str:
    """Return the command line of OpenBSD's nc, which reads the password from the terminal only."""
    program = find("nc") or "nc"
    return f"{program} -X connect -x {login.host}:{login.port} -P {login.user} %h %p"


def write_private_file(file: Path, text: str) -> Path:
    """Write a file that only this user may read. The replacement is atomic."""
    fd, draft = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(fd, "w", encoding="utf-8") as out:
        out.write(text)
    Path(draft).replace(file)
    return file


USER = "dev"
APPS = ("app01", "app02")


@dataclass(frozen=True)
class DemoUser:
    """A user of the demo, with a password, a token and a grant for each of `apps`.

    They may ask for access to the apps `on_request`, and the developer decides.
    """

    name: str
    apps: tuple[str, ...] = ()
    on_request: tuple[str, ...] = ()


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
    logins: Mapping[str, DemoLogin]
    configs: Configs
    near: bool

    @property
    def login(self) -> DemoLogin:
        """Return the developer's login."""
        return self.logins[USER]

    @property
    def gateway(self) -> str:
        """Return HOST:PORT of the gateway."""
        return f"{self.login.host}:{self.login.port}"


def write_configs(folder: Path, login: DemoLogin, host_ca: str, ssh_gateway: str) -> Configs:
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
