"""`stagedoor status`: the installation on one screen."""

import sys
from dataclasses import asdict

import click

from stagedoor import __version__
from stagedoor.cli import show
from stagedoor.cli.installation import Installation
from stagedoor.model.session import AccessMethod
from stagedoor.serve.metrics import definitions as of
from stagedoor.serve.status import Status, problems, read_status
from stagedoor.wire.finding import Finding, exit_code

CODES = (
    "\b\nExit codes:\n  0  all is well\n  1  it works, and something needs attention\n"
    "  2  it does not work, or the settings are wrong"
)
_WORD = {0: "well", 1: "degraded", 2: "down"}


@click.command(
    epilog=show.examples(
        "stagedoor status",
        "stagedoor status --json | jq -r '.problems[].what'",
        "watch -n 2 stagedoor status",
        codes=CODES,
    )
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def status(installation: Installation, as_json: bool) -> None:
    """Show how the installation is now.

    Looks at the store, at this machine, with health.address at the gateway's metrics, and with
    kubernetes.namespaces at the lease of the controllers. Changes nothing.
    """
    seen = read_status(installation.settings)
    found = problems(seen)
    code = exit_code(found)
    if as_json:
        show.as_json(
            {
                "version": __version__,
                "state": _WORD[code],
                **asdict(seen),
                "at": show.iso(seen.at),
                "certificates": {name: show.iso(at) for name, at in seen.certificates.items()},
                "problems": [asdict(finding) for finding in found],
            }
        )
    else:
        _screen(seen, found, code)
    if code:
        sys.exit(code)


def _screen(seen: Status, found: list[Finding], code: int) -> None:
    click.echo(f"stagedoor {__version__}: {_WORD[code]}")
    for name, text in _lines(seen):
        click.echo(f"  {name:<13}{text}")
    for finding in found:
        click.echo(f"{finding.level}: {finding.what}\n      {finding.fix}")


def _lines(seen: Status) -> list[tuple[str, str]]:
    here = f"{show.count(len(seen.gateways), 'gateway')}, {show.count(len(seen.workers), 'worker')}"
    lines = [("here", here)]
    store = seen.store
    if store is not None:
        by = ", ".join(f"{way} {store.sessions.get(way, 0)}" for way in AccessMethod)
        elsewhere = len(set(store.workers) - set(seen.workers))
        if elsewhere:
            lines.append(("elsewhere", show.count(elsewhere, "worker")))
        lines.append(("sessions", f"{sum(store.sessions.values())} ({by})"))
        lines.append(("sign-ins", str(store.sign_ins)))
        lines += [("provider", f"{state.name}: {state}") for state in store.providers]
        age = seen.value(of.POLICY_AGE.name)
        read = "" if age is None else f", read {age:.1f} s ago"
        lines.append(("policy", f"version {store.policy_version}{read}"))
        lines.append(("store", f"{seen.place}, answers in {store.answer_s * 1000:.1f} ms"))
    backlog = seen.value(of.AUDIT_BACKLOG.name)
    if backlog is not None:
        lines.append(("audit", f"{show.count(int(backlog), 'event')} not written yet"))
    kinds = seen.shells
    shells = f"{kinds['static']} static, {kinds['local']} local ({kinds['local_running']} running)"
    if kinds["namespaces"]:
        shells += (
            f", {show.count(kinds['namespaces'], 'namespace')} of a cluster: stagedoor app list"
        )
    lines.append(("shells", shells))
    report = seen.controller
    if report is not None and not isinstance(report, str) and report.holder:
        served = (
            f"serves {report.served} of {show.count(report.served + report.unserved, 'namespace')}"
        )
        lines.append(("controller", f"{report.holder} leads, {served}"))
    for name, at in seen.certificates.items():
        lines.append(("certificate", f"{name} expires {show.ends(at, seen.at)}"))
    if seen.unmeasured:
        lines.append(("metrics", f"none: {seen.unmeasured}"))
    return lines
