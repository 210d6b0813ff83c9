"""`stagedoor grant`: manage the users' permissions for apps."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import click
from click.core import ParameterSource

from stagedoor.admin import service as admin
from stagedoor.admin.service import open_service
from stagedoor.cli import show
from stagedoor.cli.complete import (
    complete_permissions,
    grant_ids,
    list_cluster_targets,
    list_settings_targets,
    subjects,
    user_names,
)
from stagedoor.cli.installation import Installation
from stagedoor.cli.when import FORMS, end, parse_limit
from stagedoor.model.errors import StagedoorError
from stagedoor.model.grant import GrantRule
from stagedoor.model.permission import (
    DEFAULT,
    Permission,
    Permissions,
    combine_permissions,
    parse_permissions,
    sort_permissions,
)
from stagedoor.model.selector import has_match, list_subjects
from stagedoor.model.target import Target
from stagedoor.settings.settings import Settings

MAX_NAMED = 5
"""The most environments that a note names: a platform has a thousand."""


@click.group()
def grant() -> None:
    """Manage grants: who may do what in which apps.

    \b
    enter    log in to the shell, by every access method (by default)
    files    move files through the terminal's page (by default)
    run      run one-off tasks, and see and cancel those of others
    forward  forward ports, ssh -L, by direct login
    agent    forward the SSH agent, ssh -A, by direct login
    watch    watch the WebShell's terminals while others work in them
    record   a duty: terminals that end at the gateway are recorded
    replay   play recordings of the app's terminals on the web

    The grants of a user and of all their groups add up.
    """


def _parse(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> Permissions:
    try:
        return parse_permissions(value) if value else frozenset()
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _permissions(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the two options that say what a grant permits."""
    for decorator in (
        click.option(
            "--without",
            metavar="PERMISSION,…",
            multiple=True,
            callback=_parse,
            shell_complete=complete_permissions,
            help="Permissions to take away.",
        ),
        click.option(
            "--allow",
            metavar="PERMISSION,…",
            multiple=True,
            callback=_parse,
            shell_complete=complete_permissions,
            help=f"Permissions to add: {', '.join(p for p in Permission if p not in DEFAULT)}.",
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
    show_default=True,
    help="How long a session of stagedoor tunnel waits for its client after a lost connection: 15m, 8h, or "
    "0: it ends. By default tunnel.resume_s, which is also the most. Of several grants the shortest counts.",
)


@grant.command(
    "add",
    epilog=show.examples(
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
@click.option(
    "--environment", default="*", show_default=True, help="Name or pattern of the environments."
)
@click.option(
    "--expires",
    metavar="WHEN",
    callback=end,
    default="never",
    show_default=True,
    help=f"When: {FORMS}, or never.",
)
@_resume_option
@_permissions
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
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

    By default it permits entering, and moving files through the terminal's page. With `--without enter` it
    only adds to what other grants permit. It takes effect at once, in every worker.

    An expired grant for the same is replaced. With --expires, one that expires earlier is prolonged.
    """
    given = click.get_current_context().get_parameter_source
    try:
        permissions = combine_permissions(allow, without)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with open_service(installation.settings, create=False) as service:
        rule = admin.add_grant(
            service,
            subject,
            app,
            environment_pattern=environment,
            expires_at=expires,
            permissions=permissions,
            resume_s=resume_s,
            prolong=given("expires") is not ParameterSource.DEFAULT,
        )
        kind, _, name = subject.partition(":")
        members = [u for u in admin.policy(service).all_users.values() if name in u.groups]
    if kind == "group" and not members:
        show.note(
            f"The group {name} has no members yet; add one: stagedoor user group USER --add {name}"
        )
    named = _environments(installation.settings)
    if given("environment") is ParameterSource.DEFAULT and len(named) > 1:
        first = ", ".join(named[:MAX_NAMED])
        rest = f" and {len(named) - MAX_NAMED} more" if len(named) > MAX_NAMED else ""
        show.note(
            f"It covers every environment ({first}{rest}); narrow it with --environment NAME."
        )
    if unknown := _unknown(installation.settings, rule):
        show.note(unknown)
    if json_:
        return show.as_json(document(rule))
    return _print_grant(rule)


@grant.command(
    "change",
    epilog=show.examples(
        "stagedoor grant change 3 --allow forward",
        "stagedoor grant change 3 --without files,agent",
        "stagedoor grant change 3 --resume 0",
    ),
)
@click.argument("number", metavar="ID", shell_complete=grant_ids)
@_resume_option
@_permissions
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
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
            "say what to change: --allow PERMISSION, --without PERMISSION or --resume DURATION"
        )
    with open_service(installation.settings, create=False) as service:
        rule = admin.change_grant(
            service,
            _id(number),
            allow=allow,
            without=without,
            resume_s=resume_s,
            limits_resume=limits_resume,
        )
    return show.as_json(document(rule)) if json_ else _print_grant(rule)


@grant.command(
    "list",
    epilog=show.examples(
        "stagedoor grant list",
        "stagedoor grant list --app app017",
        "stagedoor grant list --user alice --json",
    ),
)
@click.option("--app", metavar="APP", help="Only those that cover this app.")
@click.option("--environment", metavar="NAME", help="Only those that cover this environment.")
@click.option(
    "--user",
    metavar="NAME",
    shell_complete=user_names,
    help="Only those for this user, also by a group.",
)
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_(
    installation: Installation,
    app: str | None,
    environment: str | None,
    user: str | None,
    json_: bool,
) -> None:
    """List the grants; with options, only those that match."""
    with open_service(installation.settings, create=False) as service:
        groups = admin.require_user(service, user).groups if user is not None else ()
        subjects = None if user is None else list_subjects(user, groups)
        rules = [
            rule
            for rule in admin.policy(service).grants
            if _covers(rule, app, environment) and (subjects is None or rule.subject in subjects)
        ]
        now = service.clock()
    if json_:
        return show.as_json([document(rule) for rule in rules])
    none = show.no("grants", None, "add one: stagedoor grant add user:NAME APP")
    if app is not None or environment is not None or user is not None:
        none = "No grant fits; for all of them: stagedoor grant list"
    return show.table([row(rule, now) for rule in rules], none)


def _covers(rule: GrantRule, app: str | None, environment: str | None) -> bool:
    """Return whether the rule covers the app and the environment; None stands for any."""
    return (app is None or fnmatchcase(app, rule.app_pattern)) and (
        environment is None or fnmatchcase(environment, rule.environment_pattern)
    )


def row(rule: GrantRule, now: float) -> dict[str, str]:
    """Return a line of `grant list`."""
    return {
        "id": str(rule.id),
        "subject": rule.subject,
        "permissions": _list(rule),
        "app": rule.app_pattern,
        "environment": rule.environment_pattern,
        "ends": show.ends(rule.expires_at, now),
    }


@grant.command("remove", epilog=show.examples("stagedoor grant remove 3"))
@click.argument("number", metavar="ID", shell_complete=grant_ids)
@click.pass_obj
def remove(installation: Installation, number: str) -> None:
    """Remove the grant ID (from `grant list`). Live sessions that no other grant covers close."""
    with open_service(installation.settings, create=False) as service:
        rule = admin.remove_grant(service, _id(number))
    show.note(f"Removed grant {number}: {rule.subject} to {_list(rule)} {rule.app_pattern}.")


def _unknown(settings: Settings, rule: GrantRule) -> str | None:
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
    close = get_close_matches(rule.app_pattern, {target.app for target in known}, n=1)
    meant = f" Did you mean {close[0]}?" if close else ""
    where = "" if rule.environment_pattern == "*" else f" in {rule.environment_pattern}"
    return (
        f"Attention: no app is known as {rule.app_pattern}{where} now (stagedoor app list). The grant holds "
        f"once there is one.{meant}"
    )


def _is_any_covered(rule: GrantRule, known: Iterable[Target]) -> bool:
    return any(has_match(rule.app_pattern, rule.environment_pattern, target) for target in known)


def _environments(settings: Settings) -> list[str]:
    """Return the environments that the settings name. Apps without one count as an environment."""
    environments = set(settings.kubernetes.namespaces)
    environments |= {entry.environment or "" for entry in settings.shells.static}
    environments |= {entry.environment or "" for entry in settings.shells.local}
    return [name or "apps without one" for name in sorted(environments)]


def _id(number: str) -> int:
    if not (number.isascii() and number.isdigit() and len(number) < 18):
        hint = " (grants to watch have numbers as all grants now)" if number[:1] == "w" else ""
        raise click.UsageError(f"{number!r} is no grant's ID; see `stagedoor grant list`{hint}")
    return int(number)


def _list(rule: GrantRule) -> str:
    words = [str(permission) for permission in sort_permissions(rule.permissions)]
    if rule.resume_s is not None:
        words.append(f"resume {show.lasting(rule.resume_s)}" if rule.resume_s else "no resume")
    return ", ".join(words)


def _print_grant(rule: GrantRule) -> None:
    until = "for good" if rule.expires_at is None else "until " + show.local(rule.expires_at)
    entering = (
        ""
        if Permission.ENTER in rule.permissions
        else "; it does not permit logins without another grant"
    )
    show.note(
        f"Grant {rule.id}: {rule.subject} has {_list(rule)} for {rule.app_pattern} in "
        f"{rule.environment_pattern}, {until}{entering}."
    )


def document(rule: GrantRule) -> dict[str, object]:
    """Return one entry of `grant list --json`."""
    return {
        "id": rule.id,
        "subject": rule.subject,
        "permissions": list(sort_permissions(rule.permissions)),
        "app": rule.app_pattern,
        "environment": rule.environment_pattern,
        "expires_at": show.iso(rule.expires_at),
        "resume_s": rule.resume_s,
    }
