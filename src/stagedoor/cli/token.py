"""`stagedoor token`: manage tokens, which replace a password and have a scope and an expiry."""

import click

from stagedoor.authn.tokens import parse_token_id
from stagedoor.cli import show
from stagedoor.cli.administration import call, print_list
from stagedoor.cli.complete import token_ids, user_names
from stagedoor.cli.installation import Installation
from stagedoor.cli.options import make_expires_option
from stagedoor.wire.api.inputs import TokenNew
from stagedoor.wire.api.types import TokenEntry, TokenMade


@click.group()
def token() -> None:
    """Create, list and revoke tokens."""


@token.command(
    "create",
    epilog=show.make_epilog(
        "stagedoor token create alice",
        "stagedoor token create alice --expires 8h --scope 'connect:app*.staging'",
        "(umask 077; stagedoor token create ci --expires 90d > token)",
    ),
)
@click.argument("user", shell_complete=user_names)
@make_expires_option("30d")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    help="Limit it: connect, connect:APP, connect:APP.ENVIRONMENT (also patterns), api:read, api:write, "
    "request. "
    "May be given more than once. Default: all that the user's grants allow, and nothing of the API.",
)
@show.json_option
@click.pass_obj
def create(
    installation: Installation,
    user: str,
    expires: float | None,
    scopes: tuple[str, ...],
    json_: bool,
) -> None:
    """Create a token for USER and print it. It is shown only this once; only its hash is stored."""
    wanted = TokenNew(user, list(scopes) or None, show.make_time(expires))
    new_token: TokenMade = call(installation, "tokens.add", body=wanted)
    if json_:
        return show.print_json(new_token)
    click.echo(new_token.token)
    return show.note(
        f"Token {new_token.id} of {user} ends {show.format_end(expires)}. It is not shown again."
    )


@token.command(
    "list", epilog=show.make_epilog("stagedoor token list", "stagedoor token list alice --json")
)
@click.argument("user", required=False, shell_complete=user_names)
@show.json_option
@click.pass_obj
def list_(installation: Installation, user: str | None, json_: bool) -> None:
    """List the tokens of USER, or of all users, without secrets."""
    none = show.explain_empty("tokens", user, f"make one: stagedoor token create {user or 'USER'}")
    print_list(installation, "tokens.list", _row, none, {"user": user}, as_json=json_)


def _row(record: TokenEntry) -> dict[str, str]:
    return {
        "id": record.id,
        "user": record.user,
        "scopes": "all" if record.scopes is None else " ".join(record.scopes),
        "ends": show.format_end(record.expires_at),
    }


@token.command("revoke", epilog=show.make_epilog("stagedoor token revoke k3v9x2m7qa"))
@click.argument("token_id", metavar="ID", shell_complete=token_ids)
@click.pass_obj
def revoke(installation: Installation, token_id: str) -> None:
    """Revoke the token with this ID (from `token list`). Its sessions are closed."""
    name = parse_token_id(token_id) or token_id
    token: TokenEntry = call(installation, "tokens.remove", {"id": name})
    show.note(f"Revoked the token of {token.user}.")
