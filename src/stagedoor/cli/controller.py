"""`stagedoor controller`: make and remove shells on Kubernetes."""

from pathlib import Path

import click

from stagedoor.cli import show
from stagedoor.cli.installation import Installation
from stagedoor.model.errors import SettingsError
from stagedoor.serve.prepare import check_kubernetes
from stagedoor.serve.process import run_process


@click.command(
    epilog="\b\nExamples:\n  stagedoor controller\n"
    "  stagedoor --config ./stagedoor.toml controller\n"
    "  stagedoor controller --stop-shells\n"
    "  stagedoor controller --bind /etc/stagedoor/objects/namespace.json\n\n"
    "Several may run at once: one works, and the others stand by to take over within 15 s. Small\n"
    "installations let `stagedoor serve` run it (kubernetes.controller = true).\n\n"
    "\b\nSignals:\n  TERM, INT  let another controller take over, and exit\n\n"
    "\b\nExit codes:\n  0  stopped by a signal; the shells are gone\n  1  could not start\n"
    "  2  the settings are wrong"
)
@click.option(
    "--stop-shells",
    is_flag=True,
    help="Stop all shells, wait until they are gone, and exit. Sessions keep their grace period, and running "
    "controllers pause. Run it before an uninstall, which also removes the fences around the shells.",
)
@click.option(
    "--bind",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Instead, create the objects of FILE, which the chart writes, in each namespace that "
    "kubernetes.namespace_selector selects. This needs an account of its own, and no store.",
)
@click.pass_obj
def controller(installation: Installation, stop_shells: bool, bind: Path | None) -> None:
    """Run the controller of shells on Kubernetes.

    It runs until a signal stops it.
    """
    installation.keep_local()
    settings = installation.settings
    if not settings.kubernetes.is_controlled:
        raise SettingsError("there is no namespace to control: name one in [kubernetes] namespaces")
    if stop_shells and bind is not None:
        raise click.UsageError("--bind and --stop-shells cannot be used together")
    check_kubernetes(settings)
    # Imported here, since its libraries are an extra.
    if bind is not None:
        from stagedoor.serve.binder import run_binder

        run_process(run_binder(settings, bind))
        return
    if stop_shells:
        from stagedoor.serve.stop_shells import stop_shells as stop

        run_process(stop(settings, show.note))
        show.note("No shell is left.")
        return
    from stagedoor.serve.controller import run_controller

    run_process(run_controller(settings))
