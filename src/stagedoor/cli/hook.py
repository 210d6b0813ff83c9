"""`stagedoor hook`: the messages about access requests."""

import time

import click

from stagedoor.admin.hooks.delivery import HookSink, load_hook_key
from stagedoor.admin.hooks.messages import Message
from stagedoor.admin.service import open_service
from stagedoor.cli import show
from stagedoor.cli.installation import Installation
from stagedoor.keys.webhook import show_webhook_key
from stagedoor.model.errors import NotFoundError, StagedoorError
from stagedoor.signin.links import find_site_or_none
from stagedoor.store.deliveries import read_position
from stagedoor.store.journal import read_last_seq


@click.group()
def hook() -> None:
    """Show and test the hooks, which send messages about requests."""


@hook.command("list", epilog=show.examples("stagedoor hook list", "stagedoor hook list --json"))
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_(installation: Installation, json_: bool) -> None:
    """List the hooks, and the backlog of each.

    The last line is the key that verifies messages to programs.
    """
    settings = installation.settings
    with (
        open_service(settings, create=False) as service,
        service.database.read() as transaction,
    ):
        last = read_last_seq(transaction)
        seqs = [read_position(transaction, f"hook {entry.name}") for entry in settings.hooks]
    rows = [
        {
            "name": entry.name,
            "kind": entry.kind,
            "url": entry.shown_url,
            "backlog": 0 if seq is None else last - seq,
        }
        for entry, seq in zip(settings.hooks, seqs, strict=True)
    ]
    key = show_webhook_key(load_hook_key(settings)) if rows else None
    if json_:
        return show.as_json([{**row, "key": key} for row in rows])
    none = show.no("hooks", None, "add one to the settings, as [[hooks]]")
    show.table([{name: str(value) for name, value in row.items()} for row in rows], none)
    if key is not None:
        show.note(f"Messages to programs (json) are signed by {key}")
    return None


@hook.command("test", epilog=show.examples("stagedoor hook test", "stagedoor hook test chat"))
@click.argument("names", nargs=-1, metavar="[NAME…]")
@click.pass_obj
def test(installation: Installation, names: tuple[str, ...]) -> None:
    """Send a message to each hook that says that it is a test."""
    settings = installation.settings
    hooks = {entry.name: entry for entry in settings.hooks}
    if not hooks:
        raise NotFoundError("the settings name no hook; add one as [[hooks]]")
    for name in names:
        if name not in hooks:
            raise NotFoundError(f"the settings name no hook {name}; there are: {', '.join(hooks)}")
    site, now = find_site_or_none(settings), time.time()
    failed = 0
    for name in names or hooks:
        message = Message("hook.test", now, "This is a test. Nothing has happened.", site)
        try:
            HookSink(hooks[name], settings, site).send_message(message, f"test-{int(now)}")
        except StagedoorError as error:
            failed += 1
            click.echo(f"{name}: {error}", err=True)
        else:
            click.echo(f"{name}: works")
    if failed:
        raise StagedoorError(f"{show.count(failed, 'hook')} failed")
