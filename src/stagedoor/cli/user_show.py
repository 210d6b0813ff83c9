"""`stagedoor user show`: show everything about one user."""

import time
from collections.abc import Mapping, Sequence

import click

from stagedoor.cli import grant, session, show, sign_in
from stagedoor.cli.administration import open_administration
from stagedoor.cli.complete import user_names
from stagedoor.cli.installation import Installation
from stagedoor.wire.api.reports import TokenState, UserReport
from stagedoor.wire.api.types import KeyEntry


@click.command(
    "show", epilog=show.make_epilog("stagedoor user show alice", "stagedoor user show alice --json")
)
@click.argument("name", shell_complete=user_names)
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def show_(installation: Installation, name: str, json_: bool) -> None:
    """Show everything about the user NAME.

    It shows groups, grants, keys, tokens and their expiry, sign-ins and live sessions, but no secret.
    """
    with open_administration(installation) as admin:
        report: UserReport = admin.call("users.report", {"name": name})
        shared = admin.is_shared
    if json_:
        return show.print_json(show.dump(report))
    now = time.time()
    _head(report)
    _part("grants", [grant.make_row(entry) for entry in report.grants])
    _part("keys", [_key(entry) for entry in report.keys])
    _part("tokens", [_token(entry) for entry in report.tokens])
    _part("sign-ins", [sign_in.make_row(entry) for entry in report.sign_ins])
    rows = [session.make_row(entry, now, state=False, instance=shared) for entry in report.sessions]
    return _part("live sessions", rows)


def _head(user: UserReport) -> None:
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


def _part(title: str, rows: Sequence[Mapping[str, str]]) -> None:
    click.echo(f"\n{title}: {len(rows) or 'none'}")
    show.print_table(rows)


def _key(entry: KeyEntry) -> dict[str, str]:
    return {"type": entry.type, "fingerprint": entry.fingerprint, "comment": entry.comment}


def _token(entry: TokenState) -> dict[str, str]:
    return {
        "id": entry.id,
        "scopes": "all" if entry.scopes is None else " ".join(entry.scopes),
        "made": show.format_local(show.read_time(entry.created_at)),
        "ends": show.format_end(show.read_time(entry.expires_at)),
    }
