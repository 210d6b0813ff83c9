"""`stagedoor app`: list the apps and the state of their shells, and start, stop and explain shells."""

import asyncio
import sys
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from stagedoor.admin import sessions as admin_sessions
from stagedoor.admin.service import open_service
from stagedoor.cli import show
from stagedoor.cli.ask import confirm
from stagedoor.cli.complete import app_names
from stagedoor.cli.installation import Installation
from stagedoor.model.denial import Denial
from stagedoor.model.errors import NotFoundError, RefusedError, StagedoorError
from stagedoor.model.policy import Policy
from stagedoor.model.shell import ShellState, StartStep
from stagedoor.model.target import Target
from stagedoor.serve.parts.shells import build_shells
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
    """List the apps and the state of their shells."""
    settings = installation.settings
    inside = _users_inside(settings)
    rows = _settings_rows(settings, Counter({at: len(who) for at, who in inside.items()}))
    if settings.kubernetes.is_used:
        rows += _query_cluster(settings, lambda apps: app_rows(apps, inside))
    rows.sort(key=lambda row: str(row["target"]))
    if json_:
        return show.as_json(rows)
    names = ("target", "kind", "state", "sessions", "address", "detail")
    more = "add the server of one to the settings, as [[shells.static]]"
    if settings.kubernetes.is_used:
        more = "why one of the cluster is left out: stagedoor app explain APP"
    none = show.no("apps", None, more)
    return show.table([{name: str(row[name]) for name in names} for row in rows], none)


@app.command("explain", epilog=show.examples("stagedoor app explain app01"))
@click.argument("name", metavar="APP", shell_complete=app_names)
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def explain(installation: Installation, name: str, json_: bool) -> None:
    """Explain how the shell of APP is made.

    It also shows what was left out of the app's own pods, and why.
    """
    target = app_target(name)
    _refuse_own(installation.settings, target, "explained")
    explanation = _query_cluster(installation.settings, lambda apps: apps.explain(target))
    if json_:
        show.as_json(explanation.json())
    else:
        click.echo(explanation.text())
    if explanation.problems:
        sys.exit(1)


@app.command("start", epilog=show.examples("stagedoor app start app01"))
@click.argument("name", metavar="APP", shell_complete=app_names)
@click.pass_obj
def start(installation: Installation, name: str) -> None:
    """Start the shell of APP, and wait for it, as a login does."""
    target = app_target(name)
    _refuse_own(installation.settings, target, "started")

    def progress(step: StartStep) -> None:
        show.note(f"{step.name}: {step.detail}" if step.detail else step.name)

    shell = _query_cluster(installation.settings, lambda apps: apps.start(target, progress))
    show.note(f"{target} answers at {shell.address}.")


@app.command(
    "stop", epilog=show.examples("stagedoor app stop app01", "stagedoor app stop app01 --yes")
)
@click.argument("name", metavar="APP", shell_complete=app_names)
@click.option("--yes", is_flag=True, help="Do not ask, even if sessions are open.")
@click.option(
    "--reason",
    default="the shell was stopped by an administrator",
    show_default=True,
    help="The reason, for the users of the sessions and the audit. One line.",
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
            session.id
            for session in admin_sessions.list_sessions(service, limit=100_000)
            if session.target == str(target)
        ]
        if inside:
            confirm(f"Close {show.count(len(inside), 'session')} in {target}?", yes=yes)
            admin_sessions.request_close(service, inside, reason)
            still = admin_sessions.wait_closed(service, inside, _CLOSE_S)
            if still:
                raise StagedoorError(
                    f"{show.count(len(still), 'session')} still open after {_CLOSE_S:g} s "
                    f"({' '.join(still[:3])}); see the gateway's log"
                )
    if _query_cluster(settings, lambda apps: apps.stop(target)):
        show.note(f"Stopped the shell of {target}.")
    else:
        show.note(f"{target} has no shell that runs.")


@app.command(
    "logs", epilog=show.examples("stagedoor app logs app01", "stagedoor app logs app01 -n 200")
)
@click.argument("name", metavar="APP", shell_complete=app_names)
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="How many lines.",
)
@click.pass_obj
def logs(installation: Installation, name: str, lines: int) -> None:
    """Print the last lines of the sshd in the shell of APP."""
    target = app_target(name)
    _refuse_own(installation.settings, target, "asked for its log")
    click.echo(
        _query_cluster(installation.settings, lambda apps: apps.logs(target, lines)), nl=False
    )


def app_target(name: str) -> Target:
    """Parse `app01` or `app01.staging`, with or without `.ssh`. Raises RefusedError."""
    given = name if name.endswith(".ssh") else f"{name}.ssh"
    target = parse_target(given)
    if isinstance(target, Denial):
        raise RefusedError(f"{name!r} is no app's name: {target.message}")
    return target


def _refuse_own(settings: Settings, target: Target, what: str) -> None:
    """Refuse a target that is not on a cluster. Raises RefusedError, NotFoundError."""
    if any(row["target"] == str(target) for row in _settings_rows(settings, Counter())):
        raise RefusedError(
            f"{target} is an entry of the settings and cannot be {what} here: a static shell is another "
            "server's, and a local one starts with a login and stops when it is no longer in use"
        )
    if not settings.kubernetes.is_used:
        raise NotFoundError(f"there is no app {target}; see: stagedoor app list")


def _users_inside(settings: Settings) -> dict[str, list[str]]:
    """Return the users of the open sessions, by target."""
    users = defaultdict[str, list[str]](list)
    with open_service(settings) as service:
        for session in admin_sessions.list_sessions(service, limit=100_000):
            users[session.target].append(session.identity)
    return dict(users)


def _settings_rows(settings: Settings, sessions: Counter[str]) -> list[dict[str, object]]:
    """Return a row for each static and local shell."""
    rows = []
    for entry in settings.shells.static:
        target = Target(entry.app, entry.environment)
        address = f"{entry.host}:{entry.port}"
        rows.append(_row(target, "static", "", address, "", sessions[str(target)]))
    if settings.shells.local:
        local = build_shells(settings, Policy).local
        for target in local.targets():
            state = asyncio.run(local.observe(target)).value
            rows.append(_row(target, "local", state, "", "", sessions[str(target)]))
    return rows


async def app_rows(apps: "Apps", inside: Mapping[str, Sequence[str]]) -> list[dict[str, object]]:
    """Return a row for each app of the cluster, and for each namespace that cannot be listed."""
    rows = [
        _row(
            entry.target, entry.kind, entry.state.value, entry.address, entry.detail, entry.sessions
        )
        for entry in await apps.list(inside)
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


def _query_cluster(settings: Settings, question: "Callable[[Apps], Awaitable[Result]]") -> Result:
    """Return what `question` returns for the cluster's apps. Raises StagedoorError."""
    check_kubernetes(settings)
    # Imported here, since its libraries are an extra.
    from stagedoor.admin.apps import open_apps

    async def query() -> Result:
        async with open_apps(settings) as apps:
            return await question(apps)

    return asyncio.run(query())
