"""`stagedoor ssh-config`: write the files with which ssh connects to shells without questions."""

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
    help="HOST:PORT of the gateway's SSH listener, instead of --gateway. ssh then needs no other program.",
)
@click.option("--user", help="Your user name at the gateway. Default: your login name.")
@click.option(
    "--host-ca",
    "host_ca_files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The host CA's public key, which `stagedoor ca show host` prints on the gateway. Default, on "
    "the gateway's own machine: its host CA. While a CA is being replaced, give both keys.",
)
@click.option(
    "--environment",
    "environments",
    multiple=True,
    help="Accept the name `app01-ssh.ENVIRONMENT` too; `app01.ENVIRONMENT.ssh` always works.",
)
@click.option("--login-name", help="Your account in the shell. Default: the one that ssh chooses.")
@click.option(
    "--client",
    help="The command that opens the tunnel, such as `python3 /home/me/tun.py`. "
    "Default: `stagedoor tunnel`, with the full path.",
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file with your token. Default: where `stagedoor tunnel` looks for it.",
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
    help="Pass the socket to ssh (plain http only). Faster, but a session ends with its connection.",
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
    """Write an Include file and a known_hosts file for ssh.

    With both, ssh connects to shells without asking about host keys: it trusts the host CA.
    """
    if gateway and jump:
        raise click.UsageError("give either --gateway or --jump, not both")
    option = gateway or jump
    address, is_jump = (
        (option, jump is not None) if option else _find_public_address(installation.settings)
    )
    folder = (directory or Path.home() / ".ssh" / "stagedoor").absolute()
    known_hosts = folder / sshconfig.KNOWN_HOSTS_NAME
    access = sshconfig.SshAccess(
        gateway=address,
        jump=is_jump,
        host_ca=tuple(" ".join(_read_lines(file)) for file in host_ca_files)
        or (_own_host_ca(installation.settings, known_hosts),),
        user=user,
        client=(*find_this_program(), "tunnel") if client is None else _split_command(client),
        client_options=_client_options(token_file, ca_file),
        environments=environments,
        login_name=login_name,
        fdpass=fdpass,
        host_keys=tuple(_read_lines(host_keys_file)) if host_keys_file else (),
    )
    if print_only:
        click.echo(f"# {folder / sshconfig.CONFIG_NAME}")
        click.echo(sshconfig.render_config(access, known_hosts))
        click.echo(f"# {known_hosts}")
        click.echo(sshconfig.render_known_hosts(access), nl=False)
        return
    _report(sshconfig.write(access, folder, add_include=include))


def _client_options(token_file: Path | None, ca_file: Path | None) -> tuple[str, ...]:
    """Return the client's options for these files, with absolute paths."""
    files = (("--token-file", token_file), ("--ca-file", ca_file))
    return tuple(word for name, file in files if file for word in (name, str(file.absolute())))


def _report(result: sshconfig.WriteResult) -> None:
    click.echo(f"wrote {result.config}\nwrote {result.known_hosts}")
    if result.is_added:
        click.echo("added the Include line at the top of ~/.ssh/config")
    elif not result.is_included:
        click.echo(
            "now add this line at the top of ~/.ssh/config (or run this again with --include):\n"
            f"  {result.include_line}"
        )


def _split_command(command: str) -> tuple[str, ...]:
    """Split a command line into words, with `~` expanded."""
    return tuple(
        str(Path(word).expanduser()) if word.startswith("~") else word
        for word in shlex.split(command)
    )


def _find_public_address(settings: Settings) -> tuple[str, bool]:
    """Return the public address in the gateway's settings, and True if it is that of the SSH listener.

    Raises click.UsageError if the settings have none.
    """
    public = settings.ssh.public_at
    if public is not None:
        return join_host_port(*public), True
    if settings.tunnel.public_url is not None:
        return settings.tunnel.public_url, False
    raise click.UsageError(
        "give either --gateway or --jump; the settings on this machine have no public address "
        "(ssh.host_names with ssh.addresses, or tunnel.public_url)"
    )


def _own_host_ca(settings: Settings, known_hosts: Path) -> str:
    """Return this gateway's host CA as a line. Raises SettingsError if `known_hosts` trusts another one."""
    fix = "ask an administrator for the gateway's, and give it with --host-ca FILE"
    try:
        line = read_host_ca(settings)
    except StagedoorError as error:
        raise SettingsError(f"no host CA to trust: {fix}; {error}") from None
    trusted = sshconfig.read_trusted_cas(known_hosts)
    if trusted and line not in trusted:
        raise SettingsError(
            f"{known_hosts} trusts another host CA than {settings.host_ca_file}, and is left unchanged: {fix}"
        )
    return line


def _read_lines(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StagedoorError(f"cannot read the public keys in {file}: {error}") from None
    return [line for line in lines if line.strip() and not line.startswith("#")]
