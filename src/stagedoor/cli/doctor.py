"""`stagedoor doctor`: find faults, and print how to fix them."""

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stagedoor.cli import show
from stagedoor.cli.installation import Installation
from stagedoor.cli.laptop_command import with_options
from stagedoor.laptop.doctor import judge
from stagedoor.laptop.doctor.judge import translate_finding
from stagedoor.laptop.doctor.path import PathOptions, check_path, print_results
from stagedoor.laptop.options import DOCTOR, select_gateway_options
from stagedoor.wire.check import run_checks
from stagedoor.wire.finding import Result, choose_exit_code, render_row

if TYPE_CHECKING:
    from stagedoor.settings.settings import Settings

CODES = (
    "\b\nExit codes:\n  0  all is well\n  1  it works, but something needs attention\n"
    "  2  something does not work, or wrong usage"
)


@click.command(
    epilog=show.make_epilog(
        "stagedoor doctor",
        "runuser -u stagedoor -- stagedoor doctor --json",
        "stagedoor doctor --bundle report.tar",
        "stagedoor doctor app01.ssh",
        "stagedoor doctor app01.ssh --gateway https://gw.example --idle 300",
        "stagedoor doctor app01.ssh --how jump --gateway gw.example:22",
        "stagedoor doctor app01 --how web --gateway https://shell.example.com",
        codes=CODES,
    )
)
@with_options(DOCTOR)
@click.option(
    "--bundle",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a tar for a bug report, without secrets.",
)
@click.pass_obj
def doctor(
    installation: Installation,
    /,
    json: bool,
    bundle: Path | None,
    how: judge.How | None,
    ssh_config: Path | None,
    idle: float | None,
    host: str | None,
    **reach: str | None,
) -> None:
    """Find what is wrong with a gateway, or with the path to HOST.

    Without HOST, it checks the settings, files, keys, store, disk, sockets and shells of this machine, and
    changes nothing. Run it as the gateway's account. With HOST, on a developer's machine, it checks each hop
    of the path to that shell, from the gateway's name to a login, and reports the first that fails.
    """
    tunnel_options = select_gateway_options(reach)
    if host is None:
        if tunnel_options or how or ssh_config or idle:
            raise click.UsageError("these options need a HOST to reach, such as app01.ssh")
        settings, results = _check_gateway(installation, silent=json)
    else:
        config_file = None if ssh_config is None else str(ssh_config)
        path = PathOptions(host, how, tunnel_options, os.environ, config_file, idle)
        settings = None
        results = print_results(check_path(path), silent=json, translate=translate_finding)
    if bundle is not None:
        # Imported here, since only --bundle needs it.
        from stagedoor.serve.doctor.bundle import write_bundle

        write_bundle(bundle, settings, results, _list_extra_files(settings))
    if json:
        show.print_json([render_row(result) for result in results])
    if code := choose_exit_code(finding for _, finding in results):
        sys.exit(code)


def _check_gateway(
    installation: Installation, *, silent: bool
) -> "tuple[Settings | None, list[Result]]":
    # Imported here, since it needs libraries that a developer's machine may lack.
    from stagedoor.serve.doctor.gateway import diagnose_settings, list_checks

    settings, finding = diagnose_settings(installation.settings_file)
    results = print_results([("settings", finding)], silent=silent)
    if settings is not None:
        checks = list_checks(settings, installation.settings_file)
        results += print_results(run_checks(checks), silent=silent)
    return settings, results


def _list_extra_files(settings: "Settings | None") -> dict[str, str]:
    if settings is None:
        return {}
    from stagedoor.serve.doctor.bundle import format_json
    from stagedoor.serve.status import read_status

    return {"status.json": format_json(asdict(read_status(settings)))}
