"""The parts of ssh's configuration: an `Include` file, its known_hosts, and the line in `~/.ssh/config`.

`stagedoor login` and `stagedoor ssh-config` share these parts. A value that ssh's files cannot represent
raises TunnelError.

Sources: ssh_config(5) for the keywords, their quoting and tokens; sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from stagedoor.laptop.tunnel import errors
from stagedoor.laptop.tunnel.errors import TunnelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NO_QUOTE = '"!*\'*"'
"""A pattern that excludes names with a quote, since ProxyCommand quotes the name for the shell."""
NAMES = ("*.ssh", "*-ssh")
"""Patterns of shells only: `*-ssh.*` would match real hosts such as build-ssh.example.com."""
ALIVE_INTERVAL_S = 30
ALIVE_COUNT = 4
"""These detect a dead session in two minutes, and keep it alive at a NAT that drops idle flows after one."""
RESUMABLE_ALIVE_COUNT = 960
"""The count if the connection may be resumed: the shell may be silent for eight hours, and `stagedoor tunnel`
itself detects a dead connection."""


def format_shell_hosts(
    names: Sequence[str], connection: Sequence[str], known_hosts: Path, *, may_resume: bool
) -> list[str]:
    """Return the `Host` block of the shells. `connection` are its lines that connect to them."""
    alive_count = RESUMABLE_ALIVE_COUNT if may_resume else ALIVE_COUNT
    return [
        f"Host {NO_QUOTE} {' '.join(names)}",
        *connection,
        *render_trust(known_hosts),
        "  CanonicalizeHostname no",
        f"  ServerAliveInterval {ALIVE_INTERVAL_S}",
        f"  ServerAliveCountMax {alive_count}",
    ]


def render_jump_host(
    name: str, host: str, port: int, user: str | None, extra: Sequence[str], known_hosts: Path
) -> list[str]:
    """Return the `Host` block of the gateway as a jump host, with the lines `extra` and an empty line."""
    return [
        f"Host {name}",
        f"  HostName {host}",
        f"  Port {port}",
        *([] if user is None else [f"  User {require_plain(user)}"]),
        # The gateway relays data that is already encrypted, so use the fastest cipher.
        "  Ciphers ^aes128-gcm@openssh.com",
        *extra,
        *render_trust(known_hosts),
        "",
    ]


def render_trust(known_hosts: Path) -> list[str]:
    """Return the lines that make ssh trust only this known_hosts file, and never ask about other keys."""
    return [
        f"  UserKnownHostsFile {quote_path(known_hosts)}",
        "  GlobalKnownHostsFile /dev/null",
        "  StrictHostKeyChecking yes",
        "  CheckHostIP no",
    ]


def render_host_cas(keys: Sequence[str], jump: tuple[str, int] | None) -> list[str]:
    """Return the known_hosts lines of host CAs, for the shells and for the gateway at `jump`."""
    # These may match more than the `Host` patterns, since ssh reads this file for those hosts only.
    names = ",".join([*NAMES, "*-ssh.*"])
    if jump is not None:
        host, port = jump
        names += f",{host}" if port == 22 else f",[{host}]:{port}"
    return [f"@cert-authority {names} {key} stagedoor host CA" for key in keys]


def render_proxy_command(words: Sequence[str]) -> str:
    """Return the ProxyCommand that opens the tunnel to the shell's name, `%h`.

    The quotes protect the user's shell from names that an old ssh does not check (CVE-2023-51385). `NO_QUOTE`
    excludes names that contain a quote.
    """
    return f"  ProxyCommand {quote_command(words)} -- '%h' %p"


def quote_command(words: Sequence[str]) -> str:
    """Return a command for ProxyCommand, in which ssh expands `%`, and the user's shell splits words."""
    return " ".join(_quote_word(word) for word in words)


def quote_exec(words: Sequence[str]) -> str:
    """Return a command for `Match exec "…"`, in which quotes cannot be escaped."""
    for word in words:
        if any(c in word for c in "'\"\\"):
            raise TunnelError(
                errors.USAGE, f"ssh cannot be given the path {word!r}: choose another"
            )
    return quote_command(words)


def _quote_word(word: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9@%+=:,./_-]+", require_plain(word)):
        word = "'" + word.replace("'", "'\"'\"'") + "'"
    return word.replace("%", "%%")


def quote_path(path: Path) -> str:
    """Return a path for ssh_config, in which ssh expands `%` and `${…}`, and has no escapes."""
    text = require_plain(str(path))
    if any(c in text for c in "\"'\\%$*?["):
        line = f"ssh cannot be given the path {text}: choose one without \" ' \\ % $ * ? ["
        raise TunnelError(errors.USAGE, line)
    return f'"{text}"' if " " in text else text


def require_plain(text: str) -> str:
    """Return `text` unchanged. Raises TunnelError if it is empty or contains control characters."""
    if not text or not text.isprintable():
        raise TunnelError(errors.USAGE, f"{text!r} is empty or contains a control character")
    return text


def replace_file(path: Path, text: str, mode: int) -> None:
    """Replace a file's content with `text`, atomically even if power is lost. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    fd = os.open(str(temporary), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(fd, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:  # noqa: PTH123
            os.fchmod(fd, mode)  # regardless of the umask
            file.write(text)
            file.flush()
            os.fsync(fd)
        temporary.replace(path)
    finally:
        if temporary.exists():
            temporary.unlink()


def make_private(folder: Path) -> None:
    """Create the folder and its missing parents with mode 0700. Raises OSError."""
    for missing in [*reversed(folder.parents), folder]:
        if not missing.exists():
            missing.mkdir(mode=0o700)


def format_include_line(config: Path) -> str:
    """Return the line that makes ssh read `config`."""
    return f"Include {quote_path(config)}"


def is_included(config: Path, ssh_config: Path) -> bool:
    """Return True if `ssh_config` includes `config` for all hosts: before any `Host` or `Match`.

    Raises OSError.
    """
    include = _parse_line(format_include_line(config))
    for line in _read_text(ssh_config).splitlines():
        keyword, value = _parse_line(line)
        if keyword in ("host", "match"):
            return False
        if (keyword, value) == include:
            return True
    return False


def add_include(config: Path, ssh_config: Path) -> bool:
    """Add the Include line at the top of `ssh_config`. Return False if it is there already.

    The rest of the file stays the same, byte for byte. Raises OSError.
    """
    if is_included(config, ssh_config):
        return False
    before = _read_text(ssh_config)
    _rewrite(ssh_config, f"{format_include_line(config)}\n" + ("\n" if before else "") + before)
    return True


def remove_include(config: Path, ssh_config: Path) -> None:
    """Remove the line that `add_include` added. Raises OSError."""
    before, line = _read_text(ssh_config), format_include_line(config)
    after = before.replace(f"{line}\n\n", "", 1).replace(f"{line}\n", "", 1)
    if after != before:
        _rewrite(ssh_config, after)


def _read_text(ssh_config: Path) -> str:
    if not ssh_config.exists():
        return ""
    return ssh_config.read_bytes().decode("utf-8", "surrogateescape")


def _rewrite(ssh_config: Path, text: str) -> None:
    file = ssh_config.resolve()  # follow links, which dotfile managers use
    make_private(file.parent)
    replace_file(file, text, file.stat().st_mode & 0o777 if file.exists() else 0o600)


def _parse_line(line: str) -> tuple[str, str]:
    """Return the keyword and the value of a line, the same for `Include "x"`, `include=x` and `Include x`."""
    keyword, _, value = line.strip().replace("=", " ", 1).replace("\t", " ").partition(" ")
    return keyword.lower(), value.strip().strip('"')
