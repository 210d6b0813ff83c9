"""`stagedoor app`: which apps there are, how their shells are, and what can be done with them."""

import asyncio
import sys
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from stagedoor.admin import sessions as oversight
from stagedoor.admin.service import open_service
from stagedoor.cli import show
from stagedoor.cli.ask import sure
from stagedoor.cli.complete import app_names
from stagedoor.cli.installation import Installation
from stagedoor.model.denial import Denial
from stagedoor.model.errors import NotFoundError, RefusedError, StagedoorError
from stagedoor.model.policy import Policy
from stagedoor.model.shell import ShellState, StartStep
from stagedoor.model.target import Target
from stagedoor.serve.parts.shells import shells_of
from stagedoor.serve.prepare import check_kubernetes
from stagedoor.settings.settings import Settings
from stagedoor.wire.target import parse_target

if TYPE_CHECKING:
    from stagedoor.admin.apps import Apps

Result = TypeVar("Result")

_CLOSE_S = 10.0


@click.group()
def app() -> None:
    """Show apps and their shells; start and stop shells."""


@app.command(
    "list",
    epilog=show.examples("stagedoor app list", "stagedoor app list --json | jq -r '.[].target'"),
)
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_(installation: Installation, json_: bool) -> None:
    """List the apps, and how their shells are now."""
    settings = installation.settings
    inside = _inside(settings)
    rows = _of_the_settings(settings, Counter({at: len(who) for at, who in inside.items()}))
    if settings.kubernetes.namespaces:
        rows += _ask(settings, lambda apps: listed(apps, inside))
    rows.sort(key=lambda row: str(row["target"]))
    if json_:
        return show.as_json(rows)
    names = ("target", "kind", "state", "sessions", "address", "detail")
    more = "add the server of one to the settings, as [[shells.static]]"
    if settings.kubernetes.namespaces:
        more = "why one of the cluster is left out: stagedoor app explain APP"
    none = show.no("apps", None, more)
    return show.table([{name: str(row[name]) for name in names} for row in rows], none)


@app.command("explain", epilog=show.examples("stagedoor app explain app01"))
@click.argument("name", metavar="APP", shell_complete=app_names)
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def explain(installation: Installation, name: str, json_: bool) -> None:
    """Explain what the shell of APP is made of.

    And what was left out of it, and why.
    """
    target = app_target(name)
    _refuse_own(installation.settings, target, "explained")
    found = _ask(installation.settings, lambda apps: apps.explain(target))
    if json_:
        show.as_json(found.json())
    else:
        click.echo(found.text())
    if found.problems:
        sys.exit(1)


@app.command("start", epilog=show.examples("stagedoor app start app01"))
@click.argument("name", metavar="APP", shell_complete=app_names)
@click.pass_obj
def start(installation: Installation, name: str) -> None:
    """Start the shell of APP, and wait for it.

    As a login would.
    """
    target = app_target(name)
    _refuse_own(installation.settings, target, "started")

    def progress(step: StartStep) -> None:
        show.note(f"{step.name}: {step.detail}" if step.detail else step.name)

    found = _ask(installation.settings, lambda apps: apps.start(target, progress))
    show.note(f"{target} answers at {found.address}.")


@app.command(
    "stop", epilog=show.examples("stagedoor app stop app01", "stagedoor app stop app01 --yes")
)
@click.argument("name", metavar="APP", shell_complete=app_names)
@click.option("--yes", is_flag=True, help="Do not ask, though sessions are open.")
@click.option(
    "--reason",
    default="the shell was stopped by an administrator",
    show_default=True,
    help="The reason, for those inside and the audit. One line.",
)
@click.pass_obj
def stop(installation: Installation, name: str, yes: bool, reason: str) -> None:
    """Close the sessions in the shell of APP, and stop it. The next login starts it again."""
    target = app_target(name)
    settings = installation.settings
    _refuse_own(settings, target, "stopped")
    if not reason.isprintable() or len(reason) > 200:
        raise click.UsageError("--reason is one line of 200 characters at most")
    with open_service(settings, create=False) as service:
        inside = [
            one.id
            for one in oversight.list_sessions(service, limit=100_000)
            if one.target == str(target)
        ]
        if inside:
            sure(f"Close {show.count(len(inside), 'session')} in {target}?", yes=yes)
            oversight.request_close(service, inside, reason)
            still = oversight.wait_closed(service, inside, _CLOSE_S)
            if still:
                raise StagedoorError(
                    f"{show.count(len(still), 'session')} still open after {_CLOSE_S:g} s "
                    f"({' '.join(still[:3])}); see the gateway's log"
                )
    if _ask(settings, lambda apps: apps.stop(target)):
        show.note(f"Stopped the shell of {target}.")
    else:
        show.note(f"{target} has no shell that runs.")


@app.command(
    "logs", epilog=show.examples("stagedoor app logs app01", "stagedoor app logs app01 -n 200")
)
@click.argument("name", metavar="APP", shell_complete=app_names)
@click.option(
    "-n", "--lines", type=click.IntRange(1, 10_000), default=50, show_default=True, help="So many."
)
@click.pass_obj
def logs(installation: Installation, name: str, lines: int) -> None:
    """Print the last lines of the sshd in the shell of APP."""
    target = app_target(name)
    _refuse_own(installation.settings, target, "asked for its log")
    click.echo(_ask(installation.settings, lambda apps: apps.logs(target, lines)), nl=False)


def app_target(name: str) -> Target:
    """`app01`, `app01.staging`, or either as ssh has it."""
    given = name if name.endswith(".ssh") else f"{name}.ssh"
    found = parse_target(given)
    if isinstance(found, Denial):
        raise RefusedError(f"{name!r} is no app's name: {found.message}")
    return found


def _refuse_own(settings: Settings, target: Target, what: str) -> None:
    """Only shells on a cluster can be dealt with."""
    if any(row["target"] == str(target) for row in _of_the_settings(settings, Counter())):
        raise RefusedError(
            f"{target} is an entry of the settings and cannot be {what} here: a static shell is another "
            "server's, and a local one starts with a login and stops by itself "
            "(shells.idle_stop_s)"
        )
    if not settings.kubernetes.namespaces:
        raise NotFoundError(f"there is no app {target}; see: stagedoor app list")


def _inside(settings: Settings) -> dict[str, list[str]]:
    """The user of each open session, by target."""
    found = defaultdict[str, list[str]](list)
    with open_service(settings) as service:
        for one in oversight.list_sessions(service, limit=100_000):
            found[one.target].append(one.identity)
    return dict(found)


def _of_the_settings(settings: Settings, sessions: Counter[str]) -> list[dict[str, object]]:
    """The static and local shells."""
    rows = []
    for entry in settings.shells.static:
        target = Target(entry.app, entry.environment)
        address = f"{entry.host}:{entry.port}"
        rows.append(_row(target, "static", "", address, "", sessions[str(target)]))
    if settings.shells.local:
        local = shells_of(settings, Policy).local
        for target in local.targets():
            state = asyncio.run(local.observe(target)).value
            rows.append(_row(target, "local", state, "", "", sessions[str(target)]))
    return rows


async def listed(apps: "Apps", inside: Mapping[str, Sequence[str]]) -> list[dict[str, object]]:
    """Return a row for each app of the cluster, and for each namespace that it does not show."""
    rows = [
        _row(one.target, one.kind, one.state.value, one.address, one.detail, one.sessions)
        for one in await apps.list(inside)
    ]
    for namespace, (environment, why) in apps.unserved().items():
        detail = f"the namespace {namespace} is not served: {why}"
        anything = Target("*", environment)
        rows.append(
            _row(anything, "namespace", ShellState.FAILED.value, "", detail, 0) | {"app": None}
        )
    return rows


def _row(
    target: Target, kind: str, state: str, address: str, detail: str, sessions: int
) -> dict[str, object]:
    return {
        "target": str(target),
        "app": target.app,
        "environment": target.environment,
        "kind": kind,
        "state": state,
        "detail": detail,
        "address": address,
        "sessions": sessions,
    }


def _ask(settings: Settings, question: "Callable[[Apps], Awaitable[Result]]") -> Result:
    """Ask the cluster. Raises StagedoorError."""
    check_kubernetes(settings)
    # Only now: its libraries are an extra.
    from stagedoor.admin.apps import open_apps

    async def asked() -> Result:
        async with open_apps(settings) as apps:
            return await question(apps)

    return asyncio.run(asked())
