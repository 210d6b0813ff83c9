"""What ssh is told about Stagedoor's shells: an `Include` file and a known_hosts of the host CA.

With both, `ssh app01.ssh` goes through the gateway and never asks about a host key: only hosts
with a certificate of the host CA are known, and `StrictHostKeyChecking yes` refuses all others.
A host certificate must hold the very name that was given to ssh (ssh(1), "CERTIFICATES"), so each
shell's must hold both spellings of its target: `app01.ssh` and `app01-ssh`, or
`app01.staging.ssh` and `app01-ssh.staging` (see `principals`).

Sources: ssh_config(5) for the keywords, their quoting and tokens; sshd(8), SSH_KNOWN_HOSTS FILE
FORMAT.
"""

import contextlib
import os
import re
import secrets
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stagedoor.client import tunnel
from stagedoor.client.login_files import NO_QUOTE
from stagedoor.model.errors import SettingsError, StagedoorError
from stagedoor.model.target import SSH_PORT, Target, valid_environment
from stagedoor.wire.sshkey import KeyRefused, parse_public_key

CONFIG_NAME = "config"
KNOWN_HOSTS_NAME = "known_hosts"
ALIVE_INTERVAL_S = 30
ALIVE_COUNT = 4
"""A dead session is noticed in two minutes; a NAT that forgets idle flows after one is kept awake."""

JUMP_HOST = "stagedoor-gateway"
"""What the gateway is called in the file, for ssh alone."""
_HOST_PORT = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*))(?::(?P<port>[0-9]{1,5}))?"
)

_OWN_KNOWN_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
"""ssh's default (ssh_config(5), UserKnownHostsFile)."""
_HEADER = "# Written by 'stagedoor ssh-config', which overwrites what is changed here.\n"


@dataclass(frozen=True, slots=True)
class SshAccess:
    """Everything that the two files are made from.

    `gateway` is as for `stagedoor tunnel --gateway`; with `jump` it is `HOST:PORT` of the gateway's
    SSH listener instead, and ssh needs no other program (`ProxyJump`). `user` is who one is at the
    gateway, None for the login name. `host_ca` are public key lines (`ssh-ed25519 AAAA…`), several while a CA
    is replaced. `client` is the command that runs the tunnel, as arguments, and
    `client_options` are further options of it (`("--ca-file", "/etc/…")`). `environments` are
    those whose shells shall be reached as `app01-ssh.ENVIRONMENT` too; `app01.ENVIRONMENT.ssh`
    always is. `login_name` is who one is in the shell, None to leave that to ssh. `fdpass` lets
    ssh take the socket over, which is faster; over https there is no gain in it, and it is left
    out. `host_keys` are known_hosts lines of shells that have no certificate.
    """

    gateway: str
    host_ca: tuple[str, ...]
    user: str | None = None
    client: tuple[str, ...] = ("stagedoor", "tunnel")
    client_options: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    login_name: str | None = None
    fdpass: bool = True
    host_keys: tuple[str, ...] = ()
    jump: bool = False


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What `write` did. `include_line` must stand at the top of the person's own ssh config;
    `included` says whether it now does, `added` whether this call put it there."""

    config: Path
    known_hosts: Path
    include_line: str
    included: bool
    added: bool


def principals(target: Target) -> tuple[str, str]:
    """The names that the host certificate of the target's shell must hold."""
    return target.host_name, target.shell_name


def render_config(access: SshAccess, known_hosts: Path) -> str:
    """The `Include` file. Raises SettingsError for what ssh_config could not hold."""
    for environment in access.environments:
        if not valid_environment(environment):
            raise SettingsError(f"{environment!r} is not an environment's name")
    # Not `*-ssh.*`: that would catch a real host such as build-ssh.example.com.
    hosts = ["*.ssh", "*-ssh", *(f"*-ssh.{name}" for name in access.environments)]
    way = _jump(access, known_hosts) if access.jump else _tunnel(access)
    lines = [
        *way[0],
        f"Host {NO_QUOTE} {' '.join(hosts)}",
        *way[1],
        "  CanonicalizeHostname no",
        *_known(known_hosts),
        f"  ServerAliveInterval {ALIVE_INTERVAL_S}",
        f"  ServerAliveCountMax {ALIVE_COUNT}",
    ]
    if access.login_name is not None:
        lines.append(f"  User {_plain(access.login_name)}")
    return _HEADER + "\n".join(lines) + "\n"


def _known(known_hosts: Path) -> list[str]:
    return [
        f"  UserKnownHostsFile {_path(known_hosts)}",
        "  GlobalKnownHostsFile /dev/null",
        "  StrictHostKeyChecking yes",
        "  CheckHostIP no",
    ]


def _tunnel(access: SshAccess) -> tuple[list[str], list[str]]:
    """What goes before the shells' `Host`, and how they are reached: by `stagedoor tunnel`."""
    try:
        tunnel.parse_gateway(access.gateway, "--gateway")
    except tunnel.TunnelError as error:  # each ssh would end so
        raise SettingsError(error.line) from None
    fdpass = access.fdpass and not access.gateway.lower().startswith("https://")
    command = [*access.client, "--gateway", access.gateway, *access.client_options]
    if access.user is not None:
        command += ["--user", access.user]
    if fdpass:
        command += ["--fdpass"]
    words = " ".join(_word(word) for word in command)
    return [], [
        # The quotes keep a name that an old ssh does not check from the shell (CVE-2023-51385), but for one
        # that has a quote in it: see `NO_QUOTE`.
        f"  ProxyCommand {words} -- '%h' %p",
        f"  ProxyUseFdpass {'yes' if fdpass else 'no'}",
    ]


def _jump(access: SshAccess, known_hosts: Path) -> tuple[list[str], list[str]]:
    """The same by ssh alone, with the gateway as a host of its own."""
    host, port = _host_and_port(access.gateway)
    lines = [f"Host {JUMP_HOST}", f"  HostName {host}", f"  Port {port}"]
    if access.user is not None:
        lines.append(f"  User {_plain(access.user)}")
    # The gateway only sees what is encrypted already; the fastest cipher is enough for it.
    lines += ["  Ciphers ^aes128-gcm@openssh.com", *_known(known_hosts), ""]
    # What the gateway prints names it by its own name and port, where people's own known_hosts stay in
    # force: the machine may have an sshd of its own.
    lines += [f"Host {host}", f"  UserKnownHostsFile {_OWN_KNOWN_HOSTS} {_path(known_hosts)}"]
    return [*lines, ""], [f"  ProxyJump {JUMP_HOST}"]


def _host_and_port(gateway: str) -> tuple[str, int]:
    """`HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`; port 22 by default. Raises SettingsError."""
    match = _HOST_PORT.fullmatch(gateway)
    if match is None or not 0 < int(match["port"] or SSH_PORT) <= 65535:
        raise SettingsError(f"{gateway!r} is no HOST:PORT of a gateway to jump over")
    return match["v6"] or match["name"], int(match["port"] or SSH_PORT)


def render_known_hosts(access: SshAccess) -> str:
    """The known_hosts text. Raises SettingsError for a host CA line that is no public key."""
    if not access.host_ca:
        raise SettingsError("no host CA is given, so ssh could know no shell")
    lines = []
    names = "*.ssh,*-ssh,*-ssh.*"
    if access.jump:
        host, port = _host_and_port(access.gateway)
        names += f",{host}" if port == SSH_PORT else f",[{host}]:{port}"
    for line in access.host_ca:
        key = parse_public_key(line)
        if isinstance(key, KeyRefused):
            raise SettingsError(f"the host CA's public key cannot be used: {key.reason}")
        # Wider than `Host`: this file is read for those hosts only.
        lines.append(f"@cert-authority {names} {key.line} stagedoor host CA")
    for line in access.host_keys:
        if not line.isprintable() or len(line.split()) < 3:
            raise SettingsError("a host key is one line: NAMES TYPE BASE64, as in known_hosts")
        lines.append(line.strip())
    return _HEADER + "\n".join(lines) + "\n"


def trusted_cas(known_hosts: Path) -> frozenset[str]:
    """The CAs (`ssh-ed25519 AAAA…`) that a file written here trusts. None: it is not there.

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
    directory: Path | None = None,
    *,
    ssh_config: Path | None = None,
    add_include: bool = False,
) -> WriteResult:
    """Write both files into `directory` (`~/.ssh/stagedoor`), each whole or not at all.

    With `add_include` the `Include` line is put at the top of `ssh_config` (`~/.ssh/config`)
    unless it stands there already; what was there stays as it was, byte for byte. Raises
    SettingsError for values that cannot be written, StagedoorError when the disk refuses.
    """
    directory = (directory or Path.home() / ".ssh" / "stagedoor").absolute()
    ssh_config = ssh_config or Path.home() / ".ssh" / "config"
    config, known_hosts = directory / CONFIG_NAME, directory / KNOWN_HOSTS_NAME
    texts = {
        known_hosts: (render_known_hosts(access), 0o644),
        config: (render_config(access, known_hosts), 0o600),
    }
    include_line = f"Include {_path(config)}"
    with _told(directory):
        # Every folder that is made is private: mkdir's own `parents` would not see to that.
        for folder in [*reversed(directory.parents), directory]:
            if not folder.exists():
                folder.mkdir(mode=0o700)
    for path, (text, mode) in texts.items():
        with _told(path):
            _replace(path, text.encode(), mode)
    with _told(ssh_config):
        before = ssh_config.read_bytes() if ssh_config.exists() else b""
        included = includes(before.decode("utf-8", "surrogateescape"), include_line)
        added = add_include and not included
        if added:
            # Through a link to where the file is: people keep it in a repository.
            place = ssh_config.resolve()
            place.parent.mkdir(mode=0o700, exist_ok=True)
            mode = place.stat().st_mode & 0o777 if place.exists() else 0o600
            blank = b"\n" if before else b""
            _replace(place, f"{include_line}\n".encode() + blank + before, mode)
    return WriteResult(config, known_hosts, include_line, included or added, added)


def includes(ssh_config: str, include_line: str) -> bool:
    """Whether `include_line` is in force for every host, so before any `Host` or `Match`."""
    wanted = _keyword(include_line)
    for line in ssh_config.splitlines():
        keyword, value = _keyword(line)
        if keyword in ("host", "match"):
            return False
        if (keyword, value) == wanted:
            return True
    return False


def _keyword(line: str) -> tuple[str, str]:
    """`Include "x"`, `include=x` and `Include x` are one: the keyword is folded, quotes go."""
    keyword, _, value = line.strip().replace("=", " ", 1).replace("\t", " ").partition(" ")
    return keyword.lower(), value.strip().strip('"')


def _word(word: str) -> str:
    """One word of ProxyCommand: ssh expands `%`, then the person's shell takes it apart."""
    return shlex.quote(_plain(word)).replace("%", "%%")


def _path(path: Path) -> str:
    """A path as ssh_config's argument; ssh expands `%` and `${…}` in it, and knows no escape."""
    text = _plain(str(path))
    if any(c in text for c in '"\\%$*?['):
        raise SettingsError(
            f'ssh cannot be given the path {text}: choose one without " \\ % $ * ? ['
        )
    return f'"{text}"' if " " in text else text


def _plain(text: str) -> str:
    if not text or not text.isprintable():
        raise SettingsError(f"{text!r} is empty or holds a control character")
    return text


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Put `content` in the place of what `path` held: all of it, even after a power cut."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(fd, "wb") as file:  # noqa: PTH123 - Path.open takes no descriptor
            os.fchmod(fd, mode)  # the umask must neither widen nor narrow it
            file.write(content)
            file.flush()
            os.fsync(fd)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """The disk's refusals in a person's words."""
    try:
        yield
    except OSError as error:
        raise StagedoorError(f"cannot write {path}: {error.strerror or error}") from error
