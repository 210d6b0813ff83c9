"""`stagedoor user`: manage users, their passwords and their groups."""

import click
from msgspec import structs

from stagedoor.admin.checks import check_name
from stagedoor.cli import show
from stagedoor.cli.administration import call, open_administration, print_list
from stagedoor.cli.ask import ask_new_password, confirm
from stagedoor.cli.complete import user_names
from stagedoor.cli.installation import Installation
from stagedoor.cli.user_show import show_
from stagedoor.cli.when import end
from stagedoor.model.errors import RefusedError
from stagedoor.wire.api.inputs import InvitationNew, UserGroups, UserNew, UserPassword
from stagedoor.wire.api.port import Administration
from stagedoor.wire.api.reports import InvitationMade, UserReport
from stagedoor.wire.api.types import RemovedUser, UserEntry


@click.group()
def user() -> None:
    """Manage users, their passwords and their groups."""


user.add_command(show_)


@user.command(
    "add",
    epilog=show.make_epilog(
        "stagedoor user add alice",
        "stagedoor user add alice --group dev --group oncall",
        "pass show alice | stagedoor user add alice --password-stdin",
        "stagedoor user add bob --no-password   # logs in by token or key only",
    ),
)
@click.argument("name")
@click.option(
    "--group",
    "groups",
    multiple=True,
    help="A group to add the user to. May be given more than once.",
)
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin's first line.")
@click.option(
    "--no-password", is_flag=True, help="Set no password: the user logs in by tokens and keys only."
)
@click.pass_obj
def add(
    installation: Installation,
    name: str,
    groups: tuple[str, ...],
    password_stdin: bool,
    no_password: bool,
) -> None:
    """Add the user NAME. It asks for the password twice, without echo."""
    if password_stdin and no_password:
        raise click.UsageError("--password-stdin and --no-password exclude each other")
    check_name(name, "user")
    password = None if no_password else ask_new_password(name, from_stdin=password_stdin)
    with open_administration(installation, create=True) as admin:
        admin.call("users.add", body=UserNew(name, list(groups), password))
        _note_unused(admin, name)
    show.note(f"Added {name}. Let them in somewhere: stagedoor grant add user:{name} APP")


@user.command(
    "invite",
    epilog=show.make_epilog(
        "stagedoor user invite carol --group dev",
        "stagedoor user invite alice --expires 4h   # alice forgot her password",
    ),
)
@click.argument("name", shell_complete=user_names)
@click.option(
    "--group",
    "groups",
    multiple=True,
    help="A group to add the user to. May be given more than once.",
)
@click.option(
    "--expires",
    metavar="WHEN",
    callback=end,
    default="2d",
    show_default=True,
    help="When the link ends, within 14 days: 4h, 2d, a date, or a date and time.",
)
@click.option("--url", help="Where browsers reach the WebShell, as for `web-link`.")
@click.pass_obj
def invite(
    installation: Installation,
    name: str,
    groups: tuple[str, ...],
    expires: float | None,
    url: str | None,
) -> None:
    """Print a link by which NAME sets a password, once. A new user is added.

    Anyone with the link can sign in as NAME: hand it over as you would a password. The secret is behind the
    `#`, which browsers send to no server. An earlier invitation of NAME becomes invalid.
    """
    ends_at = show.make_time(expires)
    if ends_at is None:
        raise RefusedError("an invitation ends; name a time within 14 days")
    body = InvitationNew(list(groups), ends_at, url)
    invitation: InvitationMade = call(
        installation, "users.invite", {"name": name}, body=body, create=True
    )
    click.echo(invitation.url)
    if invitation.added:
        show.note(f"Added {name}. Let them in somewhere: stagedoor grant add user:{name} APP")
    ends = show.format_local(show.read_time(invitation.expires_at), "never")
    show.note(f"The link sets the password of {name} once, until {ends}.")


@user.command(
    "list",
    epilog=show.make_epilog(
        "stagedoor user list", "stagedoor user list --group dev", "stagedoor user list --json"
    ),
)
@click.option("--group", metavar="NAME", help="Only those in this group.")
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_(installation: Installation, group: str | None, json_: bool) -> None:
    """List the users, and when each last logged in to a shell."""
    none = show.explain_empty(
        "users", group and f"the group {group}", "add one: stagedoor user add NAME"
    )
    print_list(installation, "users.list", _row, none, {"group": group}, as_json=json_)


def _row(record: UserEntry) -> dict[str, str]:
    return {
        "name": record.name,
        "groups": " ".join(record.groups) or "-",
        "password": "yes" if record.password else "no",
        "keys": str(record.keys),
        "tokens": str(record.tokens),
        "disabled": "yes" if record.disabled else "no",
        "last login": show.format_local(show.read_time(record.last_login), "never"),
        "set": record.access_set or "",
    }


@user.command("disable", epilog=show.make_epilog("stagedoor user disable alice"))
@click.argument("name", shell_complete=user_names)
@click.pass_obj
def disable(installation: Installation, name: str) -> None:
    """Keep the user NAME out, and close their live sessions.

    Within seconds, every gateway refuses their password, tokens, keys and sign-ins. Nothing is removed:
    `stagedoor user enable NAME` makes all of them valid again.
    """
    with open_administration(installation) as admin:
        changed = not admin.call("users.get", {"name": name}).disabled
        admin.call("users.disable", {"name": name})
        live = list(admin.list_all("sessions.list", {"user": name}))
    show.note(f"{name} is disabled." if changed else f"{name} is disabled already.")
    if live:
        are = "is" if len(live) == 1 else "are"
        show.note(f"{show.count(len(live), 'live session')} {are} being closed.")


@user.command("enable", epilog=show.make_epilog("stagedoor user enable alice"))
@click.argument("name", shell_complete=user_names)
@click.pass_obj
def enable(installation: Installation, name: str) -> None:
    """Allow a disabled user to log in again."""
    with open_administration(installation) as admin:
        changed = admin.call("users.get", {"name": name}).disabled
        admin.call("users.enable", {"name": name})
    show.note(f"{name} is enabled." if changed else f"{name} is not disabled.")


@user.command(
    "remove",
    epilog=show.make_epilog("stagedoor user remove alice", "stagedoor user remove alice --yes"),
)
@click.argument("name", shell_complete=user_names)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(installation: Installation, name: str, yes: bool) -> None:
    """Remove the user NAME.

    All keys, tokens and grants of NAME are removed too, and live sessions are closed.
    """
    with open_administration(installation) as admin:
        user: UserEntry = admin.call("users.get", {"name": name})
        live = list(admin.list_all("sessions.list", {"user": name}))
        grants = admin.list_all("grants.list", {"user": name})
        held = [
            (user.keys, "key"),
            (user.tokens, "token"),
            (sum(grant.subject == f"user:{name}" for grant in grants), "grant"),
        ]
        what = ", ".join(show.count(number, kind) for number, kind in held)
        closing = f" and close {show.count(len(live), 'live session')}" if live else ""
        confirm(f"Remove {name} with {what}{closing}?", yes=yes)
        removed: RemovedUser = admin.call("users.remove", {"name": name})
    what = ", ".join(
        show.count(number, kind.removesuffix("s"))
        for kind, number in structs.asdict(removed).items()
    )
    show.note(f"Removed {name} with {what}.")
    if live:
        are = "is" if len(live) == 1 else "are"
        show.note(
            f"{show.count(len(live), 'live session')} {are} being closed; "
            "see `stagedoor session list`."
        )


@user.command(
    "password",
    epilog=show.make_epilog(
        "stagedoor user password alice",
        "pass show alice | stagedoor user password alice --password-stdin",
        "stagedoor user password alice --remove",
    ),
)
@click.argument("name", shell_complete=user_names)
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin's first line.")
@click.option("--remove", "remove_", is_flag=True, help="Remove the password.")
@click.pass_obj
def password(installation: Installation, name: str, password_stdin: bool, remove_: bool) -> None:
    """Set the password of the user NAME. It asks for it twice, without echo.

    Live sessions go on; close them with `stagedoor session close --user NAME`.
    """
    if password_stdin and remove_:
        raise click.UsageError("--password-stdin and --remove exclude each other")
    with open_administration(installation) as admin:
        admin.call("users.get", {"name": name})
        new_password = None if remove_ else ask_new_password(name, from_stdin=password_stdin)
        admin.call("users.password", {"name": name}, body=UserPassword(new_password))
        _note_unused(admin, name)
    show.note(f"{name} has {'no password any more' if remove_ else 'a new password'}.")


def _note_unused(admin: Administration, name: str) -> None:
    """Print a note if `accounts.password_groups` prevents logins with the user's password."""
    report: UserReport = admin.call("users.report", {"name": name})
    if report.password and not report.password_counts:
        show.note(
            f"{name} is in none of accounts.password_groups, so logins with this password are refused."
        )


@user.command(
    "group",
    epilog=show.make_epilog(
        "stagedoor user group alice", "stagedoor user group alice --add oncall --remove dev"
    ),
)
@click.argument("name", shell_complete=user_names)
@click.option("--add", "add_", multiple=True, help="A group to join. May be given more than once.")
@click.option(
    "--remove", "remove_", multiple=True, help="A group to leave. May be given more than once."
)
@click.pass_obj
def group(
    installation: Installation, name: str, add_: tuple[str, ...], remove_: tuple[str, ...]
) -> None:
    """Change and print the groups of the user NAME."""
    with open_administration(installation) as admin:
        groups = set(admin.call("users.get", {"name": name}).groups)
        if add_ or remove_:
            if missing := set(remove_) - groups:
                raise RefusedError(f"{name} is not in the group {', '.join(sorted(missing))}")
            wanted = UserGroups(sorted((groups | set(add_)) - set(remove_)))
            groups = set(admin.call("users.groups", {"name": name}, body=wanted).groups)
    for group_name in sorted(groups):
        click.echo(group_name)
    if not groups:
        show.note(
            show.explain_empty("groups", name, f"join one: stagedoor user group {name} --add GROUP")
        )
