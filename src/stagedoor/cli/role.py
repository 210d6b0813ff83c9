"""`stagedoor role`: manage who administers which apps over the API."""

import click

from stagedoor.cli import show
from stagedoor.cli.administration import call, print_list
from stagedoor.cli.complete import role_ids, subjects
from stagedoor.cli.installation import Installation
from stagedoor.cli.options import environment_option, make_expires_option
from stagedoor.model.role import Role
from stagedoor.wire.api.inputs import RoleNew
from stagedoor.wire.api.types import RoleEntry


@click.group()
def role() -> None:
    """Manage roles: who administers which apps over the API.

    \b
    auditor        reads users, grants, sessions, requests and the audit
    operator       also closes sessions; for all apps, ends sign-ins and disables users
    owner          also gives others the permissions that they have themselves
    administrator  everything, for all apps

    Users have no role until you give them one. Commands on the gateway's machine need none.
    """


@role.command(
    "add",
    epilog=show.make_epilog(
        "stagedoor role add user:alice administrator",
        "stagedoor role add group:team-a owner 'a-*' --environment staging",
        "stagedoor role add group:on-call operator --expires 8h",
    ),
)
@click.argument("subject", shell_complete=subjects)
@click.argument("role_", metavar="ROLE", type=click.Choice([role.value for role in Role]))
@click.argument("app", default="*")
@environment_option
@make_expires_option("never")
@show.json_option
@click.pass_obj
def add(
    installation: Installation,
    subject: str,
    role_: str,
    app: str,
    environment: str,
    expires: float | None,
    json_: bool,
) -> None:
    """Give SUBJECT the role ROLE for APP.

    SUBJECT is user:NAME or group:NAME. APP is a name, or a pattern such as 'app*'; by default, all apps.
    """
    wanted = RoleNew(subject, Role(role_), app, environment, show.make_time(expires))
    rule: RoleEntry = call(installation, "roles.add", body=wanted)
    if json_:
        return show.print_json(rule)
    return show.note(
        f"Role {rule.id}: {rule.subject} is {rule.role} for {rule.app} in {rule.environment}."
    )


@role.command("list", epilog=show.make_epilog("stagedoor role list", "stagedoor role list --json"))
@show.json_option
@click.pass_obj
def list_(installation: Installation, json_: bool) -> None:
    """List the roles."""
    none = show.explain_empty("roles", None, "give one: stagedoor role add user:NAME administrator")
    print_list(installation, "roles.list", _row, none, as_json=json_)


@role.command("remove", epilog=show.make_epilog("stagedoor role remove 3"))
@click.argument("number", metavar="ID", type=click.IntRange(1), shell_complete=role_ids)
@click.pass_obj
def remove(installation: Installation, number: int) -> None:
    """Take the role ID away (from `role list`)."""
    rule: RoleEntry = call(installation, "roles.remove", {"id": str(number)})
    show.note(f"Removed role {number}: {rule.subject} was {rule.role} for {rule.app}.")


def _row(rule: RoleEntry) -> dict[str, object]:
    return {
        "id": rule.id,
        "subject": rule.subject,
        "role": rule.role.value,
        "app": rule.app,
        "environment": rule.environment,
        "ends": show.format_end(rule.expires_at),
    }
