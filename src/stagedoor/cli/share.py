"""`stagedoor share`: links by which an administrator shows a user's terminal to others."""

import click

from stagedoor.cli import show
from stagedoor.cli.administration import call, print_list
from stagedoor.cli.complete import user_names
from stagedoor.cli.installation import Installation
from stagedoor.cli.when import take_duration
from stagedoor.wire.api.inputs import ShareNew
from stagedoor.wire.api.reports import ShareEntry, ShareMade


@click.group()
def share() -> None:
    """Share a terminal with others by a link that expires."""


@share.command(
    "create",
    epilog=show.make_epilog(
        "stagedoor share create alice app01 --url https://shell.example.com",
        "stagedoor share create alice app01.staging --name build --for 30m --typing",
    ),
)
@click.argument("user", shell_complete=user_names)
@click.argument("app")
@click.option("--name", default="main", show_default=True, help="The terminal's name.")
@click.option("--for", "lasts_s", metavar="TIME", default="1h", show_default=True, callback=take_duration,
              help="How long it lasts: 15m, 8h, 1d12h.")  # fmt: skip
@click.option("--typing", is_flag=True, help="Let guests who may enter APP themselves type.")
@click.option("--url", help="Where browsers reach the WebShell, as for `web-link`.")
@show.json_option
@click.pass_obj
def create(
    installation: Installation,
    user: str,
    app: str,
    name: str,
    lasts_s: float,
    typing: bool,
    url: str | None,
    json_: bool,
) -> None:
    """Print a link to a terminal of USER in APP.

    Any user who has the link and signs in can open it.

    It shows only that terminal, and lasts no longer than USER's right to enter APP. USER sees who watches.
    The secret is behind the `#`, which browsers do not send to servers.
    """
    made: ShareMade = call(
        installation, "shares.add", body=ShareNew(user, app, name, lasts_s, typing, url)
    )
    if json_:
        return show.print_json(made)
    click.echo(made.url)
    return show.note(f"Share {made.id}, until {show.format_local(made.expires_at)}.")


@share.command(
    "list", epilog=show.make_epilog("stagedoor share list", "stagedoor share list --json")
)
@show.json_option
@click.pass_obj
def list_(installation: Installation, json_: bool) -> None:
    """List the open shares, the first to expire first."""
    none = show.explain_empty("shares", None, "make one: stagedoor share create USER APP")
    print_list(installation, "shares.list", _row, none, as_json=json_)


def _row(entry: ShareEntry) -> dict[str, object]:
    return {
        "id": entry.id,
        "user": entry.user,
        "target": entry.target,
        "terminal": entry.terminal,
        "typing": entry.typing,
        "ends": show.format_local(entry.expires_at),
    }


@share.command("end", epilog=show.make_epilog("stagedoor share end 3f9c1a0b77de"))
@click.argument("share_id", metavar="ID")
@click.pass_obj
def end(installation: Installation, share_id: str) -> None:
    """End the share ID (from `share list`). Its guests are disconnected within seconds."""
    ended: ShareEntry = call(installation, "shares.end", {"id": share_id})
    show.note(f"Ended share {ended.id} of {ended.user}: {ended.terminal} of {ended.target}.")
