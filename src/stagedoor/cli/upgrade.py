"""`stagedoor upgrade`: hand the gateway over to the program that is installed now."""

import signal

import click

from stagedoor import __version__
from stagedoor.cli import show
from stagedoor.cli.installation import Installation
from stagedoor.model.errors import StagedoorError
from stagedoor.serve.upgrade_request import UpgradeResult, find_gateway, request_upgrade
from stagedoor.settings.file import parse_settings, read_settings

CODES = (
    "\b\nExit codes:\n  0  this program serves now\n  1  it does not start, and nothing has changed\n"
    "  2  the settings are wrong, and nothing has changed\n"
    "  3  no gateway runs that can hand over; start it, or restart it"
)


@click.command(
    epilog=show.make_epilog(
        "stagedoor upgrade", "stagedoor upgrade --json | jq .sessions", codes=CODES
    )
)
@click.option(
    "--or-reload",
    is_flag=True,
    help="Reload the settings if the gateway runs this very program already.",
)
@show.json_option
@click.pass_obj
def upgrade(installation: Installation, *, or_reload: bool, json_: bool) -> None:
    """Hand the running gateway over to the installed program.

    Install the program first, newer or older. The gateway starts it beside itself, with the same command line
    and sockets. Once its workers accept, it serves all new logins, and open sessions continue in the old
    program until they end, for seven days at most. If it does not start, nothing has changed.
    """
    text, name = read_settings(installation.settings_file)
    gateway = find_gateway(parse_settings(text, name).data_dir, name)
    if or_reload and gateway.is_this_program:
        gateway.signal(signal.SIGHUP)
        if json_:
            show.print_json({"state": "reloads", "version": __version__, "pid": gateway.note.pid})
        else:
            click.echo("The gateway runs this program already; it reads its settings again.")
        return
    show.note(
        f"The gateway {gateway.note.version} (process {gateway.note.pid}) starts {__version__}."
    )
    try:
        result = request_upgrade(gateway, lambda step: show.note(f"  {step} …"))
    except StagedoorError as error:
        if json_:
            show.print_json({"state": "failed", "reason": str(error)})
        raise
    if json_:
        show.print_json(_make_document(result))
    else:
        _print(result)


def _make_document(result: UpgradeResult) -> dict[str, object]:
    return {
        "state": "upgraded",
        "from": {"version": result.old.version, "pid": result.old.pid},
        "to": {"version": result.new.version, "pid": result.new.pid},
        "sessions": result.sessions,
        "took_s": round(result.took_s, 3),
    }


def _print(result: UpgradeResult) -> None:
    click.echo(
        f"Upgraded to {result.new.version} (process {result.new.pid}) in {result.took_s:.1f} s."
    )
    if result.sessions:
        sessions = show.count(result.sessions, "session")
        click.echo(f"{sessions} in older programs, until they end: stagedoor session list")
