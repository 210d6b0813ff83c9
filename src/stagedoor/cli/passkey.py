"""`stagedoor passkey`: list and remove users' passkeys."""

import click

from stagedoor.admin import service as admin
from stagedoor.admin.service import open_service
from stagedoor.cli import show
from stagedoor.cli.complete import passkey_ids, user_names
from stagedoor.cli.installation import Installation
from stagedoor.signin.passkeys import list_passkeys, remove_passkey


@click.group()
def passkey() -> None:
    """List and remove users' passkeys."""


@passkey.command(
    "list", epilog=show.examples("stagedoor passkey list", "stagedoor passkey list alice --json")
)
@click.argument("user", required=False, shell_complete=user_names)
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_(installation: Installation, user: str | None, json_: bool) -> None:
    """List the passkeys of USER, or of all users.

    People add them on their account page. FOR is the name of the site where each was created.
    """
    with open_service(installation.settings, create=False) as service:
        if user is not None:
            admin.require_user(service, user)
        records = list_passkeys(service.database, user)
    if json_:
        return show.as_json(
            [
                {
                    "id": record.id,
                    "user": record.user,
                    "name": record.name,
                    "for": record.rp_id,
                    "created_at": show.iso(record.created_at),
                    "used_at": show.iso(record.used_at),
                }
                for record in records
            ]
        )
    return show.table(
        [
            {
                "id": record.id,
                "user": record.user,
                "name": record.name,
                "for": record.rp_id,
                "made": show.local(record.created_at),
                "used": "never" if record.used_at is None else show.local(record.used_at),
            }
            for record in records
        ],
        show.no("passkeys", user, "people add theirs in the browser, on their account's page"),
    )


@passkey.command("remove", epilog=show.examples("stagedoor passkey remove 5f3a91c0e2b74d18"))
@click.argument("id_", metavar="ID", shell_complete=passkey_ids)
@click.pass_obj
def remove(installation: Installation, id_: str) -> None:
    """Remove the passkey with this ID (from `passkey list`).

    The sign-ins that it opened end. Sessions that it only confirmed go on; to end them, see `sign-in end`.
    """
    with open_service(installation.settings, create=False) as service:
        removed = remove_passkey(service, id_)
    show.note(f"Removed the passkey {removed.id} ({removed.name}) of {removed.user}.")
