"""`stagedoor ssh-config`: write the files by which ssh reaches the shells without questions."""

import shlex
from pathlib import Path

import click

from stagedoor.admin.certificates.authorities import read_host_ca
from stagedoor.cli.installation import Installation
from stagedoor.cli.laptop_command import find_this_program
from stagedoor.cli.show import make_epilog
from stagedoor.client import sshconfig
from stagedoor.model.errors import SettingsError, StagedoorError
from stagedoor.model.source import join_host_port
from stagedoor.settings.settings import Settings


@click.command(
    "ssh-config",
    epilog=make_epilog(
        "stagedoor ssh-config --gateway gw.example:8022 --host-ca host_ca.pub --include",
        "stagedoor ssh-config --gateway https://gw.example --user dev --host-ca host_ca.pub",
        "stagedoor ssh-config --jump gw.example:8023 --user dev --host-ca host_ca.pub",
        "stagedoor ssh-config --gateway 127.0.0.1:8022 --print",
    ),
)
@click.option(
    "--gateway",
    help="HOST:PORT, http://… or https://… of the gateway. Default, on the gateway's own machine: the public "
    "address in its settings.",
)
@click.option(
    "--jump",
    help="HOST:PORT of the gateway's SSH listener, in place of --gateway. Then ssh needs no other program.",
)
@click.option("--user", help="Your user name at the gateway. Default: your login name.")
@click.option(
    "--host-ca",
    "host_ca_files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The host CA's public key, which `stagedoor ca show host` prints on the gateway. Default, on "
    "the gateway's own machine: its host CA. Give both keys while a CA is being replaced.",
)
@click.option(
    "--environment",
    "environments",
    multiple=True,
    help="Also reach `app01-ssh.ENVIRONMENT`; `app01.ENVIRONMENT.ssh` always works.",
)
@click.option("--login-name", help="Your user name in the shell. Default: the one that ssh sends.")
@click.option(
    "--client",
    help="The command that opens the tunnel, such as `python3 /home/me/tun.py`. "
    "Default: `stagedoor tunnel`, with the full path.",
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file with your token. Default: the one that `stagedoor tunnel` finds.",
)
@click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Trust these CAs for an https gateway.",
)
@click.option(
    "--host-keys",
    "host_keys_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with known_hosts lines of shells that have no host certificate, such as "
    "`app01.ssh ssh-ed25519 AAAA…` (ssh-keyscan prints them).",
)
@click.option(
    "--fdpass",
    is_flag=True,
    help="Pass the socket to ssh, over plain http only: faster, but a session ends with its connection.",
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder for the two files. Default: ~/.ssh/stagedoor.",
)
@click.option("--include", is_flag=True, help="Put the Include line at the top of ~/.ssh/config.")
@click.option(
    "--print", "print_only", is_flag=True, help="Print both files instead of writing them."
)
@click.pass_obj
def ssh_config(
    installation: Installation,
    gateway: str | None,
    jump: str | None,
    user: str | None,
    host_ca_files: tuple[Path, ...],
    environments: tuple[str, ...],
    login_name: str | None,
    client: str | None,
    token_file: Path | None,
    ca_file: Path | None,
    host_keys_file: Path | None,
    fdpass: bool,
    directory: Path | None,
    include: bool,
    print_only: bool,
) -> None:
    """Write an Include file for ssh, and its known_hosts file.

    With both, ssh reaches the shells without asking about host keys: the known_hosts file trusts the host CA.
    """
    if gateway and jump:
        raise click.UsageError("give either --gateway or --jump, not both")
    given = gateway or jump
    address, jumps = (given, jump is not None) if given else _public(installation.settings)
    folder = (directory or Path.home() / ".ssh" / "stagedoor").absolute()
    known_hosts = folder / sshconfig.KNOWN_HOSTS_NAME
    access = sshconfig.SshAccess(
        gateway=address,
        jump=jumps,
        host_ca=tuple(" ".join(_lines(file)) for file in host_ca_files)
        or (_own_host_ca(installation.settings, known_hosts),),
        user=user,
        client=(*find_this_program(), "tunnel") if client is None else _words(client),
        client_options=_client_options(token_file, ca_file),
        environments=environments,
        login_name=login_name,
        fdpass=fdpass,
        host_keys=tuple(_lines(host_keys_file)) if host_keys_file else (),
    )
    if print_only:
        click.echo(f"# {folder / sshconfig.CONFIG_NAME}")
        click.echo(sshconfig.render_config(access, known_hosts))
        click.echo(f"# {known_hosts}")
        click.echo(sshconfig.render_known_hosts(access), nl=False)
        return
    _report(sshconfig.write(access, folder, add_include=include))


def _client_options(token_file: Path | None, ca_file: Path | None) -> tuple[str, ...]:
    """Return the options of the client for these files, with absolute paths."""
    files = (("--token-file", token_file), ("--ca-file", ca_file))
    return tuple(word for name, file in files if file for word in (name, str(file.absolute())))


def _report(written: sshconfig.WriteResult) -> None:
    click.echo(f"wrote {written.config}\nwrote {written.known_hosts}")
    if written.added:
        click.echo("put the Include line at the top of ~/.ssh/config")
    elif not written.included:
        click.echo(
            "now put this line at the top of ~/.ssh/config (or run this again with --include):\n"
            f"  {written.include_line}"
        )


def _words(command: str) -> tuple[str, ...]:
    """Split a command line into words, with `~` expanded."""
    return tuple(
        str(Path(word).expanduser()) if word.startswith("~") else word
        for word in shlex.split(command)
    )


def _public(settings: Settings) -> tuple[str, bool]:
    """Return the public address in the settings of the gateway's machine, and whether to jump there.

    Raises click.UsageError if the settings have none.
    """
    public = settings.ssh.public_at
    if public is not None:
        return join_host_port(*public), True
    if settings.tunnel.public_url is not None:
        return settings.tunnel.public_url, False
    raise click.UsageError(
        "give either --gateway or --jump; the settings here name neither (ssh.host_names with "
        "ssh.addresses, or tunnel.public_url)"
    )


def _own_host_ca(settings: Settings, known_hosts: Path) -> str:
    """Return this gateway's host CA as a line. Raises SettingsError if ssh trusts another one already."""
    how = "ask an administrator for the gateway's, and give it with --host-ca FILE"
    try:
        line = read_host_ca(settings)
    except StagedoorError as error:
        raise SettingsError(f"no host CA to trust: {how}; {error}") from None
    trusted = sshconfig.read_trusted_cas(known_hosts)
    if trusted and line not in trusted:
        raise SettingsError(
            f"{known_hosts} trusts another host CA than the one in {settings.host_ca_file}, and stays "
            f"as it is: {how}"
        )
    return line


def _lines(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StagedoorError(f"cannot read the public keys in {file}: {error}") from None
    return [line for line in lines if line.strip() and not line.startswith("#")]
