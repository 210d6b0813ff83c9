"""Common clients for ProxyCommand, and the way in which each gets the gateway's address and the password.

Sources: the man pages nc(1), ncat(1), corkscrew(1), connect-proxy(1), proxytunnel(1), socat(1). No client
gets the password on its command line, where `ps` shows it to every user of the machine.
"""

import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Mapping
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


@dataclass(frozen=True)
class ProxyCommand:
    """A command for ssh to run, with `env` in its environment.

    If neither has the password, the user types it at the terminal.
    """

    command: str
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    fdpass: bool = False

    def format_lines(self) -> str:
        """Return the lines for an ssh_config."""
        return f"  ProxyCommand {self.command}\n  ProxyUseFdpass {'yes' if self.fdpass else 'no'}\n"


@dataclass(frozen=True)
class DemoClient:
    """A client. `program` comes with the Debian package `package`; both are None for Stagedoor's own."""

    name: str
    program: str | None
    package: str | None
    through: Callable[[DemoLogin], ProxyCommand]

    @property
    def missing(self) -> str:
        """Return the command that installs the client, or an empty text if it is installed."""
        if self.program is None or find(self.program):
            return ""
        return f"apt-get install {self.package}"


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


def _nc(login: DemoLogin) -> ProxyCommand:
    # It reads the password from the terminal only.
    program = find("nc") or "nc"
    return ProxyCommand(f"{program} -X connect -x {login.host}:{login.port} -P {login.user} %h %p")


def _ncat(login: DemoLogin) -> ProxyCommand:
    return ProxyCommand(
        f"ncat --proxy-type http --proxy {login.host}:{login.port} %h %p",
        {"NCAT_PROXY_AUTH": f"{login.user}:{login.password}"},
    )


def _corkscrew(login: DemoLogin) -> ProxyCommand:
    file = write_private_file(login.folder / "corkscrew", f"{login.user}:{login.password}\n")
    return ProxyCommand(f"corkscrew {login.host} {login.port} %h %p {file}")


def _connect_proxy(login: DemoLogin) -> ProxyCommand:
    return ProxyCommand(
        f"connect-proxy -H {login.user}@{login.host}:{login.port} %h %p",
        {"HTTP_PROXY_PASSWORD": login.password},
    )


def _proxytunnel(login: DemoLogin) -> ProxyCommand:
    # In its password file, a password would end at the first space.
    return ProxyCommand(
        f"proxytunnel -q -p {login.host}:{login.port} -d %h:%p",
        {"PROXYUSER": login.user, "PROXYPASS": login.password},
    )


def _socat(login: DemoLogin) -> ProxyCommand:
    # Without a line end, which socat would make a part of the password.
    file = write_private_file(login.folder / "socat", f"{login.user}:{login.password}")
    return ProxyCommand(
        f"socat - PROXY:{login.host}:%h:%p,proxyport={login.port},proxyauthfile={file}"
    )


def write_private_file(file: Path, text: str) -> Path:
    """Write a file that only this user may read. The replacement is atomic."""
    fd, draft = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(fd, "w", encoding="utf-8") as out:
        out.write(text)
    Path(draft).replace(file)
    return file


TUNNEL = DemoClient(
    "stagedoor tunnel", None, None, lambda login: ProxyCommand(make_tunnel_command(login))
)
FDPASS = DemoClient(
    "stagedoor tunnel --fdpass",
    None,
    None,
    lambda login: ProxyCommand(make_tunnel_command(login, "--fdpass"), fdpass=True),
)
NC = DemoClient("nc", "nc", "netcat-openbsd", _nc)
CLIENTS = (
    TUNNEL,
    FDPASS,
    NC,
    DemoClient("ncat", "ncat", "ncat", _ncat),
    DemoClient("corkscrew", "corkscrew", "corkscrew", _corkscrew),
    DemoClient("connect-proxy", "connect-proxy", "connect-proxy", _connect_proxy),
    DemoClient("proxytunnel", "proxytunnel", "proxytunnel", _proxytunnel),
    DemoClient("socat", "socat", "socat", _socat),
)


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
