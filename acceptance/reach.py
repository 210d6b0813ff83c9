"""A connection to a shell by one client, for ssh and all programs that run over it."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from acceptance.clients import ProxyClient
from acceptance.prompted import Done, Prompted, run
from acceptance.verdict import FailedError, NotHereError, need
from stagedoor.demo.clients import DemoLogin, write_private_file


@dataclass(frozen=True)
class Reach:
    """The configuration to reach a shell by one client.

    `config` is an ssh_config in which `host` goes through the client; ssh reads no other. `env` and
    `password` are for the client, which may ask for the password at the terminal.
    """

    config: Path
    host: str
    password: str = field(default="", repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    near: bool = True
    """True if the shell is on this machine, so that both ends have the same files."""

    def there(self, folder: Path, name: str) -> Path:
        """Return the path at the other end for a file of a check with this folder."""
        return folder / name if self.near else Path("/tmp") / f"{name}-{secrets.token_hex(8)}"  # noqa: S108 - it cannot be guessed

    def argv(self, program: str, *words: str | Path) -> list[str | Path]:
        """Return the command line for `program`: ssh, scp, sftp or sshfs, which all know `-F`."""
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
        """Run a program that uses ssh to its end. Raises NotHereError."""
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
        """Run a program that uses ssh and return its stdout. Raises FailedError if it fails, NotHereError."""
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
        """Start a program that uses ssh; its input stays open until `Prompted.wait`. Raises NotHereError."""
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
        """Run an ssh that stays in the shell until the block ends. Raises FailedError.

        A FailedError from the block is extended by the exit of ssh, if ssh had ended by then.
        """
        # The quotes keep the echoed word out of the command itself, which a program may print.
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
    client: ProxyClient, login: DemoLogin, base: Path, host: str = "app01.ssh", *, near: bool = True
) -> Reach:
    """Return the reach through `client`; `base` is the ssh_config with all but the ProxyCommand.

    Raises NotHereError if the client is not installed.
    """
    if client.missing:
        raise NotHereError(packages=[client.package or ""])
    command = client.through(login)
    # ssh takes the first value of a keyword.
    config = write_private_file(
        login.folder / f"{client.name.replace(' ', '_')}.ssh_config",
        f'Host {host}\n{command.format_lines()}  BatchMode yes\n  ConnectTimeout 30\nInclude "{base}"\n',
    )
    return Reach(config, host, login.password, command.env, near)
