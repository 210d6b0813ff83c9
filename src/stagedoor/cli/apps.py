"""`stagedoor app`: list the apps and the state of their shells, and start, stop and explain shells."""

import sys
import time

import click

from stagedoor.cli import show
from stagedoor.cli.administration import call, open_administration, print_list
from stagedoor.cli.ask import confirm
from stagedoor.cli.complete import complete_apps
from stagedoor.cli.installation import Installation
from stagedoor.cli.options import make_reason_option
from stagedoor.model.errors import StagedoorError
from stagedoor.model.shell import ShellState
from stagedoor.wire.api.inputs import StopOrder
from stagedoor.wire.api.reports import AppReport, ShellEntry, ShellLog, ShellStop
from stagedoor.wire.oneline import clean_lines
from stagedoor.wire.target import require_app

_START_S = 900.0
"""How long a start is waited for over the API, whose requests wait for some seconds each."""


@click.group()
def app() -> None:
    """Show apps and their shells; start and stop shells."""


@app.command(
    "list",
    epilog=show.make_epilog("stagedoor app list", "stagedoor app list --json | jq -r '.[].target'"),
)
@show.json_option
@click.pass_obj
def list_(installation: Installation, json_: bool) -> None:
    """List the apps and the state of their shells."""
    none = (
        "No apps; add a server to the settings as [[shells.static]], or see why an app of the cluster is "
        "missing: stagedoor app explain APP"
    )
    print_list(installation, "apps.shells", _row, none, as_json=json_, create=True)


def _row(shell: ShellEntry) -> dict[str, object]:
    return {
        "target": shell.target,
        "kind": shell.kind,
        "state": shell.state,
        "sessions": shell.sessions,
        "address": shell.address,
        "detail": shell.detail,
    }


@app.command("explain", epilog=show.make_epilog("stagedoor app explain app01"))
@click.argument("name", metavar="APP", shell_complete=complete_apps)
@show.json_option
@click.pass_obj
def explain(installation: Installation, name: str, json_: bool) -> None:
    """Explain how the shell of APP is made.

    It also shows which parts of the app's own pods the shell does not have, and why.
    """
    explanation: AppReport = call(installation, "apps.explain", {"name": name}, create=True)
    if json_:
        show.print_json(explanation)
    else:
        click.echo(clean_lines(explanation.text))
    if explanation.problems:
        sys.exit(1)


@app.command("start", epilog=show.make_epilog("stagedoor app start app01"))
@click.argument("name", metavar="APP", shell_complete=complete_apps)
@click.pass_obj
def start(installation: Installation, name: str) -> None:
    """Start the shell of APP, and wait for it, as a login does."""
    detail, until = "", time.monotonic() + _START_S
    with open_administration(installation, create=True) as admin:
        while True:
            shell: ShellEntry = admin.call("apps.start", {"name": name})
            if shell.state == ShellState.READY:
                break
            if time.monotonic() > until:
                raise StagedoorError(f"{shell.target} did not start within {_START_S:g} s")
            if shell.detail != detail:
                detail = shell.detail
                show.note(detail)
    show.note(f"The shell of {shell.target} answers at {shell.address}.")


@app.command(
    "stop", epilog=show.make_epilog("stagedoor app stop app01", "stagedoor app stop app01 --yes")
)
@click.argument("name", metavar="APP", shell_complete=complete_apps)
@click.option("--yes", is_flag=True, help="Do not ask, even if sessions are open.")
@make_reason_option("the shell was stopped by an administrator")
@click.pass_obj
def stop(installation: Installation, name: str, yes: bool, reason: str) -> None:
    """Close the sessions in the shell of APP, and stop it. The next login starts it again."""
    target = require_app(name)
    with open_administration(installation, create=True) as admin:
        sessions = [s for s in admin.list_all("sessions.list") if s.target == str(target)]
        if sessions:
            confirm(f"Close {show.count(len(sessions), 'session')} in {target}?", yes=yes)
        order, was_up = StopOrder(reason), False
        while True:
            stopped: ShellStop = admin.call("apps.stop", {"name": name}, body=order)
            was_up |= stopped.was_up
            if not stopped.is_up:
                break
    if was_up:
        show.note(f"Stopped the shell of {target}.")
    else:
        show.note(f"The shell of {target} was not running.")


@app.command(
    "logs", epilog=show.make_epilog("stagedoor app logs app01", "stagedoor app logs app01 -n 200")
)
@click.argument("name", metavar="APP", shell_complete=complete_apps)
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="How many lines to print.",
)
@click.pass_obj
def logs(installation: Installation, name: str, lines: int) -> None:
    """Print the last lines that the sshd of APP has logged."""
    log: ShellLog = call(
        installation, "apps.log", {"name": name}, {"lines": str(lines)}, create=True
    )
    click.echo(clean_lines(log.text), nl=False)
