"""`stagedoor status`: show the state of the installation on one screen."""

import sys
from dataclasses import asdict

import click

from stagedoor import __version__
from stagedoor.cli import show
from stagedoor.cli.installation import Installation
from stagedoor.model.session import AccessMethod
from stagedoor.serve.metrics import definitions as of
from stagedoor.serve.status import Status, list_problems, read_status
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
    """Show the state of the installation.

    It reads the store and the state of this machine; with health.address also the gateway's metrics, and with
    kubernetes.namespaces the controllers' lease. It changes nothing.
    """
    current = read_status(installation.settings)
    findings = list_problems(current)
    code = exit_code(findings)
    if as_json:
        show.as_json(
            {
                "version": __version__,
                "state": _WORD[code],
                **asdict(current),
                "at": show.iso(current.at),
                "certificates": {name: show.iso(at) for name, at in current.certificates.items()},
                "problems": [asdict(finding) for finding in findings],
            }
        )
    else:
        _screen(current, findings, code)
    if code:
        sys.exit(code)


def _screen(current: Status, findings: list[Finding], code: int) -> None:
    click.echo(f"stagedoor {__version__}: {_WORD[code]}")
    for name, text in _lines(current):
        click.echo(f"  {name:<13}{text}")
    for finding in findings:
        click.echo(f"{finding.level}: {finding.what}\n      {finding.fix}")


def _lines(current: Status) -> list[tuple[str, str]]:
    gateways = show.count(len(current.gateways) - len(current.retired), "gateway")
    lines = [("here", f"{gateways}, {show.count(len(current.workers), 'worker')}")]
    for old in current.retired:
        left = show.count(old.sessions, "session")
        lines.append(("older", f"{old.version}, process {old.pid}, {left} left"))
    store = current.store
    if store is not None:
        by = ", ".join(f"{way} {store.sessions.get(way, 0)}" for way in AccessMethod)
        elsewhere = len(set(store.workers) - set(current.workers))
        if elsewhere:
            lines.append(("elsewhere", show.count(elsewhere, "worker")))
        lines.append(("sessions", f"{sum(store.sessions.values())} ({by})"))
        lines.append(("sign-ins", str(store.sign_ins)))
        lines += [("provider", f"{state.name}: {state}") for state in store.providers]
        age = current.value(of.POLICY_AGE.name)
        read = "" if age is None else f", read {age:.1f} s ago"
        lines.append(("policy", f"version {store.policy_version}{read}"))
        lines.append(("store", f"{current.place}, answers in {store.answer_s * 1000:.1f} ms"))
    backlog = current.value(of.AUDIT_BACKLOG.name)
    if backlog is not None:
        lines.append(("audit", f"{show.count(int(backlog), 'event')} not written yet"))
    kinds = current.shells
    shells = f"{kinds['static']} static, {kinds['local']} local ({kinds['local_running']} running)"
    if kinds.get("selector"):
        shells += ", and those of namespaces with a label: stagedoor app list"
    if kinds["namespaces"]:
        shells += (
            f", {show.count(kinds['namespaces'], 'namespace')} of a cluster: stagedoor app list"
        )
    lines.append(("shells", shells))
    report = current.controller
    if report is not None and not isinstance(report, str) and report.holder:
        served = (
            f"serves {report.served} of {show.count(report.served + report.unserved, 'namespace')}"
        )
        lines.append(("controller", f"{report.holder} leads, {served}"))
    for name, at in current.certificates.items():
        lines.append(("certificate", f"{name} expires {show.ends(at, current.at)}"))
    if current.unmeasured:
        lines.append(("metrics", f"none: {current.unmeasured}"))
    return lines
