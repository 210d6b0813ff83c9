"""`stagedoor serve`: run the gateway in the foreground."""

import os
import resource
import sys
import time
from pathlib import Path

import click
import structlog

from stagedoor.admin.certificates.authorities import check_keys
from stagedoor.cli import show
from stagedoor.cli.installation import Installation
from stagedoor.model.errors import StagedoorError
from stagedoor.serve import log
from stagedoor.serve.prepare import check, prepare, warn_of_certificate
from stagedoor.serve.process import run_process
from stagedoor.serve.supervisor.predecessor import Predecessor, detach
from stagedoor.serve.supervisor.supervisor import Supervisor


@click.command(
    epilog="\b\nExamples:\n  stagedoor serve\n  stagedoor --config ./stagedoor.toml serve\n"
    "  stagedoor serve --check\n\n"
    "\b\nSignals:\n  TERM, INT  stop listening, let sessions finish for workers.drain_timeout_s,\n"
    "             then close them; a second signal closes them at once\n"
    "  HUP        read settings, keys and certificates again; bad ones change nothing\n"
    "  USR2       hand over to the program that is installed now; see stagedoor upgrade\n\n"
    "\b\nExit codes:\n  0  stopped by a signal; with --check: the settings are valid\n  1  could not start\n"
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
        click.echo(f"{checked.name} is valid, and so are the files that it names.")
        if warning is not None:
            show.note(f"Attention: {warning}.")
        return
    detach()
    run_process(serve_forever(installation.settings_file))


async def serve_forever(settings_file: Path | None) -> None:
    """Run a gateway until a signal ends it. Call `predecessor.detach` before.

    Raises SettingsError or another StagedoorError if it cannot start.
    """
    # A tunnel takes two descriptors, and the customary soft limit is 1024 (systemd.exec(5) on why).
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    predecessor = await Predecessor.connect()
    try:
        if predecessor is not None:
            predecessor.check_store()
            predecessor.report("reading the settings")
        checked = check(settings_file)
        log.configure(checked.settings.log)
        # The same words that started this process, and by then perhaps another program.
        command = (sys.executable, *sys.orig_argv[1:])
        supervisor = Supervisor(checked, lambda: check(settings_file), command, predecessor)
        if not await supervisor.start(lambda: prepare(checked.settings)):
            return
    except StagedoorError as error:
        if predecessor is not None:
            predecessor.refuse(str(error))
        raise
    structlog.get_logger().info("serving", pid=os.getpid(), data_dir=str(checked.settings.data_dir))
    await supervisor.wait()
