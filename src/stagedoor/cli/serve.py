"""`stagedoor serve`: run the gateway in the foreground."""

import time

import click

from stagedoor.admin.certificates.authorities import check_keys
from stagedoor.cli import show
from stagedoor.cli.installation import Installation
from stagedoor.serve.prepare import check, warn_of_certificate
from stagedoor.serve.process import run_process
from stagedoor.serve.supervisor.predecessor import detach
from stagedoor.serve.supervisor.run import serve_forever


@click.command(
    epilog="\b\nExamples:\n  stagedoor serve\n  stagedoor --config ./stagedoor.toml serve\n"
    "  stagedoor serve --check\n\n"
    "\b\nSignals:\n  TERM, INT  stop listening, let sessions finish for workers.drain_timeout_s,\n"
    "             then close them; a second signal closes them at once\n"
    "  HUP        read settings, keys and certificates again; bad ones change nothing\n"
    "  USR2       hand over to the program that is installed now; see stagedoor upgrade\n\n"
    "\b\nExit codes:\n  0  stopped by a signal; with --check: the settings are right\n  1  could not start\n"
    "  2  the settings are wrong"
)
@click.option(
    "--check", "only_check", is_flag=True, help="Check the settings and their files; do not start."
)
@click.pass_obj
def serve(installation: Installation, *, only_check: bool) -> None:
    """Run the gateway until a signal stops it."""
    if only_check:
        checked = check(installation.settings_file)
        check_keys(checked.settings)
        warning = warn_of_certificate(checked.settings, time.time())
        click.echo(f"{checked.name} is right, with the files that it names.")
        if warning is not None:
            show.note(f"Attention: {warning}.")
        return
    detach()
    run_process(serve_forever(installation.settings_file))
