"""`stagedoor share`: links that show somebody's terminal to others, by an administrator's hand."""

import click

from stagedoor.admin.service import open_service
from stagedoor.admin.sign_in.links import make_share_link
from stagedoor.admin.terminals.shares import end_share, list_shares
from stagedoor.cli import show
from stagedoor.cli.complete import user_names
from stagedoor.cli.installation import Installation
from stagedoor.holder.folder import FolderError, check_name
from stagedoor.model.share import Share
from stagedoor.wire.duration import parse_duration


@click.group()
def share() -> None:
    """Show a terminal to others by a link that expires."""


@share.command(
    "create",
    epilog=show.examples(
        "stagedoor share create alice app01 --url https://shell.example.com",
        "stagedoor share create alice app01.staging --name build --for 30m --typing",
    ),
)
@click.argument("user", shell_complete=user_names)
@click.argument("app")
@click.option("--name", default="main", show_default=True, help="Which terminal.")
@click.option("--for", "lasts", default="1h", show_default=True, help="How long: 15m, 8h, 1d12h.")
@click.option("--typing", is_flag=True, help="Those who may enter APP themselves may type.")
@click.option("--url", help="Where browsers reach the WebShell, as for `web-link`.")
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def create(
    installation: Installation,
    user: str,
    app: str,
    name: str,
    lasts: str,
    typing: bool,
    url: str | None,
    json_: bool,
) -> None:
    """Print a link to a terminal of USER's in APP.

    Anybody who has it and signs in can open it.

    It shows that terminal and nothing else, and lasts no longer than the right of USER to enter APP.
    USER sees who watches. Its secret is behind the `#`, which browsers send to no server.
    """
    seconds = parse_duration(lasts)
    if not seconds:
        raise click.UsageError(f"--for {lasts!r} is no time; write 15m, 8h or 1d12h")
    try:
        check_name(name)
    except FolderError as error:
        raise click.UsageError(str(error)) from None
    with open_service(installation.settings, create=False) as service:
        made, link = make_share_link(
            installation.settings, service, user, app, name, seconds, typing=typing, url=url
        )
    if json_:
        return show.as_json({**_document(made), "url": link})
    click.echo(link)
    return show.note(f"Share {made.id}, until {show.local(made.expires_at)}.")


@share.command("list", epilog=show.examples("stagedoor share list", "stagedoor share list --json"))
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_(installation: Installation, json_: bool) -> None:
    """List the shares that last, the first to end first."""
    with open_service(installation.settings, create=False) as service:
        found = list_shares(service)
    if json_:
        return show.as_json([_document(one) for one in found])
    return show.table(
        [
            {
                "id": one.id,
                "user": one.host,
                "target": str(one.target),
                "terminal": one.terminal,
                "typing": "yes" if one.typing else "no",
                "ends": show.local(one.expires_at),
            }
            for one in found
        ],
        show.no("shares", None, "make one: stagedoor share create USER APP"),
    )


@share.command("end", epilog=show.examples("stagedoor share end 3f9c1a0b77de"))
@click.argument("share_id", metavar="ID")
@click.pass_obj
def end(installation: Installation, share_id: str) -> None:
    """End the share ID (from `share list`). Its guests leave within seconds."""
    with open_service(installation.settings, create=False) as service:
        gone = end_share(service, share_id)
    show.note(f"Ended share {gone.id} of {gone.host}: {gone.terminal} of {gone.target}.")


def _document(one: Share) -> dict[str, object]:
    return {
        "id": one.id,
        "user": one.host,
        "target": str(one.target),
        "terminal": one.terminal,
        "typing": one.typing,
        "expires_at": show.iso(one.expires_at),
    }
