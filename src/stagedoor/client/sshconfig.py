"""The files of `stagedoor ssh-config`: an `Include` file and a known_hosts with the host CA.

With both, `ssh app01.ssh` goes through the gateway and never asks about a host key: only hosts
with a certificate of the host CA are known, and `StrictHostKeyChecking yes` refuses all others.
A host certificate must hold the exact name that was given to ssh (ssh(1), "CERTIFICATES"), so each
shell's must hold both spellings of its target: `app01.ssh` and `app01-ssh`, or
`app01.staging.ssh` and `app01-ssh.staging` (see `model.target.Target.principals`).

`laptop.ssh_files` has the parts that these files share with those of `stagedoor login`.
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
"""The gateway's name in the file, which only ssh uses."""
_HOST_PORT = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*))(?::(?P<port>[0-9]{1,5}))?"
)

_OWN_KNOWN_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
"""ssh's default (ssh_config(5), UserKnownHostsFile)."""
_HEADER = "# Written by 'stagedoor ssh-config', which overwrites what is changed here.\n"


@dataclass(frozen=True, slots=True)
class SshAccess:
    """The values from which the two files are written.

    `gateway` is an address as for `stagedoor tunnel --gateway`; with `jump` it is the `HOST:PORT` of the
    gateway's SSH listener instead, and ssh needs no other program (`ProxyJump`). `user` is the user name at
    the gateway, None for the login name. `host_ca` are public key lines (`ssh-ed25519 AAAA…`), several while
    a CA is replaced. `client` is the command that runs the tunnel, as arguments, and `client_options` are
    more options for it (`("--ca-file", "/etc/…")`). `environments` are those whose shells can also be
    reached as `app01-ssh.ENVIRONMENT`; `app01.ENVIRONMENT.ssh` always works. `login_name` is the account in
    the shell, None to leave that to ssh. `fdpass` passes the socket to ssh, which is faster, but then the
    session ends with its connection; over https there is no gain, so it is left out. `host_keys` are
    known_hosts lines of shells without a certificate.
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

    `include_line` belongs at the top of the person's own ssh config. `included` is True if it is there now,
    `added` if this call put it there.
    """

    config: Path
    known_hosts: Path
    include_line: str
    included: bool
    added: bool


def render_config(access: SshAccess, known_hosts: Path) -> str:
    """Return the `Include` file. Raises SettingsError for values that ssh_config cannot hold."""
    for environment in access.environments:
        if not is_valid_environment(environment):
            raise SettingsError(f"{environment!r} is not an environment's name")
    names = [*ssh_files.NAMES, *(f"*-ssh.{name}" for name in access.environments)]
    with _as_settings():
        before, connection = _jump(access, known_hosts) if access.jump else _tunnel(access)
        may_resume = not access.jump and not _passes_socket(access)
        hosts = ssh_files.format_shell_hosts(names, connection, known_hosts, may_resume=may_resume)
        lines = [*before, *hosts]
        if access.login_name is not None:
            lines.append(f"  User {ssh_files.require_plain(access.login_name)}")
    return _HEADER + "\n".join(lines) + "\n"


def _passes_socket(access: SshAccess) -> bool:
    """Return whether ssh gets the socket itself, which is then not resumed."""
    return access.fdpass and not access.gateway.lower().startswith("https://")


def _tunnel(access: SshAccess) -> tuple[list[str], list[str]]:
    """Return the lines before the shells' `Host`, and those that connect by `stagedoor tunnel`."""
    parse_gateway(access.gateway, "--gateway")  # or every ssh would fail with this error
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


def _jump(access: SshAccess, known_hosts: Path) -> tuple[list[str], list[str]]:
    """Return the lines before the shells' `Host`, and those that connect by ssh's own `ProxyJump`."""
    host, port = _host_and_port(access.gateway)
    lines = ssh_files.render_jump_host(JUMP_HOST, host, port, access.user, (), known_hosts)
    # Commands that the gateway prints use its real name. Ours must not replace the person's own known_hosts
    # for that name, since the machine may also run an sshd of its own.
    own = f"  UserKnownHostsFile {_OWN_KNOWN_HOSTS} {ssh_files.quote_path(known_hosts)}"
    return [*lines, f"Host {host}", own, ""], [f"  ProxyJump {JUMP_HOST}"]


def _host_and_port(gateway: str) -> tuple[str, int]:
    """Parse `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`; port 22 by default. Raises SettingsError."""
    match = _HOST_PORT.fullmatch(gateway)
    if match is None or not 0 < int(match["port"] or SSH_PORT) <= 65535:
        raise SettingsError(f"{gateway!r} is no HOST:PORT of a gateway to jump over")
    return match["v6"] or match["name"], int(match["port"] or SSH_PORT)


def render_known_hosts(access: SshAccess) -> str:
    """Return the known_hosts. Raises SettingsError for a host CA line that is not a public key."""
    if not access.host_ca:
        raise SettingsError("no host CA is given, so ssh could know no shell")
    keys = []
    for line in access.host_ca:
        key = parse_public_key(line)
        if isinstance(key, KeyRefused):
            raise SettingsError(f"the host CA's public key cannot be used: {key.reason}")
        keys.append(key.line)
    lines = ssh_files.render_host_cas(keys, _host_and_port(access.gateway) if access.jump else None)
    for line in access.host_keys:
        if not line.isprintable() or len(line.split()) < 3:
            raise SettingsError("a host key is one line: NAMES TYPE BASE64, as in known_hosts")
        lines.append(line.strip())
    return _HEADER + "\n".join(lines) + "\n"


def read_trusted_cas(known_hosts: Path) -> frozenset[str]:
    """Return the CAs (`ssh-ed25519 AAAA…`) that a file written here trusts; empty if the file is missing.

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

    `add_include` puts the `Include` line at the top of `ssh_config` (default `~/.ssh/config`), unless
    it is there already; the rest of that file stays the same, byte for byte. Raises SettingsError
    for values that cannot be written, StagedoorError when the disk fails.
    """
    ssh_config = ssh_config or Path.home() / ".ssh" / "config"
    config, known_hosts = directory / CONFIG_NAME, directory / KNOWN_HOSTS_NAME
    texts = {
        known_hosts: (render_known_hosts(access), 0o644),
        config: (render_config(access, known_hosts), 0o600),
    }
    with _as_settings():
        include_line = ssh_files.include_line(config)
    with _named(directory):
        ssh_files.make_private(directory)
    for path, (text, mode) in texts.items():
        with _named(path):
            ssh_files.replace(path, text, mode)
    with _named(ssh_config):
        added = add_include and ssh_files.add_include(config, ssh_config)
        included = added or ssh_files.is_included(config, ssh_config)
    return WriteResult(config, known_hosts, include_line, included, added)


@contextlib.contextmanager
def _as_settings() -> Iterator[None]:
    """Raise SettingsError in place of TunnelError, for values that ssh's files cannot hold."""
    try:
        yield
    except TunnelError as error:
        raise SettingsError(error.line) from None


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Raise StagedoorError, which names the path, in place of OSError."""
    try:
        yield
    except OSError as error:
        raise StagedoorError(f"cannot write {path}: {error.strerror or error}") from error
