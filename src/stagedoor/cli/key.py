"""`stagedoor key`: manage users' SSH public keys."""

from typing import BinaryIO

import click
from msgspec import structs

from stagedoor.cli import show
from stagedoor.cli.administration import call, print_list
from stagedoor.cli.complete import fingerprints, user_names
from stagedoor.cli.installation import Installation
from stagedoor.wire.api.inputs import KeyRemoval, KeysNew
from stagedoor.wire.api.types import KeyEntry

_MAX_FILE_BYTES = 1 << 20


@click.group()
def key() -> None:
    """Register, list and remove users' SSH public keys."""


@key.command(
    "add",
    epilog=show.make_epilog(
        "stagedoor key add alice ~/.ssh/id_ed25519.pub",
        "ssh-add -L | stagedoor key add alice -",
        "curl -sf https://github.com/alice.keys | stagedoor key add alice -",
    ),
)
@click.argument("user", shell_complete=user_names)
@click.argument("file", type=click.File("rb"))
@click.pass_obj
def add(installation: Installation, user: str, file: BinaryIO) -> None:
    """Register the public keys in FILE for USER.

    FILE is a .pub file, or - for stdin. Either all keys are registered, or none.

    DSA keys, RSA keys under 2048 bits, and keys in ssh.revoked_keys_file are refused. The owner of a key is
    not verified, so take it from a place where only USER can put it.
    """
    content = file.read(_MAX_FILE_BYTES)
    # A byte that is not UTF-8 becomes a lone surrogate, which no key has, so the parser refuses the line.
    lines = content.decode(errors="surrogateescape").splitlines()
    wanted = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    added: list[KeyEntry] = call(installation, "keys.add", body=KeysNew(user, wanted))
    for record in added:
        click.echo(f"{record.fingerprint} {record.comment}".rstrip())


@key.command(
    "list", epilog=show.make_epilog("stagedoor key list", "stagedoor key list alice --json")
)
@click.argument("user", required=False, shell_complete=user_names)
@show.json_option
@click.pass_obj
def list_(installation: Installation, user: str | None, json_: bool) -> None:
    """List the keys of USER, or of all users."""
    none = show.explain_empty("keys", user, f"add one: stagedoor key add {user or 'USER'} FILE")
    print_list(installation, "keys.list", structs.asdict, none, {"user": user}, as_json=json_)


@key.command("remove", epilog=show.make_epilog("stagedoor key remove SHA256:9fT…"))
@click.argument("fingerprint", shell_complete=fingerprints)
@click.pass_obj
def remove(installation: Installation, fingerprint: str) -> None:
    """Remove the key with this FINGERPRINT (from `key list`)."""
    key: KeyEntry = call(installation, "keys.remove", body=KeyRemoval(fingerprint))
    show.note(f"Removed the key {fingerprint} of {key.user}.")
