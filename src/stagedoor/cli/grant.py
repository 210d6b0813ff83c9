"""`stagedoor grant`: who may enter what."""

import click
from click.core import ParameterSource

from stagedoor.admin import service as admin
from stagedoor.admin.service import open_service
from stagedoor.cli import show
from stagedoor.cli.complete import grant_ids, subjects
from stagedoor.cli.installation import Installation
from stagedoor.cli.when import FORMS, end
from stagedoor.model.grant import GrantRule
from stagedoor.settings.settings import Settings


@click.group()
def grant() -> None:
    """Let users and groups into apps' shells, and stop doing so."""


@grant.command(
    "add",
    epilog=show.examples(
        "stagedoor grant add user:alice app01",
        "stagedoor grant add group:dev 'app*' --environment staging",
        "stagedoor grant add user:bob app01 --environment production --expires 8h",
        "stagedoor grant add group:ops '*' --watch",
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
@click.option(
    "--watch",
    is_flag=True,
    help="To look at the WebShell's terminals there while people work in them, and not to enter.",
)
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def add(
    installation: Installation,
    subject: str,
    app: str,
    environment: str,
    expires: float | None,
    watch: bool,
    json_: bool,
) -> None:
    """Let SUBJECT (user:NAME or group:NAME) into APP, a name or a pattern as '*' or 'app*'.

    It holds at once, in every worker.
    """
    with open_service(installation.settings, create=False) as office:
        rule = admin.add_grant(
            office, subject, app, environment_pattern=environment, expires_at=expires, watch=watch
        )
        kind, _, name = subject.partition(":")
        members = [u for u in admin.policy(office).users.values() if name in u.groups]
    if kind == "group" and not members:
        show.note(
            f"Nobody is in the group {name} yet; put somebody in: "
            f"stagedoor user group USER --add {name}"
        )
    named = _environments(installation.settings)
    source = click.get_current_context().get_parameter_source("environment")
    if source is ParameterSource.DEFAULT and len(named) > 1:
        show.note(
            f"It covers every environment ({', '.join(named)}); narrow it with --environment NAME."
        )
    if json_:
        return show.as_json(_document(rule, watch=watch))
    return show.note(
        f"Grant {_number(rule, watch=watch)}: {subject} may {_may(watch=watch)} {app} in {environment}, "
        f"{'for good' if expires is None else 'until ' + show.local(expires)}."
    )


@grant.command("list", epilog=show.examples("stagedoor grant list", "stagedoor grant list --json"))
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_(installation: Installation, json_: bool) -> None:
    """List the grants."""
    with open_service(installation.settings, create=False) as office:
        policy = admin.policy(office)
        now = office.clock()
    rules = [(rule, False) for rule in policy.grants]
    rules += [(rule, True) for rule in policy.watch_rules]
    if json_:
        return show.as_json([_document(rule, watch=watch) for rule, watch in rules])
    return show.table(
        [
            {
                "id": _number(rule, watch=watch),
                "subject": rule.subject,
                "may": _may(watch=watch),
                "app": rule.app_pattern,
                "environment": rule.environment_pattern,
                "ends": show.ends(rule.expires_at, now),
            }
            for rule, watch in rules
        ]
    )


@grant.command("remove", epilog=show.examples("stagedoor grant remove 3"))
@click.argument("number", metavar="ID", shell_complete=grant_ids)
@click.pass_obj
def remove(installation: Installation, number: str) -> None:
    """Remove the grant ID (from `grant list`). Live sessions that no other grant covers close."""
    watch = number.startswith("w")
    digits = number.removeprefix("w")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 18):
        raise click.UsageError(f"{number!r} is no grant's ID; see `stagedoor grant list`")
    with open_service(installation.settings, create=False) as office:
        rule = admin.remove_grant(office, int(digits), watch=watch)
    show.note(f"Removed grant {number}: {rule.subject} to {_may(watch=watch)} {rule.app_pattern}.")


def _environments(settings: Settings) -> list[str]:
    """Those that the settings name; apps without one are an environment as well."""
    found = set(settings.kubernetes.namespaces)
    found |= {entry.environment or "" for entry in settings.shells.static}
    found |= {entry.environment or "" for entry in settings.shells.local}
    return [name or "apps without one" for name in sorted(found)]


def _number(rule: GrantRule, *, watch: bool) -> str:
    return f"w{rule.id}" if watch else str(rule.id)


def _may(*, watch: bool) -> str:
    return "watch" if watch else "enter"


def _document(rule: GrantRule, *, watch: bool) -> dict[str, object]:
    return {
        "id": f"w{rule.id}" if watch else rule.id,
        "subject": rule.subject,
        "may": _may(watch=watch),
        "app": rule.app_pattern,
        "environment": rule.environment_pattern,
        "expires_at": show.iso(rule.expires_at),
    }
