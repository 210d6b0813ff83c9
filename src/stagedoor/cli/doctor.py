"""`stagedoor doctor`: what is wrong, where, and what mends it."""

import os
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stagedoor.cli import show
from stagedoor.cli.installation import Installation
from stagedoor.client.doctor import judge
from stagedoor.client.doctor.path import path_options, walk_to
from stagedoor.wire.check import run_checks
from stagedoor.wire.finding import Result, exit_code, result_row, result_text

if TYPE_CHECKING:
    from stagedoor.settings.settings import Settings

CODES = (
    "\b\nExit codes:\n  0  all is well\n  1  it works, and something needs attention\n"
    "  2  something does not work, or wrong usage"
)


@click.command(
    epilog=show.examples(
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
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--bundle",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a tar for a bug report, without secrets.",
)
@click.option(
    "--how",
    type=click.Choice(["connect", "jump", "direct", "web"]),
    help="The way to HOST. Default: what your ssh is configured for.",
)
@click.option(
    "--gateway", metavar="ADDRESS", help="HOST:PORT, http://… or https://…, as the way needs."
)
@click.option(
    "--user", metavar="NAME", help="Who you are there ($STAGEDOOR_USER, else your login name)."
)
@click.option("--token-file", metavar="FILE", help="Holds the token or password, mode 0600.")
@click.option("--ca-file", metavar="FILE", help="Trust these CAs for https, not the system's.")
@click.option(
    "--server-name", metavar="NAME", help="The name that the gateway's certificate must hold."
)
@click.option("--via", metavar="URL", help="Corporate proxy on the way, or `direct` for none.")
@click.option(
    "--ssh-config",
    "config_file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Use this configuration of ssh, not yours.",
)
@click.option(
    "--idle",
    "idle_s",
    metavar="SECONDS",
    type=click.FloatRange(1, 86400),
    help="Also measure how long a silence the path survives, up to this; takes twice as long.",
)
@click.argument("host", required=False)
@click.pass_obj
def doctor(
    installation: Installation,
    /,
    as_json: bool,
    bundle: Path | None,
    how: judge.How | None,
    config_file: str | None,
    idle_s: float | None,
    host: str | None,
    **reach: str | None,
) -> None:
    """Find what is wrong with a gateway, or with the way to HOST.

    Without HOST: looks at the settings, files, keys, store, disk, sockets and shells of this machine as
    the account that runs the gateway, and changes nothing. With HOST, on a developer's machine: walks
    the way to that shell, from the gateway's name to a login, and names the first hop that fails.
    """
    given = {f"--{name.replace('_', '-')}": value for name, value in reach.items() if value}
    if host is None:
        if given or how or config_file or idle_s:
            raise click.UsageError("name the HOST that is to be reached, such as app01.ssh")
        settings, results = _gateway(installation, silent=as_json)
    else:
        wish = path_options(host, how, given, os.environ, config_file, idle_s)
        settings, results = None, _shown(walk_to(wish), silent=as_json)
    if bundle is not None:
        # Here, since nobody else needs it.
        from stagedoor.serve.doctor.bundle import write_bundle

        write_bundle(bundle, settings, results, _extra(settings))
    if as_json:
        show.as_json([result_row(result) for result in results])
    if code := exit_code(finding for _, finding in results):
        sys.exit(code)


def _gateway(installation: Installation, *, silent: bool) -> "tuple[Settings | None, list[Result]]":
    # Here, since it loads every protocol, and a developer's machine need not have the gateway's libraries.
    from stagedoor.serve.doctor.gateway import gateway_checks, settings_finding

    settings, finding = settings_finding(installation.settings_file)
    results = _shown([("settings", finding)], silent=silent)
    if settings is not None:
        checks = gateway_checks(settings, installation.settings_file)
        results += _shown(run_checks(checks), silent=silent)
    return settings, results


def _extra(settings: "Settings | None") -> dict[str, str]:
    if settings is None:
        return {}
    from stagedoor.serve.doctor.bundle import as_json
    from stagedoor.serve.status import look

    return {"status.json": as_json(asdict(look(settings)))}


def _shown(results: Iterable[Result], *, silent: bool) -> list[Result]:
    """All of them; each is printed as it is found, unless `silent`."""
    listed = []
    for result in results:
        listed.append(result)
        if not silent:
            click.echo(result_text(result), nl=False)
    return listed
