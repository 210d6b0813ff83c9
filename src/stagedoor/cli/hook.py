"""`stagedoor hook`: the messages about access requests."""

import click

from stagedoor.cli import show
from stagedoor.cli.administration import open_administration
from stagedoor.cli.installation import Installation
from stagedoor.model.errors import StagedoorError
from stagedoor.wire.api.reports import HookEntry, HookResult


@click.group()
def hook() -> None:
    """Show and test the hooks, which send messages about requests."""


@hook.command("list", epilog=show.make_epilog("stagedoor hook list", "stagedoor hook list --json"))
@show.json_option
@click.pass_obj
def list_(installation: Installation, json_: bool) -> None:
    """List the hooks, and the backlog of each.

    The last line has the key that signs messages to programs.
    """
    with open_administration(installation) as admin:
        hooks: list[HookEntry] = list(admin.list_all("hooks.list"))
    if json_:
        return show.print_json(hooks)
    none = show.explain_empty("hooks", None, "add one to the settings, as [[hooks]]")
    rows = [{"name": h.name, "kind": h.kind, "url": h.url, "backlog": h.backlog} for h in hooks]
    show.print_table(rows, none)
    if hooks:
        show.note(f"Messages to programs (json) are signed by {hooks[0].key}")
    return None


@hook.command("test", epilog=show.make_epilog("stagedoor hook test", "stagedoor hook test chat"))
@click.argument("names", nargs=-1, metavar="[NAME…]")
@click.pass_obj
def test(installation: Installation, names: tuple[str, ...]) -> None:
    """Send a test message to all hooks, or to each hook NAME."""
    failed = 0
    with open_administration(installation) as admin:
        for name in names or [hook.name for hook in admin.list_all("hooks.list")]:
            result: HookResult = admin.call("hooks.test", {"name": name})
            failed += not result.works
            click.echo(f"{name}: {result.problem or 'works'}", err=not result.works)
    if failed:
        raise StagedoorError(f"{show.count(failed, 'hook')} failed")
