"""One client's way to a shell, for ssh and all that runs over it."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from acceptance.prompted import Done, Prompted, run
from acceptance.verdict import FailedError, NotHereError, need
from stagedoor.demo.clients import Client, Login, private_file


@dataclass(frozen=True)
class Reach:
    """`config` is an ssh_config in which `host` goes through the client; nothing else is read.

    `env` and `password` are for the client, which may ask for the password at the terminal.
    """

    config: Path
    host: str
    password: str = field(default="", repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    near: bool = True
    """The shell is on this machine, so a path there is a path here."""

    def there(self, folder: Path, name: str) -> Path:
        """Where a drive with this folder may put a file at the other end."""
        return folder / name if self.near else Path("/tmp") / f"{name}-{secrets.token_hex(8)}"  # noqa: S108 - nobody can guess it

    def argv(self, program: str, *words: str | Path) -> list[str | Path]:
        """`program` is ssh, scp, sftp or sshfs, which all know `-F`."""
        return [program, "-F", self.config, *words]

    def run(
        self,
        argv: list[str | Path],
        *,
        stdin: bytes | Path = b"",
        stdout: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> Done:
        """Run a program that uses ssh, to its end."""
        need(str(argv[0]))
        return run(
            argv,
            password=self.password,
            env={**self.env, **(env or {})},
            stdin=stdin,
            stdout=stdout,
            timeout_s=timeout_s,
        )

    def must(
        self,
        argv: list[str | Path],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> bytes:
        """Its output; raises FailedError with what it said where it fails."""
        done = self.run(argv, stdin=stdin, env=env)
        if done.code:
            raise FailedError(f"{argv[0]} ended with {done.code}: {done.said}")
        return done.stdout

    def ssh(self, command: str, *options: str | Path, stdin: bytes | Path = b"") -> Done:
        """Run a command in the shell."""
        return self.run(self.argv("ssh", *options, self.host, command), stdin=stdin)

    def start(
        self, argv: list[str | Path], *, on_terminal: bool = False, timeout_s: float = 60.0
    ) -> Prompted:
        """Start a program that uses ssh; its input stays open until its end is waited for."""
        need(str(argv[0]))
        return Prompted(
            argv,
            password=self.password,
            env=self.env,
            stdin=None,
            on_terminal=on_terminal,
            timeout_s=timeout_s,
        )

    @contextmanager
    def inside(self, *options: str | Path) -> Iterator[Prompted]:
        """An ssh that is in the shell and stays until it is left. Raises FailedError; one that is raised
        inside says as well if ssh had ended by then."""
        # What is echoed cannot be found in the command itself, should somebody quote that.
        argv = self.argv("ssh", *options, self.host, "echo in''side; cat")
        with self.start(argv) as client:
            try:
                client.expect("inside")
            except TimeoutError as error:
                raise FailedError(str(error)) from None
            try:
                yield client
            except FailedError as error:
                if not client.ended:
                    raise
                done = client.wait()
                raise FailedError(f"{error}; ssh had ended with {done.code}: {done.said}") from None


def reach(
    client: Client, login: Login, base: Path, host: str = "app01.ssh", *, near: bool = True
) -> Reach:
    """The way through `client`; `base` is the ssh_config with all but the ProxyCommand.

    Raises NotHereError where the client is not installed.
    """
    if client.missing:
        raise NotHereError(packages=[client.package or ""])
    command = client.through(login)
    # ssh takes the first value that it finds for a keyword.
    config = private_file(
        login.folder / f"{client.name.replace(' ', '_')}.ssh_config",
        f'Host {host}\n{command.lines()}  BatchMode yes\n  ConnectTimeout 30\nInclude "{base}"\n',
    )
    return Reach(config, host, login.password, command.env, near)
