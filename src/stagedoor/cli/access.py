"""`stagedoor access`: who may enter which app, and why."""

import click

from stagedoor.cli import show
from stagedoor.cli.administration import call
from stagedoor.cli.complete import complete_apps, user_names
from stagedoor.cli.installation import Installation
from stagedoor.wire.api.types import AccessReport, AdmittedUser, RuleFinding
from stagedoor.wire.target import require_app

MAX_SHOWN = 20
"""The rules of a user that are shown to people; a program gets all."""


@click.group()
def access() -> None:
    """Show who may enter which app, and why."""


@access.command(
    "explain",
    epilog=show.make_epilog(
        "stagedoor access explain alice app09.production",
        "stagedoor access explain alice app09 --json | jq .changes",
    ),
)
@click.argument("name", shell_complete=user_names)
@click.argument("app", shell_complete=complete_apps)
@show.json_option
@click.pass_obj
def explain(installation: Installation, name: str, app: str, json_: bool) -> None:
    """Explain why the user NAME may or may not enter APP.

    It lists the user's grants and requests, why each does not apply, and what would let the user in. The exit
    code is 0 either way.
    """
    query = {"user": name, "app": require_app(app).login_name}
    answer: AccessReport = call(installation, "access.explain", query=query)
    if json_:
        return show.print_json(answer)
    verdict = f"may enter {app}" if answer.lets_in else f"may not enter {app}"
    click.echo(f"{name} {verdict}.")
    if answer.lets_in:
        click.echo(f"Permissions: {' '.join(answer.permissions)}.")
    if answer.step_up:
        click.echo("The user must have proved their presence recently (step_up.targets).")
    for stop in answer.stops:
        click.echo(f"  {stop}")
    shown = answer.rules[:MAX_SHOWN]
    show.print_table([_row(rule) for rule in shown], f"{name} has no grants and no requests.")
    if len(answer.rules) > len(shown):
        show.note(f"{len(answer.rules) - len(shown)} more; to see all, use --json.")
    if answer.changes:
        click.echo(f"Any of these would let {name} in:")
    for change in answer.changes:
        click.echo(f"  {change.how}")
    return None


@access.command(
    "who",
    epilog=show.make_epilog(
        "stagedoor access who app09.production", "stagedoor access who app09 --json"
    ),
)
@click.argument("app", shell_complete=complete_apps)
@show.json_option
@click.pass_obj
def who(installation: Installation, app: str, json_: bool) -> None:
    """List the users who may enter APP now."""
    target = require_app(app)
    entering: list[AdmittedUser] = call(
        installation, "access.who", query={"app": target.login_name}
    )
    if json_:
        return show.print_json(entering)
    rows = [
        {
            "user": entry.user,
            "by": entry.by,
            "permissions": " ".join(entry.permissions),
            "ends": show.format_end(entry.expires_at),
        }
        for entry in entering
    ]
    none = f"No user may enter {app}; grant access: stagedoor grant add user:NAME {target.app}"
    return show.print_table(rows, none)


def _row(rule: RuleFinding) -> dict[str, str]:
    return {
        "rule": rule.rule,
        "about": rule.about,
        "answer": "; ".join(rule.gaps) or "lets in",
    }
