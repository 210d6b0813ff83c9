"""`stagedoor doctor`: what is wrong, where, and what mends it."""

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import click

from stagedoor.cli import show
from stagedoor.cli.installation import Installation
from stagedoor.model.check import Result, run_checks
from stagedoor.model.finding import Level, exit_code
from stagedoor.serve.doctor.bundle import as_json as json_text
from stagedoor.serve.doctor.bundle import result_row, write_bundle
from stagedoor.serve.doctor.gateway import gateway_checks, settings_finding

CODES = (
    "\b\nExit codes:\n  0  all is well\n  1  it works, and something needs attention\n"
    "  2  something does not work, or wrong usage"
)


@click.command(
    epilog=show.examples(
        "stagedoor doctor",
        "runuser -u stagedoor -- stagedoor doctor --json",
        "stagedoor doctor --bundle report.tar",
        codes=CODES,
    )
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--bundle",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a tar for a bug report, without secrets.",
)
@click.pass_obj
def doctor(installation: Installation, as_json: bool, bundle: Path | None) -> None:
    """Find what is wrong with a gateway.

    Looks at the settings, files, keys, store, disk, sockets and shells of this machine as the account
    that runs it, and changes nothing.
    """
    settings, finding = settings_finding(installation.settings_file)
    results: list[Result] = [("settings", finding)]
    if settings is not None:
        results += run_checks(gateway_checks(settings, installation.settings_file))
    if bundle is not None:
        extra = {}
        if settings is not None:
            from stagedoor.serve.status import look

            extra["status.json"] = json_text(asdict(look(settings)))
        write_bundle(bundle, settings, results, extra)
    report(results, as_json=as_json)


def report(results: Iterable[Result], *, as_json: bool) -> None:
    """Print what was found, and exit by the worst of it."""
    listed = list(results)
    if as_json:
        show.as_json([result_row(result) for result in listed])
    else:
        for name, finding in listed:
            click.echo(f"{finding.level.upper():<5} {name}: {finding.what}")
            if finding.level is not Level.OK and finding.fix:
                click.echo(f"      {finding.fix}")
    if code := exit_code(finding for _, finding in listed):
        sys.exit(code)
