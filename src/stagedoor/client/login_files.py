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

from stagedoor.client import tunnel
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
NO_QUOTE = '"!*\'*"'
"""A pattern of ssh's: no name with a quote. ProxyCommand puts the name in quotes, for the person's shell."""
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
        self.ssh = str(ssh) if fits else None
        self.connect = connect if isinstance(connect, str) and len(connect) < 300 else None
        if not self.host_ca or not self.names:
            line = f"what answers at {url} is no Stagedoor gateway of this kind; check the address"
            raise TunnelError(tunnel.NOT_PROXY, line)
        if said.get("login") is not True:
            raise TunnelError(
                tunnel.REFUSED, f"{url} has no certificates set up; ask its administrators"
            )
        if self.ssh is None and not self._connect_is_private():
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
    """The Include file. `program` runs this client by whole paths. Raises TunnelError."""
    if not _USER.fullmatch(user):
        raise TunnelError(tunnel.REFUSED, f"ssh cannot be given the user name {user!r}")
    names = known.names
    key = [
        f"  IdentityFile {_path(folder / KEY)}",
        f"  CertificateFile {_path(folder / CERTIFICATE)}",
        "  IdentitiesOnly yes",
    ]
    hosts = [
        f"  UserKnownHostsFile {_path(folder / KNOWN_HOSTS)}",
        "  GlobalKnownHostsFile /dev/null",
        "  StrictHostKeyChecking yes",
        "  CheckHostIP no",
    ]
    needed = _needed(folder, program)
    # Without the name: one with a quote in it would end ours, and an old ssh takes it (CVE-2023-51385).
    lines = [f'Match host {",".join(names)} exec "{needed}"', ""]
    if known.ssh is not None:
        host, _, port = known.ssh.rpartition(":")
        jump = "stagedoor-" + re.sub(r"[^A-Za-z0-9.-]", "-", place)
        lines += [
            f"Host {jump}",
            f"  HostName {host.strip('[]')}",
            f"  Port {port}",
            f"  User {user}",
        ]
        # Whom to ask is decided by `--if-needed`, which sees BatchMode: ssh does not pass it on to a jump.
        lines.append("  KbdInteractiveAuthentication no")
        # The gateway only sees what is encrypted already; the fastest cipher is enough for it.
        lines += ["  Ciphers ^aes128-gcm@openssh.com", *key, *hosts, ""]
        way = [f"  ProxyJump {jump}"]
    else:
        words = ["tunnel", "--gateway", known.connect or "", "--user", user]
        command = _command([*program, *words, "--token-file", str(folder / SECRET)])
        way = [f"  ProxyCommand {command} -- '%h' %p"]
    lines += [f"Host {NO_QUOTE} {' '.join(names)}", *way, *key, *hosts, "  CanonicalizeHostname no"]
    return (
        _HEADER + "\n".join([*lines, "  ServerAliveInterval 30", "  ServerAliveCountMax 4"]) + "\n"
    )


def check_login(got: dict[str, object]) -> None:
    """What a gateway says of a login is shown on terminals and read again. Raises TunnelError."""
    user, ends = got.get("user"), got.get("ends_at")
    if not isinstance(user, str) or not _USER.fullmatch(user):
        raise TunnelError(tunnel.REFUSED, f"the gateway names no user, but {user!r}")
    if not isinstance(ends, (int, float)) or not 0 <= ends < 2**40:
        raise TunnelError(tunnel.REFUSED, "the gateway names no end of this login")


def render_known_hosts(known: GatewayDocument) -> str:
    names = ",".join([*known.names, "*-ssh.*"])
    if known.ssh is not None:
        host, _, port = known.ssh.rpartition(":")
        names += f",{host.strip('[]')}" if port == "22" else f",[{host.strip('[]')}]:{port}"
    lines = [f"@cert-authority {names} {line} stagedoor host CA" for line in known.host_ca]
    return _HEADER + "\n".join(lines) + "\n"


def _command(words: list[str]) -> str:
    """In an `exec` or `ProxyCommand`: ssh expands `%`, then the person's shell takes it apart."""
    return " ".join(_word(word) for word in words)


def _needed(folder: Path, program: list[str]) -> str:
    """What each ssh runs. Where it can be written, a shell says by itself that the certificate is good, as
    `needed.is_fresh` does, and waits by itself while another ssh's client asks: a Python costs ten times as
    much, and 50 of them a second of two processors. The file is a hint alone, and `turn.LoginLock` decides:
    a pid that is not of a client, as after a crash, is believed for ten seconds."""
    command = _command([*program, "login", "--if-needed", "--folder", str(folder)])
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


def _word(word: str) -> str:
    if not word.isprintable() or any(c in word for c in "'\"\\"):
        raise TunnelError(tunnel.USAGE, f"ssh cannot be given the path {word!r}: choose another")
    plain = re.fullmatch(r"[A-Za-z0-9@+=:,./_-]+", word)
    return (word if plain else f"'{word}'").replace("%", "%%")


def _path(path: Path) -> str:
    text = str(path)
    if not text.isprintable() or any(c in text for c in "'\"\\%$*?["):
        line = f"ssh cannot be given the path {text}: choose one without \" ' \\ % $ * ? ["
        raise TunnelError(tunnel.USAGE, line)
    return f'"{text}"' if " " in text else text


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
    replace(folder / CERTIFICATE, certificate + "\n", 0o644)
    replace(folder / FRESH, f"{fresh}\n", 0o600)  # whole lines: a shell reads it


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
    replace(place / CODE_OF, stamp, 0o600)  # last: what is half written counts for nothing


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


def replace(path: Path, text: str, mode: int) -> None:
    """Put `text` in the place of what the file held, all of it, also after a power cut. Raises OSError."""
    fresh = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    fd = os.open(str(fresh), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            os.fchmod(fd, mode)
            file.write(text)
            file.flush()
            os.fsync(fd)
        fresh.replace(path)
    finally:
        if fresh.exists():
            fresh.unlink()


def remove(folder: Path, *names: str) -> None:
    """Remove these files of the folder, as far as they are there. Raises OSError."""
    for name in names:
        if (folder / name).exists():
            (folder / name).unlink()


def make_private(folder: Path) -> None:
    """The folder, and those above it that are not there. Raises OSError."""
    for each in [*reversed(folder.parents), folder]:
        if not each.exists():
            each.mkdir(mode=0o700)


def include(folder: Path) -> bool:
    """Put the Include line at the top of ~/.ssh/config, unless it is in there. Whether it did. OSError."""
    line = f"Include {_path(folder / CONFIG)}"
    place = (
        Path.home() / ".ssh" / "config"
    ).resolve()  # through a link: people keep it in a repository
    before = place.read_bytes() if place.exists() else b""
    text = before.decode("utf-8", "surrogateescape")
    if line in text.splitlines():
        return False
    make_private(place.parent)
    mode = place.stat().st_mode & 0o777 if place.exists() else 0o600
    replace(place, f"{line}\n" + ("\n" if text else "") + text, mode)
    return True


def forget(folder: Path) -> None:
    """Take the folder and its Include line away. Raises OSError."""
    import shutil

    line = f"Include {_path(folder / CONFIG)}"
    place = (Path.home() / ".ssh" / "config").resolve()
    if place.exists():
        text = place.read_bytes().decode("utf-8", "surrogateescape")
        kept = text.replace(f"{line}\n\n", "", 1).replace(f"{line}\n", "", 1)
        if kept != text:
            replace(place, kept, place.stat().st_mode & 0o777)
    shutil.rmtree(str(folder))
