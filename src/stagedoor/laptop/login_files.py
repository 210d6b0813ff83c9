"""The files of a login on this machine: a folder for each gateway, and a line in ssh's configuration.

The folder is private, and each write is atomic.
"""

from __future__ import annotations

import binascii
import json
import os
import re
import sys
import time
from pathlib import Path

from stagedoor.laptop import ssh_files
from stagedoor.laptop.if_needed import (
    CERTIFICATE,
    CODE,
    CODE_STAMP,
    FRESH,
    PID_FILE,
    SINCE,
    read_stamp,
)
from stagedoor.laptop.tunnel import errors
from stagedoor.laptop.tunnel.address import is_loopback, parse_gateway
from stagedoor.laptop.tunnel.errors import TunnelError
from stagedoor.laptop.web import GatewayAddress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

KEY, SECRET, STATE = "id", "secret", "state.json"
CONFIG, KNOWN_HOSTS = "ssh_config", "known_hosts"
RENEW_S = 30 * 60
"""A certificate with less remaining validity than this is renewed."""
REPEAT_S = 60
"""The pause between renewals if the gateway only grants certificates that are valid for a shorter time."""
_HEADER = "# Written by 'stagedoor login', which overwrites changes to this file.\n"
_CERTIFICATE = re.compile(r"ssh-ed25519-cert-v01@openssh\.com ([A-Za-z0-9+/]+={0,2})")
_KEY_LINE = re.compile(
    r"(?:ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|ssh-rsa) [A-Za-z0-9+/]+={0,2}"
)
_NAME = re.compile(r"\*[.-]ssh")
"""Accepts patterns of shells only, which match no other host of the user, such as build-ssh.example.com."""
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}")
_HOST_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_][A-Za-z0-9_.-]*):[0-9]{1,5}")


def find_home() -> Path:
    """Return the parent of all gateways' folders (XDG base directories)."""
    base = Path(os.environ.get("XDG_CONFIG_HOME") or "")
    return (base if base.is_absolute() else Path.home() / ".config") / "stagedoor"


def find_folder(place: str) -> Path:
    """Return the folder of the gateway at `HOST[:PORT]`."""
    return find_home() / re.sub(r"[^A-Za-z0-9.-]", "_", place)


def list_folders() -> list[Path]:
    """Return the folders of all gateways that this machine has logged in to."""
    try:
        return sorted(folder for folder in find_home().iterdir() if (folder / STATE).is_file())
    except OSError:
        return []


class GatewayDocument:
    """The gateway's well-known document. Its values are checked, since ssh's configuration contains them."""

    def __init__(self, document: dict[str, object], url: str) -> None:
        """Check the `document` of the gateway at `url`. Raises TunnelError."""
        self.host_ca = _get_texts(document, "host_ca", _KEY_LINE)
        self.names = _get_texts(document, "names", _NAME)
        ssh, connect = document.get("ssh"), document.get("connect")
        is_valid = isinstance(ssh, str) and len(ssh) < 300 and _HOST_PORT.fullmatch(ssh)
        self.jump = _split_host_port(str(ssh)) if is_valid else None
        self.connect = connect if isinstance(connect, str) and len(connect) < 300 else None
        if not self.host_ca or not self.names:
            line = f"{url} is not the address of a Stagedoor gateway with logins; check it"
            raise TunnelError(errors.NOT_PROXY, line)
        if document.get("login") is not True:
            raise TunnelError(
                errors.REFUSED, f"{url} has no certificates set up; ask its administrators"
            )
        if self.jump is None and not self._connect_is_private():
            raise TunnelError(
                errors.REFUSED,
                f"{url} names no encrypted access method for ssh; ask its administrators for one",
            )

    def _connect_is_private(self) -> bool:
        if self.connect is None:
            return False
        gateway = parse_gateway(self.connect, "the gateway's CONNECT")
        return gateway.scheme == "https" or is_loopback(gateway.host)


def _split_host_port(place: str) -> tuple[str, int]:
    host, _, port = place.rpartition(":")
    return host.strip("[]"), int(port)


def _get_texts(document: dict[str, object], name: str, pattern: re.Pattern[str]) -> list[str]:
    texts = document.get(name)
    if not isinstance(texts, list) or len(texts) > 16:
        return []
    return [
        text
        for text in texts
        if isinstance(text, str) and len(text) < 2000 and pattern.fullmatch(text)
    ]


def render_config(
    document: GatewayDocument, folder: Path, user: str, program: list[str], place: str
) -> str:
    """Return the Include file. `program` is the command that runs this client. Raises TunnelError."""
    if not _USER.fullmatch(user):
        raise TunnelError(errors.REFUSED, f"ssh cannot be given the user name {user!r}")
    known_hosts = folder / KNOWN_HOSTS
    key = [
        f"  IdentityFile {ssh_files.quote_path(folder / KEY)}",
        f"  CertificateFile {ssh_files.quote_path(folder / CERTIFICATE)}",
        "  IdentitiesOnly yes",
    ]
    # The command omits the host name, since a quote in it would end the string (CVE-2023-51385).
    lines = [f'Match host {",".join(document.names)} exec "{_render_check(folder, program)}"', ""]
    if document.jump is not None:
        jump = "stagedoor-" + re.sub(r"[^A-Za-z0-9.-]", "-", place)
        # ssh does not pass BatchMode on to a jump host, so only `--if-needed` may ask.
        more = ["  KbdInteractiveAuthentication no", *key]
        lines += ssh_files.render_jump_host(jump, *document.jump, user, more, known_hosts)
        connection = f"  ProxyJump {jump}"
    else:
        words = ["tunnel", "--gateway", document.connect or "", "--user", user]
        connection = ssh_files.render_proxy_command(
            [*program, *words, "--token-file", str(folder / SECRET)]
        )
    may_resume = document.jump is None
    lines += ssh_files.format_shell_hosts(
        document.names, [connection, *key], known_hosts, may_resume=may_resume
    )
    return _HEADER + "\n".join(lines) + "\n"


def check_login(login: dict[str, object]) -> None:
    """Check a gateway's answer about a login, before it is shown or stored. Raises TunnelError.

    `ends_at` becomes a float, since JSON has one type of number.
    """
    user, ends_at = login.get("user"), login.get("ends_at")
    if not isinstance(user, str) or not _USER.fullmatch(user):
        raise TunnelError(errors.REFUSED, f"the gateway sent an invalid user name: {user!r}")
    if not isinstance(ends_at, (int, float)) or not 0 <= ends_at < 2**40:
        raise TunnelError(errors.REFUSED, "the gateway sent no expiry for this login")
    login["ends_at"] = float(ends_at)


def render_known_hosts(document: GatewayDocument) -> str:
    """Return the known_hosts file with the gateway's host CAs."""
    return _HEADER + "\n".join(ssh_files.render_host_cas(document.host_ca, document.jump)) + "\n"


def _render_check(folder: Path, program: list[str]) -> str:
    """Return the command by which each ssh ensures a valid certificate.

    Unless a path has a quote, it is a shell script that checks the certificate as `if_needed.is_fresh` does,
    and waits while another ssh's client logs in. Python would take ten times as long: 50 at once keep two
    processors busy for a second. The pid file is only a hint, and `login_lock.LoginLock` decides. A stale
    pid, as after a crash, costs ten seconds.
    """
    command = ssh_files.quote_exec([*program, "login", "--if-needed", "--folder", str(folder)])
    if "'" in command:
        return command
    is_good = f"read t < $f/{FRESH} && [ -e $f/{CERTIFICATE} ] && [ $t -gt $n ]"
    # With -C only one shell creates the file. It execs the client, which keeps the pid.
    claim = f"set -C; echo $$ > $f/{PID_FILE}"
    pause = f"s={SINCE}$n; i=$((i+1)); sleep 0.2 || sleep 1"
    wait = f"read p < $f/{PID_FILE} && while kill -0 $p && [ $i -lt 50 ]; do {pause}; done"
    script = (
        f"f={folder}; n=$(date +%%s); i=0; s=; good() {{ {is_good}; }}; "
        f"{{ good || {{ {claim} || {{ {wait}; }}; good; }}; }} 2> /dev/null || exec {command} $s"
    )
    return f"/bin/sh -c '{script}'"


def read_end(certificate: str) -> int:
    """Return when an ed25519 certificate expires, in seconds since the epoch (PROTOCOL.certkeys).

    Raises TunnelError.
    """
    match = _CERTIFICATE.fullmatch(certificate)
    try:
        if match is None:
            raise ValueError
        blob = binascii.a2b_base64(match.group(1))
        at = 0
        for _ in range(3):  # type, nonce, key
            at += 4 + int.from_bytes(blob[at : at + 4], "big")
        at += 8 + 4  # serial, kind
        for _ in range(2):  # key id, principals
            at += 4 + int.from_bytes(blob[at : at + 4], "big")
        end = blob[at + 8 : at + 16]
        if len(end) != 8:
            raise ValueError
    except ValueError:
        raise TunnelError(errors.REFUSED, "the gateway sent an invalid certificate") from None
    return min(int.from_bytes(end, "big"), 2**40)


def find_renewal_time(end: int, now: float) -> int:
    """Return when to renew a certificate that expires at `end`. Times are in seconds since the epoch."""
    return max(end - RENEW_S, min(int(now) + REPEAT_S, end - REPEAT_S))


def write_certificate(folder: Path, certificate: str, *, is_renewable: bool = True) -> None:
    """Write the certificate, and the time until which it is fresh.

    One that is not renewable is fresh until it expires. Raises TunnelError, OSError.
    """
    end = read_end(certificate)
    fresh = find_renewal_time(end, time.time()) if is_renewable else end - REPEAT_S
    ssh_files.replace_file(folder / CERTIFICATE, certificate + "\n", 0o644)
    # The newline is for the shell's `read`.
    ssh_files.replace_file(folder / FRESH, f"{fresh}\n", 0o600)


def compile_modules(folder: Path) -> None:
    """Compile the modules of a one-file client for `if_needed.use_compiled`. Raises OSError."""
    program = sys.modules["__main__"]
    sources: dict[str, str] | None = getattr(program, "SOURCES", None)
    if sources is None:
        return
    place, stamp = folder / CODE, read_stamp(str(program.__file__))
    if (place / CODE_STAMP).is_file() and (place / CODE_STAMP).read_text(encoding="ascii") == stamp:
        return
    import py_compile
    import shutil

    shutil.rmtree(str(place), ignore_errors=True)
    place.mkdir(mode=0o700)
    for name, text in sources.items():
        _, package, module = name.partition("stagedoor.laptop.")
        if package:
            file = place / f"{module.replace('.', '/')}.py"
            if any(other.startswith(f"{name}.") for other in sources):
                file = file.with_suffix("") / "__init__.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
            py_compile.compile(str(file))
    # The stamp is last, so that an incomplete folder is not used.
    ssh_files.replace_file(place / CODE_STAMP, stamp, 0o600)


def find_login_options(options: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """Return the options `--user` and `--token-file` of this machine's login at the gateway in `options`.

    The result is empty if there is no login, or if `options` or `env` names a user or a token file. The
    login's secret is only for the scheme, host and port of its own gateway.
    """
    variables = ("STAGEDOOR_USER", "STAGEDOOR_TOKEN_FILE")
    if {"--user", "--token-file"} & options.keys() or any(env.get(name) for name in variables):
        return {}
    try:
        gateway = GatewayAddress(options["--gateway"].lower())
        folder = find_folder(gateway.place)
        state = read_state(folder)
        is_same = GatewayAddress(str(state["gateway"])).origin == gateway.origin
    except TunnelError:
        return {}
    user, secret = state.get("user"), folder / SECRET
    if not (is_same and isinstance(user, str) and secret.is_file()):
        return {}
    return {"--user": user, "--token-file": str(secret)}


def read_state(folder: Path) -> dict[str, object]:
    """Return the stored state of a login. Raises TunnelError if there is none."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        state = None
    if not isinstance(state, dict) or not isinstance(state.get("gateway"), str):
        raise TunnelError(errors.USAGE, f"there is no login in {folder}; run stagedoor login URL")
    return state


def remove_files(folder: Path, *names: str) -> None:
    """Remove files from the folder, except missing ones. Raises OSError."""
    for name in names:
        if (folder / name).exists():
            (folder / name).unlink()


def include_config(folder: Path) -> bool:
    """Add the Include line to `~/.ssh/config`. Return False if it is there already. Raises OSError."""
    return ssh_files.add_include(folder / CONFIG, Path.home() / ".ssh" / "config")


def remove_login(folder: Path) -> None:
    """Remove the folder and its Include line. Raises OSError."""
    import shutil

    ssh_files.remove_include(folder / CONFIG, Path.home() / ".ssh" / "config")
    shutil.rmtree(str(folder))
