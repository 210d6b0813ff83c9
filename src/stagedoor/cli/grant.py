"""`stagedoor grant`: manage the users' permissions for apps."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

import click
from click.core import ParameterSource

from stagedoor.admin.service import check_permission_change
from stagedoor.cli import show
from stagedoor.cli.administration import call, open_administration, print_list
from stagedoor.cli.complete import (
    grant_ids,
    list_cluster_targets,
    list_settings_targets,
    subjects,
    user_names,
)
from stagedoor.cli.installation import Installation
from stagedoor.cli.options import environment_option, make_expires_option, make_permissions_option
from stagedoor.cli.when import parse_limit
from stagedoor.model.errors import RefusedError, StagedoorError
from stagedoor.model.permission import (
    DEFAULT,
    Permission,
    Permissions,
    combine_permissions,
    sort_permissions,
)
from stagedoor.model.selector import has_match
from stagedoor.model.target import Target
from stagedoor.settings.settings import Settings
from stagedoor.wire.api.inputs import GrantChange, GrantNew
from stagedoor.wire.api.port import Administration
from stagedoor.wire.api.types import GrantEntry

_MAX_NAMED = 5
"""The most environments that a note names: a platform has a thousand."""


@click.group()
def grant() -> None:
    """Manage grants: who may do what in which apps.

    \b
    enter    log in to the shell, by every access method (by default)
    files    copy files through the terminal's page (by default)
    run      run one-off tasks, and see and cancel those of others
    forward  forward ports, ssh -L, by direct login
    agent    forward the SSH agent, ssh -A, by direct login
    watch    watch the WebShell's terminals while others work in them
    record   a duty: terminals that end at the gateway are recorded
    replay   play recordings of the app's terminals on the web

    The grants of a user and of all their groups add up.
    """


def _add_permission_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the two options for what a grant permits."""
    for decorator in (
        make_permissions_option("--without", "Permissions to take away."),
        make_permissions_option(
            "--allow",
            f"Permissions to add: {', '.join(p for p in Permission if p not in DEFAULT)}.",
        ),
    ):
        command = decorator(command)
    return command


_resume_option = click.option(
    "--resume",
    "resume_s",
    metavar="DURATION",
    callback=parse_limit,
    default="default",
    help="How long a session of `stagedoor tunnel` waits for its client after a lost connection: 15m or 8h; "
    "0 ends it at once; `default` is tunnel.resume_s, also the maximum. Of several grants, the shortest "
    "counts.",
)


@grant.command(
    "add",
    epilog=show.make_epilog(
        "stagedoor grant add user:alice app01",
        "stagedoor grant add group:dev 'app*' --environment staging --allow forward,agent",
        "stagedoor grant add user:bob app01 --environment production --expires 8h --allow record",
        "stagedoor grant add group:ops '*' --allow watch,replay --without enter",
        "stagedoor grant add group:dev 'app*' --environment production --resume 15m",
        "stagedoor grant add everybody '*' --allow record --without enter",
    ),
)
@click.argument("subject", shell_complete=subjects)
@click.argument("app")
@environment_option
@make_expires_option("never")
@_resume_option
@_add_permission_options
@show.json_option
@click.pass_obj
def add(
    installation: Installation,
    subject: str,
    app: str,
    environment: str,
    expires: float | None,
    resume_s: float | None,
    allow: Permissions,
    without: Permissions,
    json_: bool,
) -> None:
    """Give SUBJECT permissions for APP.

    SUBJECT is user:NAME, group:NAME or everybody. APP is a name, or a pattern such as 'app*'.

    By default it permits entering, and copying files through the terminal's page. With `--without enter` it
    only adds to what other grants permit. It takes effect at once, in every worker.

    An equal grant that has expired is replaced. With --expires, one that expires earlier is extended.
    """
    given = click.get_current_context().get_parameter_source
    try:
        permissions = combine_permissions(allow, without)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    wanted = GrantNew(
        subject,
        app,
        environment,
        list(sort_permissions(permissions)),
        show.make_time(expires),
        resume_s,
        given("expires") is not ParameterSource.DEFAULT,
    )
    with open_administration(installation) as admin:
        rule: GrantEntry = admin.call("grants.add", body=wanted)
        if installation.context is None:
            _print_notes(
                installation.settings,
                admin,
                rule,
                names_environment=given("environment") is not ParameterSource.DEFAULT,
            )
    if json_:
        return show.print_json(rule)
    return _print_grant(rule)


@grant.command(
    "change",
    epilog=show.make_epilog(
        "stagedoor grant change 3 --allow forward",
        "stagedoor grant change 3 --without files,agent",
        "stagedoor grant change 3 --resume 0",
    ),
)
@click.argument("number", metavar="ID", shell_complete=grant_ids)
@_resume_option
@_add_permission_options
@show.json_option
@click.pass_obj
def change(
    installation: Installation,
    number: str,
    resume_s: float | None,
    allow: Permissions,
    without: Permissions,
    json_: bool,
) -> None:
    """Change what the grant ID permits, besides entering.

    Live sessions keep running. What is no longer permitted in them stops within seconds.
    """
    given = click.get_current_context().get_parameter_source
    limits_resume = given("resume_s") is not ParameterSource.DEFAULT
    if not (allow or without or limits_resume):
        raise click.UsageError(
            "give what to change: --allow PERMISSION, --without PERMISSION or --resume DURATION"
        )
    grant_id = _parse_id(number)
    check_permission_change(grant_id, allow, without)
    path = {"id": str(grant_id)}
    with open_administration(installation) as admin:
        before: GrantEntry = admin.call("grants.get", path)
        permissions = (frozenset(before.permissions) | allow) - without
        if not permissions:
            raise RefusedError.with_fix(
                f"grant {number} would permit nothing",
                f"remove it: stagedoor grant remove {number}",
            )
        wanted = GrantChange(
            list(sort_permissions(permissions)), resume_s if limits_resume else before.resume_s
        )
        rule: GrantEntry = admin.call("grants.change", path, body=wanted)
    return show.print_json(rule) if json_ else _print_grant(rule)


@grant.command(
    "list",
    epilog=show.make_epilog(
        "stagedoor grant list",
        "stagedoor grant list --app app017",
        "stagedoor grant list --user alice --json",
    ),
)
@click.option("--app", metavar="APP", help="Only grants that cover this app.")
@click.option("--environment", metavar="NAME", help="Only grants that cover this environment.")
@click.option(
    "--user",
    metavar="NAME",
    shell_complete=user_names,
    help="Only this user's grants, including those of their groups.",
)
@show.json_option
@click.pass_obj
def list_(
    installation: Installation,
    app: str | None,
    environment: str | None,
    user: str | None,
    json_: bool,
) -> None:
    """List the grants, or those that match all options."""
    query = {"app": app, "environment": environment, "user": user}
    none = show.explain_empty("grants", None, "add one: stagedoor grant add user:NAME APP")
    if app is not None or environment is not None or user is not None:
        none = "No grants that match; to list all: stagedoor grant list"
    print_list(installation, "grants.list", make_row, none, query, as_json=json_)


def make_row(rule: GrantEntry) -> dict[str, object]:
    """Return a line of `grant list`."""
    return {
        "id": rule.id,
        "subject": rule.subject,
        "permissions": _list(rule),
        "app": rule.app,
        "environment": rule.environment,
        "ends": show.format_end(rule.expires_at),
        "set": rule.access_set,
    }


@grant.command("remove", epilog=show.make_epilog("stagedoor grant remove 3"))
@click.argument("number", metavar="ID", shell_complete=grant_ids)
@click.pass_obj
def remove(installation: Installation, number: str) -> None:
    """Remove the grant ID (from `grant list`). Live sessions that no other grant covers close."""
    path = {"id": str(_parse_id(number))}
    rule: GrantEntry = call(installation, "grants.remove", path)
    show.note(
        f"Removed grant {number}: {rule.subject} had {_list(rule)} for {rule.app} in {rule.environment}."
    )


def _parse_id(number: str) -> int:
    if not (number.isascii() and number.isdigit() and len(number) < 18):
        raise click.UsageError(f"{number!r} is not a grant's ID; see `stagedoor grant list`")
    return int(number)


def _list(rule: GrantEntry) -> str:
    words = [str(permission) for permission in rule.permissions]
    if rule.resume_s is not None:
        words.append(
            f"resume {show.format_duration(rule.resume_s)}" if rule.resume_s else "no resume"
        )
    return ", ".join(words)


def _print_grant(rule: GrantEntry) -> None:
    until = f"until {show.format_local(rule.expires_at)}" if rule.expires_at else "with no expiry"
    is_enough = Permission.ENTER in rule.permissions
    entering = "" if is_enough else "; it does not permit logins without another grant"
    show.note(
        f"Grant {rule.id}: {rule.subject} has {_list(rule)} for {rule.app} in "
        f"{rule.environment}, {until}{entering}."
    )


def _print_notes(
    settings: Settings, admin: Administration, rule: GrantEntry, *, names_environment: bool
) -> None:
    """Print the notes on the grant `rule`. `names_environment` is whether its command named one."""
    kind, _, name = rule.subject.partition(":")
    if kind == "group" and not any(admin.list_all("users.list", {"group": name}, 1)):
        show.note(
            f"The group {name} has no members yet; add one: stagedoor user group USER --add {name}"
        )
    named = _list_environments(settings)
    is_wide = len(named) > 1 or settings.kubernetes.namespace_selector is not None
    if not names_environment and is_wide:
        first = ", ".join(named[:_MAX_NAMED])
        rest = f" and {len(named) - _MAX_NAMED} more" if len(named) > _MAX_NAMED else ""
        show.note(
            f"It covers every environment ({first}{rest}); narrow it with --environment NAME."
        )
    if unknown := _find_unknown(settings, rule):
        show.note(unknown)


def _find_unknown(settings: Settings, rule: GrantEntry) -> str | None:
    """Return a warning about a rule that covers no known app, else None."""
    known = list_settings_targets(settings)
    if _is_any_covered(rule, known):
        return None
    try:
        known += list_cluster_targets(settings)
    except StagedoorError:
        return None  # the cluster may have such an app
    if _is_any_covered(rule, known):
        return None
    close = get_close_matches(rule.app, {target.app for target in known}, n=1)
    meant = f" Did you mean {close[0]}?" if close else ""
    where = "" if rule.environment == "*" else f" in {rule.environment}"
    return (
        f"Attention: no app is called {rule.app}{where} now (stagedoor app list). The grant takes effect "
        f"once there is one.{meant}"
    )


def _is_any_covered(rule: GrantEntry, known: Iterable[Target]) -> bool:
    return any(has_match(rule.app, rule.environment, target) for target in known)


def _list_environments(settings: Settings) -> list[str]:
    """Return the environments that the settings name. Apps without one count as an environment."""
    environments = set(settings.kubernetes.namespaces)
    environments |= {entry.environment or "" for entry in settings.shells.static}
    environments |= {entry.environment or "" for entry in settings.shells.local}
    if settings.kubernetes.namespace_selector is not None:
        environments |= {f"each namespace with {settings.kubernetes.namespace_selector}"}
    return [name or "apps without one" for name in sorted(environments)]
