"""What a login keeps on a machine: one folder for each gateway, and a line in ssh's configuration.

Standard library only, Python 3.8 or later. Everything is private, and written whole or not at all.
"""

from __future__ import annotations

import binascii
import json
import os
import re
import sys
import time
from pathlib import Path

from stagedoor.client import ssh_files, tunnel
from stagedoor.client.needed import ASKING, CERTIFICATE, CODE, CODE_OF, FRESH, SINCE, file_stamp
from stagedoor.client.tunnel import TunnelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

KEY, SECRET, STATE = "id", "secret", "state.json"
CONFIG, KNOWN_HOSTS = "ssh_config", "known_hosts"
RENEW_S = 30 * 60
"""A certificate that is good for longer is used without a word."""
AGAIN_S = 60
"""So long a certificate that could not be made to last longer is not asked about again."""
_HEADER = "# Written by 'stagedoor login', which overwrites what is changed here.\n"
_CERTIFICATE = re.compile(r"ssh-ed25519-cert-v01@openssh\.com ([A-Za-z0-9+/]+={0,2})")
_KEY_LINE = re.compile(
    r"(?:ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|ssh-rsa) [A-Za-z0-9+/]+={0,2}"
)
_NAME = re.compile(r"\*[.-]ssh")
"""Of shells alone: a gateway must not catch a person's other hosts, such as build-ssh.example.com."""
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}")
_PLACE = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_][A-Za-z0-9_.-]*):[0-9]{1,5}")


def home() -> Path:
    """Where the folders are (XDG base directories)."""
    base = Path(os.environ.get("XDG_CONFIG_HOME") or "")
    return (base if base.is_absolute() else Path.home() / ".config") / "stagedoor"


def folder_of(place: str) -> Path:
    """That of the gateway at `HOST[:PORT]`."""
    return home() / re.sub(r"[^A-Za-z0-9.-]", "_", place)


def folders() -> list[Path]:
    """Those of gateways that were logged in to."""
    try:
        return sorted(folder for folder in home().iterdir() if (folder / STATE).is_file())
    except OSError:
        return []


class GatewayDocument:
    """What the well-known document says, checked: it goes into ssh's configuration."""

    def __init__(self, said: dict[str, object], url: str) -> None:
        """Raises TunnelError."""
        self.host_ca = _texts(said, "host_ca", _KEY_LINE)
        self.names = _texts(said, "names", _NAME)
        ssh, connect = said.get("ssh"), said.get("connect")
        fits = isinstance(ssh, str) and len(ssh) < 300 and _PLACE.fullmatch(ssh)
        self.jump = _host_port(str(ssh)) if fits else None
        self.connect = connect if isinstance(connect, str) and len(connect) < 300 else None
        if not self.host_ca or not self.names:
            line = f"what answers at {url} is no Stagedoor gateway of this kind; check the address"
            raise TunnelError(tunnel.NOT_PROXY, line)
        if said.get("login") is not True:
            raise TunnelError(
                tunnel.REFUSED, f"{url} has no certificates set up; ask its administrators"
            )
        if self.jump is None and not self._connect_is_private():
            raise TunnelError(
                tunnel.REFUSED,
                f"{url} names no way for ssh that keeps a login secret; its administrators set "
                "ssh.addresses, or tunnel.public_url with https://",
            )

    def _connect_is_private(self) -> bool:
        if self.connect is None:
            return False
        gateway = tunnel.parse_gateway(self.connect, "the gateway's CONNECT")
        return gateway.scheme == "https" or tunnel.bypassed(gateway, "")


def _host_port(place: str) -> tuple[str, int]:
    host, _, port = place.rpartition(":")
    return host.strip("[]"), int(port)


def _texts(said: dict[str, object], name: str, form: re.Pattern[str]) -> list[str]:
    found = said.get(name)
    if not isinstance(found, list) or len(found) > 16:
        return []
    return [
        one for one in found if isinstance(one, str) and len(one) < 2000 and form.fullmatch(one)
    ]


def render_config(
    known: GatewayDocument, folder: Path, user: str, program: list[str], place: str
) -> str:
    """Return the Include file. `program` runs this client by whole paths. Raises TunnelError."""
    if not _USER.fullmatch(user):
        raise TunnelError(tunnel.REFUSED, f"ssh cannot be given the user name {user!r}")
    known_hosts = folder / KNOWN_HOSTS
    key = [
        f"  IdentityFile {ssh_files.path_word(folder / KEY)}",
        f"  CertificateFile {ssh_files.path_word(folder / CERTIFICATE)}",
        "  IdentitiesOnly yes",
    ]
    # Without the name: one with a quote in it would end ours, and an old ssh takes it (CVE-2023-51385).
    lines = [f'Match host {",".join(known.names)} exec "{_needed(folder, program)}"', ""]
    if known.jump is not None:
        jump = "stagedoor-" + re.sub(r"[^A-Za-z0-9.-]", "-", place)
        # Whom to ask is decided by `--if-needed`, which sees BatchMode: ssh does not pass it on to a jump.
        more = ["  KbdInteractiveAuthentication no", *key]
        lines += ssh_files.jump_host(jump, *known.jump, user, more, known_hosts)
        way = f"  ProxyJump {jump}"
    else:
        words = ["tunnel", "--gateway", known.connect or "", "--user", user]
        way = ssh_files.proxy_command([*program, *words, "--token-file", str(folder / SECRET)])
    lines += ssh_files.shell_hosts(known.names, [way, *key], known_hosts)
    return _HEADER + "\n".join(lines) + "\n"


def check_login(got: dict[str, object]) -> None:
    """What a gateway says of a login is shown on terminals and read again. Raises TunnelError."""
    user, ends = got.get("user"), got.get("ends_at")
    if not isinstance(user, str) or not _USER.fullmatch(user):
        raise TunnelError(tunnel.REFUSED, f"the gateway names no user, but {user!r}")
    if not isinstance(ends, (int, float)) or not 0 <= ends < 2**40:
        raise TunnelError(tunnel.REFUSED, "the gateway names no end of this login")


def render_known_hosts(known: GatewayDocument) -> str:
    """Return the known_hosts with the gateway's host CAs."""
    return _HEADER + "\n".join(ssh_files.authorities(known.host_ca, known.jump)) + "\n"


def _needed(folder: Path, program: list[str]) -> str:
    """What each ssh runs. Where it can be written, a shell says by itself that the certificate is good, as
    `needed.is_fresh` does, and waits by itself while another ssh's client asks: a Python costs ten times as
    much, and 50 of them a second of two processors. The file is a hint alone, and `turn.LoginLock` decides:
    a pid that is not of a client, as after a crash, is believed for ten seconds."""
    command = ssh_files.exec_command([*program, "login", "--if-needed", "--folder", str(folder)])
    if "'" in command:
        return command
    good = f"read t < $f/{FRESH} && [ -e $f/{CERTIFICATE} ] && [ $t -gt $n ]"
    # Made by one alone (-C), who goes on as the client by the same pid.
    first = f"set -C; echo $$ > $f/{ASKING}"
    pause = f"s={SINCE}$n; i=$((i+1)); sleep 0.2 || sleep 1"
    wait = f"read p < $f/{ASKING} && while kill -0 $p && [ $i -lt 50 ]; do {pause}; done"
    script = (
        f"f={folder}; n=$(date +%%s); i=0; s=; good() {{ {good}; }}; "
        f"{{ good || {{ {first} || {{ {wait}; }}; good; }}; }} 2> /dev/null || exec {command} $s"
    )
    return f"/bin/sh -c '{script}'"


def ends_at(certificate: str) -> int:
    """When an ed25519 certificate ends, seconds since the epoch (PROTOCOL.certkeys). Raises TunnelError."""
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
        raise TunnelError(tunnel.REFUSED, "the gateway sent what is no certificate") from None
    return min(int.from_bytes(end, "big"), 2**40)


def fresh_until(end: int, now: float) -> int:
    """Until when a certificate that ends then is used without a word."""
    return max(end - RENEW_S, min(int(now) + AGAIN_S, end - AGAIN_S))


def write_certificate(folder: Path, certificate: str, *, to_its_end: bool = False) -> None:
    """It, and until when it is fresh: to its end where none can be had that ends later. Raises TunnelError,
    OSError."""
    end = ends_at(certificate)
    fresh = end - AGAIN_S if to_its_end else fresh_until(end, time.time())
    ssh_files.replace(folder / CERTIFICATE, certificate + "\n", 0o644)
    ssh_files.replace(folder / FRESH, f"{fresh}\n", 0o600)  # whole lines: a shell reads it


def keep_code(folder: Path) -> None:
    """Put the modules of a client that is one file where `needed.use_compiled` looks. Raises OSError."""
    archive = getattr(sys.modules["stagedoor.client"].__loader__, "archive", None)
    if archive is None:
        return
    place, stamp = folder / CODE, file_stamp(archive)
    if (place / CODE_OF).is_file() and (place / CODE_OF).read_text(encoding="ascii") == stamp:
        return
    import py_compile
    import shutil
    import zipfile

    shutil.rmtree(str(place), ignore_errors=True)
    place.mkdir(mode=0o700)
    with zipfile.ZipFile(archive) as whole:
        for name in whole.namelist():
            before, _, module = name.rpartition("/")
            if before == "stagedoor/client":
                (place / module).write_bytes(whole.read(name))
                py_compile.compile(str(place / module))
    ssh_files.replace(
        place / CODE_OF, stamp, 0o600
    )  # last: what is half written counts for nothing


def login_options(given: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """The user and the secret of this machine's login at the gateway of the options `given`, as options too;
    none where those or `env` name somebody or another secret."""
    named = ("STAGEDOOR_USER", "STAGEDOOR_TOKEN_FILE")
    if "--user" in given or "--token-file" in given or any(env.get(name) for name in named):
        return {}
    folder = folder_of(given["--gateway"].partition("://")[2].lower())
    secret = folder / SECRET
    try:
        user = read_state(folder).get("user")
    except TunnelError:
        return {}
    if not isinstance(user, str) or not secret.is_file():
        return {}
    return {"--user": user, "--token-file": str(secret)}


def read_state(folder: Path) -> dict[str, object]:
    """Raises TunnelError where there is none to be read."""
    try:
        found = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("gateway"), str):
        raise TunnelError(
            tunnel.USAGE, f"nobody is logged in here ({folder}); run stagedoor login URL"
        )
    return found


def remove(folder: Path, *names: str) -> None:
    """Remove these files of the folder, as far as they are there. Raises OSError."""
    for name in names:
        if (folder / name).exists():
            (folder / name).unlink()


def include(folder: Path) -> bool:
    """Have `~/.ssh/config` read the folder's configuration. Return True if it did not. Raises OSError."""
    return ssh_files.add_include(folder / CONFIG, Path.home() / ".ssh" / "config")


def forget(folder: Path) -> None:
    """Take the folder and its Include line away. Raises OSError."""
    import shutil

    ssh_files.remove_include(folder / CONFIG, Path.home() / ".ssh" / "config")
    shutil.rmtree(str(folder))
