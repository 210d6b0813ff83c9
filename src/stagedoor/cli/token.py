"""`stagedoor token`: manage tokens, which replace a password and have a scope and an expiry."""

import click

from stagedoor.admin import service as admin
from stagedoor.admin.service import open_service
from stagedoor.cli import show
from stagedoor.cli.complete import token_ids, user_names
from stagedoor.cli.installation import Installation
from stagedoor.cli.when import FORMS, end


@click.group()
def token() -> None:
    """Create, list and revoke tokens."""


@token.command(
    "create",
    epilog=show.examples(
        "stagedoor token create alice",
        "stagedoor token create alice --expires 8h --scope 'connect:app*.staging'",
        "(umask 077; stagedoor token create ci --expires 90d > token)",
    ),
)
@click.argument("user", shell_complete=user_names)
@click.option(
    "--expires",
    metavar="WHEN",
    callback=end,
    default="30d",
    show_default=True,
    help=f"When: {FORMS}, or never.",
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    help="Limit it: connect, connect:APP, connect:APP.ENVIRONMENT, patterns allowed. "
    "May be given more than once. Default: all that the user's grants allow.",
)
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def create(
    installation: Installation,
    user: str,
    expires: float | None,
    scopes: tuple[str, ...],
    json_: bool,
) -> None:
    """Create a token for USER and print it. It is shown only once; only its hash is stored."""
    with open_service(installation.settings, create=False) as service:
        new_token = admin.create_token(service, user, scopes=scopes or None, expires_at=expires)
    if json_:
        return show.as_json(
            {
                "id": new_token.id,
                "user": user,
                "token": new_token.text,
                "scopes": list(scopes) or None,
                "expires_at": show.iso(expires),
            }
        )
    click.echo(new_token.text)
    return show.note(
        f"Token {new_token.id} of {user} ends {show.local(expires, 'never')}. It is not shown again."
    )


@token.command(
    "list", epilog=show.examples("stagedoor token list", "stagedoor token list alice --json")
)
@click.argument("user", required=False, shell_complete=user_names)
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_(installation: Installation, user: str | None, json_: bool) -> None:
    """List the tokens of USER, or of all users, without secrets."""
    with open_service(installation.settings, create=False) as service:
        if user is not None:
            admin.require_user(service, user)
        policy = admin.policy(service)
        now = service.clock()
    records = [record for record in policy.tokens.values() if user in (None, record.user)]
    if json_:
        return show.as_json(
            [
                {
                    "id": record.id,
                    "user": record.user,
                    "scopes": None if record.scopes is None else list(record.scopes),
                    "expires_at": show.iso(record.expires_at),
                    "expired": record.expires_at is not None and record.expires_at <= now,
                }
                for record in records
            ]
        )
    return show.table(
        [
            {
                "id": record.id,
                "user": record.user,
                "scopes": "all" if record.scopes is None else " ".join(record.scopes),
                "ends": show.ends(record.expires_at, now),
            }
            for record in records
        ],
        show.no("tokens", user, f"make one: stagedoor token create {user or 'USER'}"),
    )


@token.command("revoke", epilog=show.examples("stagedoor token revoke k3v9x2m7qa"))
@click.argument("token_id", metavar="ID", shell_complete=token_ids)
@click.pass_obj
def revoke(installation: Installation, token_id: str) -> None:
    """Remove the token with this ID (from `token list`). Its live sessions are closed."""
    with open_service(installation.settings, create=False) as service:
        user = admin.revoke_token(service, token_id)
    show.note(f"Revoked the token of {user}.")
