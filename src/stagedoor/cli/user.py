"""`stagedoor user`: manage users, their passwords and their groups."""

from collections import Counter

import click

from stagedoor.admin import service as admin
from stagedoor.admin import sessions as admin_sessions
from stagedoor.admin.checks import check_name
from stagedoor.admin.person import set_disabled
from stagedoor.admin.service import open_service
from stagedoor.cli import show
from stagedoor.cli.ask import ask_new_password, confirm
from stagedoor.cli.complete import user_names
from stagedoor.cli.installation import Installation
from stagedoor.cli.user_show import show_
from stagedoor.cli.when import end
from stagedoor.model.policy import User
from stagedoor.signin.invitations import invite as make_invitation


@click.group()
def user() -> None:
    """Manage users, their passwords and their groups."""


user.add_command(show_)


@user.command(
    "add",
    epilog=show.examples(
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
    with open_service(installation.settings) as service:
        admin.add_user(service, name, groups=groups, password=password)
        _note_unused(installation, admin.require_user(service, name))
    show.note(f"Added {name}. Let them in somewhere: stagedoor grant add user:{name} APP")


@user.command(
    "invite",
    epilog=show.examples(
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
    with open_service(installation.settings) as service:
        invitation = make_invitation(
            installation.settings, service, name, expires, groups=groups, url=url
        )
    click.echo(invitation.url)
    if invitation.added:
        show.note(f"Added {name}. Let them in somewhere: stagedoor grant add user:{name} APP")
    show.note(
        f"The link sets the password of {name} once, until {show.local(invitation.expires_at, 'never')}."
    )


@user.command(
    "list",
    epilog=show.examples(
        "stagedoor user list", "stagedoor user list --group dev", "stagedoor user list --json"
    ),
)
@click.option("--group", metavar="NAME", help="Only those in this group.")
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_(installation: Installation, group: str | None, json_: bool) -> None:
    """List the users, and when each last logged in to a shell."""
    with open_service(installation.settings, create=False) as service:
        policy = admin.policy(service)
        last = admin_sessions.find_last_opened(service)
    keys = Counter(key.user for key in policy.keys.values())
    tokens = Counter(token.user for token in policy.tokens.values())
    rows = [
        {
            "name": record.name,
            "groups": sorted(record.groups),
            "password": record.password_hash is not None,
            "keys": keys[record.name],
            "tokens": tokens[record.name],
            "disabled": record.name in policy.disabled,
            "last_login": show.iso(last.get(record.name)),
        }
        for record in policy.all_users.values()
        if group is None or group in record.groups
    ]
    if json_:
        return show.as_json(rows)
    return show.table(
        [
            {
                "name": str(row["name"]),
                "groups": " ".join(sorted(policy.all_users[str(row["name"])].groups)) or "-",
                "password": "yes" if row["password"] else "no",
                "keys": str(row["keys"]),
                "tokens": str(row["tokens"]),
                "disabled": "yes" if row["disabled"] else "no",
                "last login": show.local(at) if (at := last.get(str(row["name"]))) else "never",
            }
            for row in rows
        ],
        show.no("users", group and f"the group {group}", "add one: stagedoor user add NAME"),
    )


@user.command("disable", epilog=show.examples("stagedoor user disable alice"))
@click.argument("name", shell_complete=user_names)
@click.pass_obj
def disable(installation: Installation, name: str) -> None:
    """Keep the user NAME out, and close their live sessions.

    Within seconds, every gateway refuses their password, tokens, keys and sign-ins. Nothing is removed:
    `stagedoor user enable NAME` makes all of them valid again.
    """
    with open_service(installation.settings, create=False) as service:
        changed = set_disabled(service, name, disabled=True)
        live = admin_sessions.list_sessions(service, identity=name)
    show.note(f"{name} is disabled." if changed else f"{name} is disabled already.")
    if live:
        are = "is" if len(live) == 1 else "are"
        show.note(f"{show.count(len(live), 'live session')} {are} being closed.")


@user.command("enable", epilog=show.examples("stagedoor user enable alice"))
@click.argument("name", shell_complete=user_names)
@click.pass_obj
def enable(installation: Installation, name: str) -> None:
    """Allow a disabled user to log in again."""
    with open_service(installation.settings, create=False) as service:
        changed = set_disabled(service, name, disabled=False)
    show.note(f"{name} is enabled." if changed else f"{name} is not disabled.")


@user.command(
    "remove",
    epilog=show.examples("stagedoor user remove alice", "stagedoor user remove alice --yes"),
)
@click.argument("name", shell_complete=user_names)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(installation: Installation, name: str, yes: bool) -> None:
    """Remove the user NAME.

    All keys, tokens and grants of NAME are removed too, and live sessions are closed.
    """
    with open_service(installation.settings, create=False) as service:
        policy = admin.policy(service)
        live = admin_sessions.list_sessions(service, identity=name)
        if name in policy.all_users:
            held = [
                (sum(key.user == name for key in policy.keys.values()), "key"),
                (sum(token.user == name for token in policy.tokens.values()), "token"),
                (sum(grant.subject == f"user:{name}" for grant in policy.grants), "grant"),
            ]
            what = ", ".join(show.count(number, kind) for number, kind in held)
            closing = f" and close {show.count(len(live), 'live session')}" if live else ""
            confirm(f"Remove {name} with {what}{closing}?", yes=yes)
        removed = admin.remove_user(service, name)
    what = ", ".join(show.count(number, kind.removesuffix("s")) for kind, number in removed.items())
    show.note(f"Removed {name} with {what}.")
    if live:
        are = "is" if len(live) == 1 else "are"
        show.note(
            f"{show.count(len(live), 'live session')} {are} being closed; "
            "see `stagedoor session list`."
        )


@user.command(
    "password",
    epilog=show.examples(
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
    with open_service(installation.settings, create=False) as service:
        admin.require_user(service, name)
        admin.set_password(
            service, name, None if remove_ else ask_new_password(name, from_stdin=password_stdin)
        )
        _note_unused(installation, admin.require_user(service, name))
    show.note(f"{name} has {'no password any more' if remove_ else 'a new password'}.")


def _note_unused(installation: Installation, user: User) -> None:
    """Print a note if `accounts.password_groups` prevents logins with the user's password."""
    if user.limited_to(installation.settings.accounts.passwords_for) != user:
        show.note(
            f"{user.name} is in none of accounts.password_groups, so logins with this password are refused."
        )


@user.command(
    "group",
    epilog=show.examples(
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
    with open_service(installation.settings, create=False) as service:
        if add_ or remove_:
            groups = admin.change_groups(service, name, add=add_, remove=remove_)
        else:
            groups = admin.require_user(service, name).groups
    for group_name in sorted(groups):
        click.echo(group_name)
    if not groups:
        show.note(show.no("groups", name, f"join one: stagedoor user group {name} --add GROUP"))
