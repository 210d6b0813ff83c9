"""`stagedoor passkey`: what people prove by, in a browser, that they are there."""

import click

from stagedoor.admin import service as admin
from stagedoor.admin.service import open_service
from stagedoor.admin.sign_in.passkeys import list_passkeys, remove_passkey
from stagedoor.cli import show
from stagedoor.cli.complete import passkey_ids, user_names
from stagedoor.cli.installation import Installation


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
    """List the passkeys, of USER or of all.

    People add them on their account's page. FOR is the name of the site that each was made at.
    """
    with open_service(installation.settings, create=False) as service:
        if user is not None:
            admin.require_user(service, user)
        found = list_passkeys(service, user)
    if json_:
        return show.as_json(
            [
                {
                    "id": one.id,
                    "user": one.user,
                    "name": one.name,
                    "for": one.rp_id,
                    "created_at": show.iso(one.created_at),
                    "used_at": show.iso(one.used_at),
                }
                for one in found
            ]
        )
    return show.table(
        [
            {
                "id": one.id,
                "user": one.user,
                "name": one.name,
                "for": one.rp_id,
                "made": show.local(one.created_at),
                "used": "never" if one.used_at is None else show.local(one.used_at),
            }
            for one in found
        ],
        show.no("passkeys", user, "people add theirs in the browser, on their account's page"),
    )


@passkey.command("remove", epilog=show.examples("stagedoor passkey remove 5f3a91c0e2b74d18"))
@click.argument("id_", metavar="ID", shell_complete=passkey_ids)
@click.pass_obj
def remove(installation: Installation, id_: str) -> None:
    """Remove the passkey with this ID (from `passkey list`).

    The sign-ins that it opened end. What was opened on its proof goes on: see `sign-in end`.
    """
    with open_service(installation.settings, create=False) as service:
        removed = remove_passkey(service, id_)
    show.note(f"Removed the passkey {removed.id} ({removed.name}) of {removed.user}.")
