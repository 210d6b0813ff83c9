"""The settings of shells outside Kubernetes: on this machine, or on existing servers."""

import shlex
from pathlib import Path
from typing import Annotated

from msgspec import Meta, field

from stagedoor.settings.form import Seconds, Table, check_labels, check_networks


class StaticShellSettings(Table, frozen=True):
    """An existing SSH server."""

    app: Annotated[str, Meta(description="The app's name: `app01` is reached as `app01.ssh`.")]
    host: Annotated[str, Meta(min_length=1, description="Name or address of the SSH server.")]
    port: Annotated[int, Meta(ge=1, le=65535, description="Its port.")] = 22
    environment: Annotated[
        str | None, Meta(description="The environment; None: the app has only one.")
    ] = None
    networks: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks (CIDR) that `host` may be in although they are forbidden by default, such "
            "as loopback and link-local. Empty: none."
        ),
    ] = ()
    login_name: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(
            description="Direct login: the account on that server. None: the user's own name. The "
            "certificate that the gateway shows has the user's name as its principal, so an account for "
            "all users needs `AuthorizedPrincipalsFile` (sshd_config(5)).",
        ),
    ] = None
    host_keys: Annotated[
        tuple[str, ...],
        Meta(
            description="Direct login: the server's host keys, as `ssh-keyscan` prints them without the name "
            "(`ssh-ed25519 AAAA…`). Empty: only a host certificate of the host CA for this app's name is "
            "accepted. Direct login to a server that shows neither is refused."
        ),
    ] = ()

    holder: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(
            description="WebShell: the command that holds terminals on that server; the gateway appends "
            "`attach NAME` to it. Use `python3 -m stagedoor.holder` where Stagedoor is installed, or "
            "`/usr/lib/stagedoor-shell/hold` of the package `stagedoor-shell`. None: the WebShell refuses "
            "this app."
        ),
    ] = None
    resume_port: Annotated[
        Annotated[int, Meta(ge=1, le=65535)] | None,
        Meta(
            description="`stagedoor tunnel`: the port of `stagedoor-shell` on that server, which keeps "
            "tunnels whose gateway ends, under the account `login_name`. None: the gateway keeps them."
        ),
    ] = None

    def __post_init__(self) -> None:
        check_labels(self.app, self.environment)
        if self.resume_port and not self.login_name:
            raise ValueError("resume_port needs login_name, the account that keeps the tunnels")
        check_networks(self.networks, "networks")
        try:
            words = shlex.split(self.holder or "")
        except ValueError as error:
            raise ValueError(
                f"holder is {self.holder!r}, which is not a command: {error}"
            ) from None
        if self.holder is not None and not words:
            raise ValueError("holder is empty; leave it out where the server has no holder")


class LocalShellSettings(Table, frozen=True):
    """A shell on this machine, served by Stagedoor's own sshd on loopback."""

    app: Annotated[str, Meta(description="The app's name: `app01` is reached as `app01.ssh`.")]
    environment: Annotated[
        str | None, Meta(description="The environment; None: the app has only one.")
    ] = None
    env: Annotated[
        dict[str, str], Meta(description="The app's environment variables inside the shell.")
    ] = field(default_factory=dict)
    directory: Annotated[
        Path | None,
        Meta(description="The working directory of a login. None: the home directory."),
    ] = None
    login_shell: Annotated[
        Path | None,
        Meta(description="The login shell. None: that of the account that runs the gateway."),
    ] = None

    def __post_init__(self) -> None:
        check_labels(self.app, self.environment)


class ShellSettings(Table, frozen=True):
    """The apps' shells."""

    start_timeout_s: Annotated[
        Seconds,
        Meta(
            description="A CONNECT waits this long for a shell that is being started, then gets 504. It "
            "waits up to ten minutes more while an autoscaler adds a node for the shell."
        ),
    ] = 60.0
    static: Annotated[
        tuple[StaticShellSettings, ...], Meta(description="Existing SSH servers.")
    ] = ()
    local: Annotated[
        tuple[LocalShellSettings, ...],
        Meta(description="Shells on this machine, started on demand."),
    ] = ()

    def __post_init__(self) -> None:
        seen = set()
        entries: tuple[StaticShellSettings | LocalShellSettings, ...] = (*self.static, *self.local)
        for entry in entries:
            key = (entry.app, entry.environment)
            if key in seen:
                raise ValueError(f"shells names app {entry.app!r} twice in the same environment")
            seen.add(key)
