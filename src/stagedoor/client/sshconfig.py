"""The files of `stagedoor ssh-config`: an `Include` file and a known_hosts with the host CA.

With both, `ssh app01.ssh` connects through the gateway and never asks about a host key: ssh accepts only
hosts with a certificate of the host CA, and `StrictHostKeyChecking yes` refuses all others. A host
certificate must have the exact name that the user gave to ssh (ssh(1), "CERTIFICATES"). So a shell's
certificate has both spellings of its target: `app01.ssh` and `app01-ssh`, or `app01.staging.ssh` and
`app01-ssh.staging` (see `model.target.Target.principals`).

`laptop.ssh_files` renders the parts that `stagedoor login` writes too.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stagedoor.laptop import ssh_files
from stagedoor.laptop.tunnel.address import parse_gateway
from stagedoor.laptop.tunnel.errors import TunnelError
from stagedoor.model.errors import SettingsError, StagedoorError
from stagedoor.model.target import SSH_PORT, is_valid_environment
from stagedoor.wire.ssh.key import KeyRefused, parse_public_key

CONFIG_NAME = "config"
KNOWN_HOSTS_NAME = "known_hosts"
JUMP_HOST = "stagedoor-gateway"
"""The gateway's name in ssh's configuration."""
_HOST_PORT = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*))(?::(?P<port>[0-9]{1,5}))?"
)

_OWN_KNOWN_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
"""ssh's default (ssh_config(5), UserKnownHostsFile)."""
_HEADER = "# Written by 'stagedoor ssh-config', which overwrites changes to this file.\n"


@dataclass(frozen=True, slots=True)
class SshAccess:
    """The values in the two files.

    `gateway` is an address as for `stagedoor tunnel --gateway`. With `jump` it is the `HOST:PORT` of the
    gateway's SSH listener, and ssh uses `ProxyJump` and no other program. `user` is the user name at the
    gateway, or None for the login name. `host_ca` has public key lines (`ssh-ed25519 AAAA…`), several while a
    CA is being replaced. `client` is the command that runs the tunnel, and `client_options` are further
    options for it (`("--ca-file", "/etc/…")`). Shells in `environments` have the name `app01-ssh.ENVIRONMENT`
    as well; `app01.ENVIRONMENT.ssh` always works. `login_name` is the account in the shell, or None for ssh's
    default. With `fdpass` the client passes its socket to ssh, which is faster, but the session ends with its
    connection. Over https that is no faster, so it is ignored. `host_keys` has known_hosts lines of shells
    without a certificate.
    """

    gateway: str
    host_ca: tuple[str, ...]
    user: str | None = None
    client: tuple[str, ...] = ("stagedoor", "tunnel")
    client_options: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    login_name: str | None = None
    fdpass: bool = False
    host_keys: tuple[str, ...] = ()
    jump: bool = False


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The result of `write`.

    `include_line` belongs at the top of the user's own ssh config. `is_included` is True if it is there now,
    and `is_added` if this call added it.
    """

    config: Path
    known_hosts: Path
    include_line: str
    is_included: bool
    is_added: bool


def render_config(access: SshAccess, known_hosts: Path) -> str:
    """Return the `Include` file. Raises SettingsError for values that ssh_config cannot hold."""
    for environment in access.environments:
        if not is_valid_environment(environment):
            raise SettingsError(f"{environment!r} is not the name of an environment")
    names = [*ssh_files.NAMES, *(f"*-ssh.{name}" for name in access.environments)]
    with _as_settings_error():
        before, connection = (
            _render_jump(access, known_hosts) if access.jump else _render_tunnel(access)
        )
        may_resume = not access.jump and not _passes_socket(access)
        hosts = ssh_files.format_shell_hosts(names, connection, known_hosts, may_resume=may_resume)
        lines = [*before, *hosts]
        if access.login_name is not None:
            lines.append(f"  User {ssh_files.require_plain(access.login_name)}")
    return _HEADER + "\n".join(lines) + "\n"


def _passes_socket(access: SshAccess) -> bool:
    """Return True if ssh gets the socket itself. Such a connection is not resumed."""
    return access.fdpass and not access.gateway.lower().startswith("https://")


def _render_tunnel(access: SshAccess) -> tuple[list[str], list[str]]:
    """Return the lines before the shells' `Host`, and the lines that connect by `stagedoor tunnel`."""
    parse_gateway(access.gateway, "--gateway")  # an error here would otherwise appear in every ssh
    fdpass = _passes_socket(access)
    command = [*access.client, "--gateway", access.gateway, *access.client_options]
    if access.user is not None:
        command += ["--user", access.user]
    if fdpass:
        command += ["--fdpass"]
    return [], [
        ssh_files.render_proxy_command(command),
        f"  ProxyUseFdpass {'yes' if fdpass else 'no'}",
    ]


def _render_jump(access: SshAccess, known_hosts: Path) -> tuple[list[str], list[str]]:
    """Return the lines before the shells' `Host`, and the lines that connect by `ProxyJump`."""
    host, port = _parse_host_port(access.gateway)
    lines = ssh_files.render_jump_host(JUMP_HOST, host, port, access.user, (), known_hosts)
    # Commands that the gateway prints use its real name. Keep the user's own known_hosts for that name, since
    # the gateway's machine may also run an sshd.
    own = f"  UserKnownHostsFile {_OWN_KNOWN_HOSTS} {ssh_files.quote_path(known_hosts)}"
    return [*lines, f"Host {host}", own, ""], [f"  ProxyJump {JUMP_HOST}"]


def _parse_host_port(gateway: str) -> tuple[str, int]:
    """Parse `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`; port 22 by default. Raises SettingsError."""
    match = _HOST_PORT.fullmatch(gateway)
    if match is None or not 0 < int(match["port"] or SSH_PORT) <= 65535:
        raise SettingsError(f"{gateway!r} is not the HOST:PORT of a gateway's SSH listener")
    return match["v6"] or match["name"], int(match["port"] or SSH_PORT)


def render_known_hosts(access: SshAccess) -> str:
    """Return the known_hosts file. Raises SettingsError for an invalid host CA or host key."""
    if not access.host_ca:
        raise SettingsError("no host CA is given, so ssh could verify no shell")
    keys = []
    for line in access.host_ca:
        key = parse_public_key(line)
        if isinstance(key, KeyRefused):
            raise SettingsError(f"the host CA's public key cannot be used: {key.reason}")
        keys.append(key.line)
    lines = ssh_files.render_host_cas(
        keys, _parse_host_port(access.gateway) if access.jump else None
    )
    for line in access.host_keys:
        if not line.isprintable() or len(line.split()) < 3:
            raise SettingsError("a host key must be one line: NAMES TYPE BASE64, as in known_hosts")
        lines.append(line.strip())
    return _HEADER + "\n".join(lines) + "\n"


def read_trusted_cas(known_hosts: Path) -> frozenset[str]:
    """Return the CAs (`ssh-ed25519 AAAA…`) that a known_hosts file trusts. A missing file trusts none.

    Raises StagedoorError.
    """
    try:
        text = known_hosts.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise StagedoorError(f"cannot read {known_hosts}: {error.strerror}") from error
    lines = (line.split() for line in text.splitlines())
    return frozenset(
        " ".join(words[2:4]) for words in lines if len(words) > 3 and words[0] == "@cert-authority"
    )


def write(
    access: SshAccess,
    directory: Path,
    *,
    ssh_config: Path | None = None,
    add_include: bool = False,
) -> WriteResult:
    """Write both files into `directory`, an absolute path, each atomically.

    `add_include` adds the `Include` line at the top of `ssh_config` (default `~/.ssh/config`), unless it is
    there already. The rest of that file stays the same, byte for byte. Raises SettingsError for invalid
    values, and StagedoorError if a file cannot be written.
    """
    ssh_config = ssh_config or Path.home() / ".ssh" / "config"
    config, known_hosts = directory / CONFIG_NAME, directory / KNOWN_HOSTS_NAME
    texts = {
        known_hosts: (render_known_hosts(access), 0o644),
        config: (render_config(access, known_hosts), 0o600),
    }
    with _as_settings_error():
        include_line = ssh_files.format_include_line(config)
    with _as_write_error(directory):
        ssh_files.make_private(directory)
    for path, (text, mode) in texts.items():
        with _as_write_error(path):
            ssh_files.replace_file(path, text, mode)
    with _as_write_error(ssh_config):
        is_added = add_include and ssh_files.add_include(config, ssh_config)
        is_included = is_added or ssh_files.is_included(config, ssh_config)
    return WriteResult(config, known_hosts, include_line, is_included, is_added)


@contextlib.contextmanager
def _as_settings_error() -> Iterator[None]:
    """Raise SettingsError in place of TunnelError."""
    try:
        yield
    except TunnelError as error:
        raise SettingsError(error.line) from None


@contextlib.contextmanager
def _as_write_error(path: Path) -> Iterator[None]:
    """Raise StagedoorError with the path in place of OSError."""
    try:
        yield
    except OSError as error:
        raise StagedoorError(f"cannot write {path}: {error.strerror or error}") from error
