"""A host of local shells in the test's own process: CAs, a user with a key, and ssh to a shell."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from stagedoor.keys.ca import CertificateAuthority
from stagedoor.keys.files import load_or_create
from stagedoor.model.grant import Admission
from stagedoor.model.shell import ProgressStep, Shell
from stagedoor.model.target import Target
from stagedoor.shells.local.adapter import LocalShells
from stagedoor.shells.local.settings import LocalShell
from tests.fixtures.laptop import Done, Ssh, format_public_line, new_key, run_ssh, write_ssh_config
from tests.fixtures.people import APP01, grant

Admitted = Callable[[Target], Sequence[Admission]]


def ignore(_: ProgressStep) -> None:
    """Ignore the progress of a start."""


@dataclass
class ShellHost:
    """A host that starts local shells below `folder`.

    A test that changes `admissions` refreshes the shells, as serve does.
    """

    folder: Path
    host_ca: CertificateAuthority = field(init=False)
    user_ca: CertificateAuthority = field(init=False)
    key: str = field(init=False)
    admissions: list[Admission] = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.host_ca = CertificateAuthority(load_or_create(self.folder / "host_ca"), time.time)
        self.user_ca = CertificateAuthority(load_or_create(self.folder / "user_ca"), time.time)
        self.key = format_public_line(new_key(self.folder / "id"))
        self.admissions = [Admission("dev", (self.key,))]
        known = self.folder / "known_hosts"
        known.write_text(
            f"@cert-authority *.ssh,*-ssh,*-ssh.* {self.host_ca.format_public_line()}\n"
        )

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
            user_ca_lines=lambda: [self.user_ca.format_public_line()],
            sign_host=sign_host or (lambda key, names: self.host_ca.sign_host(key, names, 3600)),
            admitted=admitted or (lambda _: self.admissions),
            idle_stop_s=idle_stop_s,
            drain_grace_s=drain_grace_s,
            start_timeout_s=start_timeout_s,
            now=now,
        )

    def started(self, shells: LocalShells, target: Target = APP01) -> Shell:
        """Ensure a shell from outside any event loop."""
        shell = asyncio.run(shells.ensure(grant(target), ignore))
        assert isinstance(shell, Shell), shell
        assert ip_address(shell.host).is_loopback
        return shell

    def config(self, shell: Shell, key: Path | None = None, *lines: str) -> Path:
        """Write an ssh_config for one shell."""
        return write_ssh_config(
            self.folder / f"config.{shell.port}.{os.urandom(4).hex()}",
            key or self.folder / "id",
            f"HostName {shell.host}",
            f"Port {shell.port}",
            f"HostKeyAlias {shell.target.host_name}",
            "LogLevel ERROR",
            "PreferredAuthentications publickey",
            *lines,
            known_hosts=self.folder / "known_hosts",
        )


@contextlib.contextmanager
def running(host: ShellHost, *entries: LocalShell) -> Iterator[tuple[LocalShells, Shell]]:
    """Start the first of `entries`, and stop it when the block ends."""
    shells = host.shells(*entries)
    try:
        yield shells, host.started(shells, shells.list_targets()[0])
    finally:
        shells.stop_all()


def ssh_with(config: Path) -> Ssh:
    """Return `ssh(command, *options, input=…)` against one shell."""

    def ssh(command: str | None = None, *options: str, input: bytes | None = b"") -> Done:
        return run_ssh(config, *options, "shell", *([command] if command else []), input=input)

    return ssh
