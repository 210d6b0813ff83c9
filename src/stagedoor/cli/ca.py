"""`stagedoor ca`: the two certificate authorities, their public halves, and host certificates."""

import time
from pathlib import Path

import click

from stagedoor.admin.certificates.authorities import (
    load_ca,
    load_host_ca,
    read_host_ca,
    read_public_half,
    read_user_ca,
)
from stagedoor.cli import show
from stagedoor.cli.installation import Installation
from stagedoor.cli.when import end
from stagedoor.model.errors import SettingsError

_FILE = click.Path(dir_okay=False, path_type=Path)
_OUTPUT = click.option(
    "--output",
    type=_FILE,
    help="Write to this file instead of stdout. It is replaced if it exists.",
)


@click.group()
def ca() -> None:
    """Show the CAs' public keys; sign servers' host keys."""


@ca.command(
    "show",
    epilog=show.make_epilog(
        "stagedoor ca show host > host_ca.pub", "stagedoor ca show user --ca /mnt/user_ca"
    ),
)
@click.argument("which", type=click.Choice(["user", "host"]))
@click.option(
    "--ca", "ca_file", type=_FILE, help="The CA's key file. Default: the one in the settings."
)
@_OUTPUT
@click.pass_obj
def show_(
    installation: Installation, which: str, ca_file: Path | None, output: Path | None
) -> None:
    """Print the public key of a CA.

    `user` goes into a server's TrustedUserCAKeys, `host` to developers' known_hosts.
    """
    if ca_file is not None:
        line = load_ca(ca_file).format_public_line()
    elif which == "user":
        line = read_user_ca(installation.settings)
    else:
        line = read_host_ca(installation.settings)
    _put(f"{line} stagedoor {which} CA", output)


@ca.command(
    "sign-host",
    epilog=show.make_epilog(
        "stagedoor ca sign-host --name app01.ssh --name app01-ssh ssh_host_ed25519_key.pub",
        "stagedoor ca sign-host --ca /mnt/host_ca --name gw.example --output cert.pub /mnt/ssh_host",
    ),
)
@click.argument("file", type=_FILE)
@click.option(
    "--name",
    "names",
    multiple=True,
    required=True,
    help="A name or address by which clients reach the server. May be given more than once.",
)
@click.option(
    "--expires",
    default="365d",
    show_default=True,
    callback=end,
    help="When the certificate expires.",
)
@click.option(
    "--ca", "ca_file", type=_FILE, help="The host CA's key file. Default: the one in the settings."
)
@_OUTPUT
@click.pass_obj
def sign_host(
    installation: Installation,
    file: Path,
    names: tuple[str, ...],
    expires: float | None,
    ca_file: Path | None,
    output: Path | None,
) -> None:
    """Sign a server's host key for its names.

    FILE has the public key, or the private key, of which only the public half is used.

    Put the certificate beside the server's key, and name it as HostCertificate in sshd_config(5).
    """
    if expires is None:
        raise click.BadParameter("a host certificate must expire", param_hint="--expires")
    now = time.time()
    authority = load_ca(ca_file) if ca_file is not None else load_host_ca(installation.settings)
    _put(authority.sign_host(read_public_half(file), names, expires - now), output)


def _put(line: str, output: Path | None) -> None:
    if output is None:
        click.echo(line)
        return
    try:
        output.write_text(line + "\n", encoding="ascii")
    except OSError as error:
        raise SettingsError(f"cannot write {output}: {error.strerror}") from None
