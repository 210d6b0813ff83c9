"""The files of a login on a machine: one folder for each gateway, and a line in ssh's configuration.

All files are private, and each write is atomic.
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
from stagedoor.laptop.needed import ASKING, CERTIFICATE, CODE, CODE_OF, FRESH, SINCE, read_stamp
from stagedoor.laptop.tunnel import errors
from stagedoor.laptop.tunnel.address import is_loopback, parse_gateway
from stagedoor.laptop.tunnel.errors import TunnelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

KEY, SECRET, STATE = "id", "secret", "state.json"
CONFIG, KNOWN_HOSTS = "ssh_config", "known_hosts"
RENEW_S = 30 * 60
"""A certificate that is valid for longer than this is used without a renewal."""
AGAIN_S = 60
"""The pause between renewals when the gateway grants no certificate that is valid for longer than that."""
_HEADER = "# Written by 'stagedoor login', which overwrites what is changed here.\n"
_CERTIFICATE = re.compile(r"ssh-ed25519-cert-v01@openssh\.com ([A-Za-z0-9+/]+={0,2})")
_KEY_LINE = re.compile(
    r"(?:ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|ssh-rsa) [A-Za-z0-9+/]+={0,2}"
)
_NAME = re.compile(r"\*[.-]ssh")
"""Matches shells alone: a gateway must not catch a person's other hosts, such as build-ssh.example.com."""
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}")
_PLACE = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_][A-Za-z0-9_.-]*):[0-9]{1,5}")


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
    """The gateway's well-known document, checked, because its values go into ssh's configuration."""

    def __init__(self, said: dict[str, object], url: str) -> None:
        """Check the document `said` of the gateway at `url`. Raises TunnelError."""
        self.host_ca = _texts(said, "host_ca", _KEY_LINE)
        self.names = _texts(said, "names", _NAME)
        ssh, connect = said.get("ssh"), said.get("connect")
        fits = isinstance(ssh, str) and len(ssh) < 300 and _PLACE.fullmatch(ssh)
        self.jump = _host_port(str(ssh)) if fits else None
        self.connect = connect if isinstance(connect, str) and len(connect) < 300 else None
        if not self.host_ca or not self.names:
            line = f"{url} is not the address of a Stagedoor gateway with logins; check it"
            raise TunnelError(errors.NOT_PROXY, line)
        if said.get("login") is not True:
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


def _host_port(place: str) -> tuple[str, int]:
    host, _, port = place.rpartition(":")
    return host.strip("[]"), int(port)


def _texts(said: dict[str, object], name: str, form: re.Pattern[str]) -> list[str]:
    texts = said.get(name)
    if not isinstance(texts, list) or len(texts) > 16:
        return []
    return [
        text
        for text in texts
        if isinstance(text, str) and len(text) < 2000 and form.fullmatch(text)
    ]


def render_config(
    document: GatewayDocument, folder: Path, user: str, program: list[str], place: str
) -> str:
    """Return the Include file. `program` runs this client, with absolute paths. Raises TunnelError."""
    if not _USER.fullmatch(user):
        raise TunnelError(errors.REFUSED, f"ssh cannot be given the user name {user!r}")
    known_hosts = folder / KNOWN_HOSTS
    key = [
        f"  IdentityFile {ssh_files.quote_path(folder / KEY)}",
        f"  CertificateFile {ssh_files.quote_path(folder / CERTIFICATE)}",
        "  IdentitiesOnly yes",
    ]
    # Without the host name: a quote in it would end ours, and an old ssh accepts one (CVE-2023-51385).
    lines = [f'Match host {",".join(document.names)} exec "{_needed(folder, program)}"', ""]
    if document.jump is not None:
        jump = "stagedoor-" + re.sub(r"[^A-Za-z0-9.-]", "-", place)
        # `--if-needed` decides whether to ask, as it sees BatchMode: ssh does not pass it on to a jump host.
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
    """Check a gateway's answer about a login, which is shown on terminals and stored. Raises TunnelError."""
    user, ends = login.get("user"), login.get("ends_at")
    if not isinstance(user, str) or not _USER.fullmatch(user):
        raise TunnelError(errors.REFUSED, f"the gateway sent an invalid user name: {user!r}")
    if not isinstance(ends, (int, float)) or not 0 <= ends < 2**40:
        raise TunnelError(errors.REFUSED, "the gateway sent no expiry for this login")


def render_known_hosts(document: GatewayDocument) -> str:
    """Return the known_hosts with the gateway's host CAs."""
    return _HEADER + "\n".join(ssh_files.render_host_cas(document.host_ca, document.jump)) + "\n"


def _needed(folder: Path, program: list[str]) -> str:
    """Return the command that each ssh runs for a valid certificate.

    Unless a path has a quote, it is a shell script that checks the certificate as `needed.is_fresh` does, and
    waits while another ssh's client logs in. Python would cost ten times as much, and 50 of them a second of
    two processors. The pid file is only a hint, and `turn.LoginLock` decides: a pid that belongs to no
    client, as after a crash, is believed for ten seconds.
    """
    command = ssh_files.quote_exec([*program, "login", "--if-needed", "--folder", str(folder)])
    if "'" in command:
        return command
    good = f"read t < $f/{FRESH} && [ -e $f/{CERTIFICATE} ] && [ $t -gt $n ]"
    # -C lets one shell alone create the file; it execs the client, which keeps the pid.
    first = f"set -C; echo $$ > $f/{ASKING}"
    pause = f"s={SINCE}$n; i=$((i+1)); sleep 0.2 || sleep 1"
    wait = f"read p < $f/{ASKING} && while kill -0 $p && [ $i -lt 50 ]; do {pause}; done"
    script = (
        f"f={folder}; n=$(date +%%s); i=0; s=; good() {{ {good}; }}; "
        f"{{ good || {{ {first} || {{ {wait}; }}; good; }}; }} 2> /dev/null || exec {command} $s"
    )
    return f"/bin/sh -c '{script}'"


def read_end(certificate: str) -> int:
    """Return the end of an ed25519 certificate, seconds since the epoch (PROTOCOL.certkeys).

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
    """Return the time until which a certificate that ends at `end` is used without a renewal."""
    return max(end - RENEW_S, min(int(now) + AGAIN_S, end - AGAIN_S))


def write_certificate(folder: Path, certificate: str, *, to_its_end: bool = False) -> None:
    """Write the certificate, and the time until which it is fresh.

    With `to_its_end`, it is fresh until it ends, because it cannot be renewed. Raises TunnelError, OSError.
    """
    end = read_end(certificate)
    fresh = end - AGAIN_S if to_its_end else find_renewal_time(end, time.time())
    ssh_files.replace(folder / CERTIFICATE, certificate + "\n", 0o644)
    ssh_files.replace(folder / FRESH, f"{fresh}\n", 0o600)  # with a newline: a shell reads it


def write_modules(folder: Path) -> None:
    """Compile the modules of a one-file client into the folder for `needed.use_compiled`. Raises OSError."""
    program = sys.modules["__main__"]
    sources: dict[str, str] | None = getattr(program, "SOURCES", None)
    if sources is None:
        return
    place, stamp = folder / CODE, read_stamp(str(program.__file__))
    if (place / CODE_OF).is_file() and (place / CODE_OF).read_text(encoding="ascii") == stamp:
        return
    import py_compile
    import shutil

    shutil.rmtree(str(place), ignore_errors=True)
    place.mkdir(mode=0o700)
    for name, text in sources.items():
        _, above, within = name.partition("stagedoor.laptop.")
        if above:
            file = place / f"{within.replace('.', '/')}.py"
            if any(other.startswith(f"{name}.") for other in sources):
                file = file.with_suffix("") / "__init__.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
            py_compile.compile(str(file))
    # Last, so that an unfinished folder is not used.
    ssh_files.replace(place / CODE_OF, stamp, 0o600)


def find_login_options(given: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """Return the user and the secret file of this machine's login at a gateway, as options.

    The gateway is that of the options `given`. The result is empty if there is no login, or if `given` or
    `env` names a user or a token file.
    """
    named = ("STAGEDOOR_USER", "STAGEDOOR_TOKEN_FILE")
    if "--user" in given or "--token-file" in given or any(env.get(name) for name in named):
        return {}
    folder = find_folder(given["--gateway"].partition("://")[2].lower())
    secret = folder / SECRET
    try:
        user = read_state(folder).get("user")
    except TunnelError:
        return {}
    if not isinstance(user, str) or not secret.is_file():
        return {}
    return {"--user": user, "--token-file": str(secret)}


def read_state(folder: Path) -> dict[str, object]:
    """Return the stored state of the folder's login. Raises TunnelError if there is none."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        state = None
    if not isinstance(state, dict) or not isinstance(state.get("gateway"), str):
        raise TunnelError(errors.USAGE, f"there is no login in {folder}; run stagedoor login URL")
    return state


def remove(folder: Path, *names: str) -> None:
    """Remove files from the folder; missing ones are ignored. Raises OSError."""
    for name in names:
        if (folder / name).exists():
            (folder / name).unlink()


def include(folder: Path) -> bool:
    """Make `~/.ssh/config` include the folder's configuration. Return False if it did so before.

    Raises OSError.
    """
    return ssh_files.add_include(folder / CONFIG, Path.home() / ".ssh" / "config")


def forget(folder: Path) -> None:
    """Remove the folder and its Include line. Raises OSError."""
    import shutil

    ssh_files.remove_include(folder / CONFIG, Path.home() / ".ssh" / "config")
    shutil.rmtree(str(folder))
