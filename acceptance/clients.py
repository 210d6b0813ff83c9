"""Common clients for ProxyCommand, and the way in which each gets the gateway's address and the password.

Sources: the man pages nc(1), ncat(1), corkscrew(1), connect-proxy(1), proxytunnel(1), socat(1). No client
gets the password on its command line, where `ps` shows it to every user of the machine.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stagedoor.demo.clients import (
    DemoLogin,
    find,
    make_nc_command,
    make_tunnel_command,
    write_private_file,
)


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
class ProxyClient:
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


TUNNEL = ProxyClient(
    "stagedoor tunnel", None, None, lambda login: ProxyCommand(make_tunnel_command(login))
)
FDPASS = ProxyClient(
    "stagedoor tunnel --fdpass",
    None,
    None,
    lambda login: ProxyCommand(make_tunnel_command(login, "--fdpass"), fdpass=True),
)
NC = ProxyClient("nc", "nc", "netcat-openbsd", lambda login: ProxyCommand(make_nc_command(login)))
CLIENTS = (
    TUNNEL,
    FDPASS,
    NC,
    ProxyClient("ncat", "ncat", "ncat", _ncat),
    ProxyClient("corkscrew", "corkscrew", "corkscrew", _corkscrew),
    ProxyClient("connect-proxy", "connect-proxy", "connect-proxy", _connect_proxy),
    ProxyClient("proxytunnel", "proxytunnel", "proxytunnel", _proxytunnel),
    ProxyClient("socat", "socat", "socat", _socat),
)
