"""`stagedoor user`: manage users, their passwords and their groups."""

import time
from collections.abc import Mapping, Sequence

import click

from stagedoor.admin.checks import check_name
from stagedoor.cli import show
from stagedoor.cli.administration import call, open_administration, print_list
from stagedoor.cli.ask import ask_new_password, confirm
from stagedoor.cli.complete import user_names
from stagedoor.cli.installation import Installation
from stagedoor.cli.when import end
from stagedoor.model.errors import RefusedError
from stagedoor.wire.api.inputs import InvitationNew, UserGroups, UserNew, UserPassword
from stagedoor.wire.api.port import Administration
from stagedoor.wire.api.reports import InvitationMade, TokenState, UserReport
from stagedoor.wire.api.types import KeyEntry, SessionEntry, UserEntry


@click.group()
def user() -> None:
    """Manage users, their passwords and their groups."""


_ADDED = "Added {name}. To give access to an app: stagedoor grant add user:{name} APP"
_groups_option = click.option(
    "--group",
    "groups",
    multiple=True,
    help="A group to add the user to. May be given more than once.",
)
_stdin_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from stdin's first line."
)


@user.command(
    "add",
    epilog=show.make_epilog(
        "stagedoor user add alice",
        "stagedoor user add alice --group dev --group oncall",
        "pass show alice | stagedoor user add alice --password-stdin",
        "stagedoor user add bob --no-password   # logs in by token, key or single sign-on",
    ),
)
@click.argument("name")
@_groups_option
@_stdin_option
@click.option(
    "--no-password",
    is_flag=True,
    help="Set no password: the user logs in by token, key, single sign-on or a machine's ID token.",
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
        raise click.UsageError("--password-stdin and --no-password cannot be used together")
    check_name(name, "user")
    password = None if no_password else ask_new_password(name, from_stdin=password_stdin)
    with open_administration(installation, create=True) as admin:
        admin.call("users.add", body=UserNew(name, list(groups), password))
        _note_unused(admin, name)
    show.note(_ADDED.format(name=name))


@user.command(
    "invite",
    epilog=show.make_epilog(
        "stagedoor user invite carol --group dev",
        "stagedoor user invite alice --expires 4h   # alice forgot her password",
    ),
)
@click.argument("name", shell_complete=user_names)
@_groups_option
@click.option(
    "--expires",
    metavar="WHEN",
    callback=end,
    default="2d",
    show_default=True,
    help="When the link expires, within 14 days: 4h, 2d, a date, or a date and time.",
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
    `#`, which browsers do not send to servers. An earlier invitation of NAME becomes invalid.
    """
    ends_at = show.make_time(expires)
    if ends_at is None:
        raise RefusedError("an invitation must expire; give a time within 14 days")
    body = InvitationNew(list(groups), ends_at, url)
    invitation: InvitationMade = call(
        installation, "users.invite", {"name": name}, body=body, create=True
    )
    click.echo(invitation.url)
    if invitation.added:
        show.note(_ADDED.format(name=name))
    ends = show.format_local(invitation.expires_at)
    show.note(f"The link sets the password of {name} once, until {ends}.")


@user.command(
    "list",
    epilog=show.make_epilog(
        "stagedoor user list", "stagedoor user list --group dev", "stagedoor user list --json"
    ),
)
@click.option("--group", metavar="NAME", help="Only users in this group.")
@show.json_option
@click.pass_obj
def list_(installation: Installation, group: str | None, json_: bool) -> None:
    """List the users, and when each last logged in to a shell."""
    none = show.explain_empty(
        "users", group and f"the group {group}", "add one: stagedoor user add NAME"
    )
    print_list(installation, "users.list", _row, none, {"group": group}, as_json=json_)


def _row(record: UserEntry) -> dict[str, object]:
    return {
        "name": record.name,
        "groups": " ".join(record.groups) or None,
        "password": record.password,
        "keys": record.keys,
        "tokens": record.tokens,
        "disabled": record.disabled,
        "last login": show.format_local(record.last_login, "never"),
        "set": record.access_set,
    }


@user.command(
    "show", epilog=show.make_epilog("stagedoor user show alice", "stagedoor user show alice --json")
)
@click.argument("name", shell_complete=user_names)
@show.json_option
@click.pass_obj
def show_(installation: Installation, name: str, json_: bool) -> None:
    """Show everything about the user NAME.

    It shows groups, grants, keys, tokens and their expiry, sign-ins and live sessions, but no secret.
    """
    with open_administration(installation) as admin:
        report: UserReport = admin.call("users.report", {"name": name})
        shared = admin.is_shared
    if json_:
        return show.print_json(report)
    # Imported here, because a list of users needs no other commands.
    from stagedoor.cli import grant, session, sign_in

    now = time.time()
    _print_head(report)
    _print_part("grants", [grant.make_row(entry) for entry in report.grants])
    _print_part("keys", [_key_row(entry) for entry in report.keys])
    _print_part("tokens", [_token_row(entry) for entry in report.tokens])
    _print_part("sign-ins", [sign_in.make_row(entry) for entry in report.sign_ins])
    rows = [session.make_row(entry, now, state=False, instance=shared) for entry in report.sessions]
    return _print_part("live sessions", rows)


def _print_head(user: UserReport) -> None:
    origins = dict.fromkeys(user.provided_groups, "provider")
    origins |= {group: f"set {', '.join(sets)}" for group, sets in user.group_access_sets.items()}
    groups = [f"{group} ({origins[group]})" if group in origins else group for group in user.groups]
    counts = "yes" if user.password_counts else "yes, but in no accounts.password_groups"
    who = [f"{account.subject} at {account.issuer}" for account in user.persons]
    for name, value in (
        ("name", user.name),
        ("disabled", f"yes; stagedoor user enable {user.name}" if user.disabled else "no"),
        ("groups", ", ".join(groups) or "-"),
        ("set", user.access_set or "-"),
        ("password", counts if user.password else "no"),
        ("provider", ", ".join(who) or "-"),
    ):
        click.echo(f"{name:<10}{value}")


def _print_part(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    click.echo(f"\n{title}: {len(rows) or 'none'}")
    show.print_table(rows)


def _key_row(entry: KeyEntry) -> dict[str, str]:
    return {"type": entry.type, "fingerprint": entry.fingerprint, "comment": entry.comment}


def _token_row(entry: TokenState) -> dict[str, str]:
    return {
        "id": entry.id,
        "scopes": "all" if entry.scopes is None else " ".join(entry.scopes),
        "created": show.format_local(entry.created_at),
        "ends": show.format_end(entry.expires_at),
    }


@user.command("disable", epilog=show.make_epilog("stagedoor user disable alice"))
@click.argument("name", shell_complete=user_names)
@click.pass_obj
def disable(installation: Installation, name: str) -> None:
    """Disable the user NAME, and close their live sessions.

    Within seconds, every gateway refuses their password, tokens, keys and sign-ins. Nothing is removed:
    `stagedoor user enable NAME` makes all of them valid again.
    """
    with open_administration(installation) as admin:
        changed = not admin.call("users.get", {"name": name}).disabled
        admin.call("users.disable", {"name": name})
        live = list(admin.list_all("sessions.list", {"user": name}))
    show.note(f"{name} is disabled." if changed else f"{name} is disabled already.")
    _note_closing(live)


def _note_closing(live: Sequence[SessionEntry]) -> None:
    if live:
        are = "is" if len(live) == 1 else "are"
        sessions = show.count(len(live), "live session")
        show.note(f"{sessions} {are} being closed; see `stagedoor session list`.")


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
        admin.call("users.remove", {"name": name})
    show.note(f"Removed {name} with {what}.")
    _note_closing(live)


@user.command(
    "password",
    epilog=show.make_epilog(
        "stagedoor user password alice",
        "pass show alice | stagedoor user password alice --password-stdin",
        "stagedoor user password alice --remove",
    ),
)
@click.argument("name", shell_complete=user_names)
@_stdin_option
@click.option("--remove", "remove_", is_flag=True, help="Remove the password.")
@click.pass_obj
def password(installation: Installation, name: str, password_stdin: bool, remove_: bool) -> None:
    """Set the password of the user NAME. It asks for it twice, without echo.

    Sessions that the old password opened end within seconds. Sessions by a token, a key or single sign-on
    continue; to close them: `stagedoor session close --user NAME`.
    """
    if password_stdin and remove_:
        raise click.UsageError("--password-stdin and --remove cannot be used together")
    with open_administration(installation) as admin:
        admin.call("users.get", {"name": name})
        new_password = None if remove_ else ask_new_password(name, from_stdin=password_stdin)
        admin.call("users.password", {"name": name}, body=UserPassword(new_password))
        _note_unused(admin, name)
    show.note(f"{name} now has {'no password' if remove_ else 'a new password'}.")


def _note_unused(admin: Administration, name: str) -> None:
    """Print a note if `accounts.password_groups` prevents logins with the user's password."""
    report: UserReport = admin.call("users.report", {"name": name})
    if report.password and not report.password_counts:
        show.note(
            f"{name} is in none of accounts.password_groups, so logins by this password are refused."
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
