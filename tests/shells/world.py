"""The world of the shells' tests: CAs, users with keys, and OpenSSH clients set up as ours."""

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from stagedoor.keys.ca import CertificateAuthority
from stagedoor.keys.files import load_or_create
from stagedoor.model.grant import Admission, Grant
from stagedoor.model.identity import Identity, Method
from stagedoor.model.shell import Shell, StartStep
from stagedoor.model.target import Target
from stagedoor.shells.local import LocalShell, LocalShells
from tests.openssh import KEX
from tests.pace import allow
from tests.waiting import BOUND_S as BOUND_S
from tests.waiting import wait_until as wait_until

APP01 = Target("app01")
STAGING = Target("app01", "staging")

Admitted = Callable[[Target], Sequence[Admission]]


def grant(target: Target = APP01) -> Grant:
    return Grant(Identity("dev", frozenset(), Method.PASSWORD), target, 1, None)


def ignore(_: StartStep) -> None:
    """Ignore the progress of a start."""


def new_key(path: Path) -> str:
    """Make a key as a developer would, and return its public line."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "dev", "-f", path], check=True
    )
    return " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])


@dataclass
class World:
    """`admissions` may be changed by a test; refresh `shells` then, as serve does."""

    folder: Path
    host_ca: CertificateAuthority = field(init=False)
    user_ca: CertificateAuthority = field(init=False)
    key: str = field(init=False)
    admissions: list[Admission] = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.host_ca = CertificateAuthority(load_or_create(self.folder / "host_ca"), time.time)
        self.user_ca = CertificateAuthority(load_or_create(self.folder / "user_ca"), time.time)
        self.key = new_key(self.folder / "id")
        self.admissions = [Admission("dev", (self.key,))]
        known = self.folder / "known_hosts"
        known.write_text(f"@cert-authority *.ssh,*-ssh,*-ssh.* {self.host_ca.public_line()}\n")

    def shells(
        self,
        *entries: LocalShell,
        idle_stop_s: float = 600.0,
        drain_grace_s: float = 5.0,
        admitted: Admitted | None = None,
        sign_host: Callable[[str, tuple[str, ...]], str] | None = None,
        start_timeout_s: float = 60.0,
        now: Callable[[], float] = time.time,
    ) -> LocalShells:
        return LocalShells(
            entries or (LocalShell("app01"),),
            self.folder / "shells",
            user_ca_lines=lambda: [self.user_ca.public_line()],
            sign_host=sign_host or (lambda key, names: self.host_ca.sign_host(key, names, 3600)),
            admitted=admitted or (lambda _: self.admissions),
            idle_stop_s=idle_stop_s,
            drain_grace_s=drain_grace_s,
            start_timeout_s=start_timeout_s,
            now=now,
        )

    def started(self, shells: LocalShells, target: Target = APP01) -> Shell:
        """Ensured from outside any event loop."""
        shell = asyncio.run(shells.ensure(grant(target), ignore))
        assert isinstance(shell, Shell), shell
        assert ip_address(shell.host).is_loopback
        return shell

    def config(self, shell: Shell, key: Path | None = None, *lines: str) -> Path:
        """An ssh_config for one shell; a first-use prompt would be a failure."""
        path = self.folder / f"config.{shell.port}.{os.urandom(4).hex()}"
        identity = key or self.folder / "id"
        path.write_text(
            f"Host *\n"
            f"  HostName {shell.host}\n  Port {shell.port}\n"
            f"  HostKeyAlias {shell.target.host_name}\n"
            f"  UserKnownHostsFile {self.folder / 'known_hosts'}\n"
            "  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n"
            f"  IdentityFile {identity}\n  IdentitiesOnly yes\n  IdentityAgent none\n"
            f"  BatchMode yes\n  ConnectTimeout 20\n  LogLevel ERROR\n  {KEX}\n"
            "  PreferredAuthentications publickey\n" + "".join(f"  {line}\n" for line in lines)
        )
        return path


@contextlib.contextmanager
def running(world: World, *entries: LocalShell) -> Iterator[tuple[LocalShells, Shell]]:
    """The first of `entries`, started, and gone when it is over."""
    shells = world.shells(*entries)
    try:
        yield shells, world.started(shells, shells.targets()[0])
    finally:
        shells.stop_all()


Ssh = Callable[..., "subprocess.CompletedProcess[bytes]"]


def ssh_with(config: Path) -> Ssh:
    """`ssh(command, *options, input=…)` against one shell."""

    def ssh(
        command: str | None = None, *options: str, input: bytes | None = b""
    ) -> "subprocess.CompletedProcess[bytes]":
        words = ["ssh", "-F", config, *options, "shell", *([command] if command else [])]
        return subprocess.run(
            words, input=input, capture_output=True, timeout=allow(100), check=False
        )

    return ssh
