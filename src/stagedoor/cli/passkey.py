"""`stagedoor passkey`: list and remove users' passkeys."""

import click

from stagedoor.cli import show
from stagedoor.cli.administration import call, print_list
from stagedoor.cli.complete import passkey_ids, user_names
from stagedoor.cli.installation import Installation
from stagedoor.wire.api.reports import PasskeyEntry


@click.group()
def passkey() -> None:
    """List and remove users' passkeys."""


@passkey.command(
    "list", epilog=show.make_epilog("stagedoor passkey list", "stagedoor passkey list alice --json")
)
@click.argument("user", required=False, shell_complete=user_names)
@show.json_option
@click.pass_obj
def list_(installation: Installation, user: str | None, json_: bool) -> None:
    """List the passkeys of USER, or of all users.

    Users add them on their account page. FOR is the name of the site for which each was created.
    """
    none = show.explain_empty("passkeys", user, "users add theirs on their account page")
    print_list(installation, "passkeys.list", _row, none, {"user": user}, as_json=json_)


def _row(record: PasskeyEntry) -> dict[str, str]:
    return {
        "id": record.id,
        "user": record.user,
        "name": record.name,
        "for": record.site,
        "created": show.format_local(record.created_at),
        "used": show.format_local(record.used_at, "never"),
    }


@passkey.command("remove", epilog=show.make_epilog("stagedoor passkey remove 5f3a91c0e2b74d18"))
@click.argument("id_", metavar="ID", shell_complete=passkey_ids)
@click.pass_obj
def remove(installation: Installation, id_: str) -> None:
    """Remove the passkey with this ID (from `passkey list`).

    The sign-ins that it opened end. Sign-ins that it only confirmed stay; to end them: `sign-in end`.
    """
    removed: PasskeyEntry = call(installation, "passkeys.remove", {"id": id_})
    show.note(f"Removed the passkey {removed.id} ({removed.name}) of {removed.user}.")
