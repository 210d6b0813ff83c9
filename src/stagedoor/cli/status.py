"""`stagedoor status`: show the state of the installation on one screen."""

import sys
from dataclasses import asdict

import click

from stagedoor import __version__
from stagedoor.cli import show
from stagedoor.cli.installation import Installation
from stagedoor.serve.status import Status, list_lines, list_problems, read_status
from stagedoor.wire.finding import Finding, choose_exit_code

CODES = (
    "\b\nExit codes:\n  0  all is well\n  1  it works, but something needs attention\n"
    "  2  it does not work, or the settings are wrong"
)
_WORD = {0: "well", 1: "degraded", 2: "down"}


@click.command(
    epilog=show.make_epilog(
        "stagedoor status",
        "stagedoor status --json | jq -r '.problems[].what'",
        "watch -n 2 stagedoor status",
        codes=CODES,
    )
)
@show.json_option
@click.pass_obj
def status(installation: Installation, json_: bool) -> None:
    """Show the state of the installation.

    It reads the store and the state of this machine; with health.address also the gateway's metrics, and with
    kubernetes.namespaces the controllers' lease. It changes nothing.
    """
    current = read_status(installation.settings)
    findings = list_problems(current)
    code = choose_exit_code(findings)
    if json_:
        show.print_json(
            {
                "version": __version__,
                "state": _WORD[code],
                **asdict(current),
                "at": show.format_iso(current.at),
                "certificates": {
                    name: show.format_iso(at) for name, at in current.certificates.items()
                },
                "problems": [asdict(finding) for finding in findings],
            }
        )
    else:
        _screen(current, findings, code)
    if code:
        sys.exit(code)


def _screen(current: Status, findings: list[Finding], code: int) -> None:
    click.echo(f"stagedoor {__version__}: {_WORD[code]}")
    for name, text in list_lines(current, lambda at: show.format_end(at, current.at)):
        click.echo(f"  {name:<13}{text}")
    for finding in findings:
        click.echo(f"{finding.level}: {finding.what}\n      {finding.fix}")
