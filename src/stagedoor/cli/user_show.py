"""`stagedoor user show`: show everything about one user."""

from collections.abc import Mapping, Sequence

import click

from stagedoor.admin.api import views
from stagedoor.admin.person import UserState, read_user_state
from stagedoor.admin.service import open_service
from stagedoor.cli import grant, session, show, sign_in
from stagedoor.cli.complete import user_names
from stagedoor.cli.installation import Installation
from stagedoor.model.policy import KeyRecord
from stagedoor.store.people import TokenState


@click.command(
    "show", epilog=show.examples("stagedoor user show alice", "stagedoor user show alice --json")
)
@click.argument("name", shell_complete=user_names)
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def show_(installation: Installation, name: str, json_: bool) -> None:
    """Show everything about the user NAME.

    It shows groups, grants, keys, tokens and their expiry, sign-ins and live sessions, but no secret.
    """
    with open_service(installation.settings, create=False) as service:
        state, now = read_user_state(service, name), service.clock()
        shared = service.database.shared
    if json_:
        return show.as_json(_document(state, now))
    limits = installation.settings.accounts.passwords_for
    _head(state, counts=state.user.limited_to(limits) == state.user)
    _part("grants", [grant.row(views.show_grant(entry), now) for entry in state.grants])
    _part("keys", [_key(entry) for entry in state.keys])
    _part("tokens", [_token(entry, now) for entry in state.tokens])
    _part("sign-ins", [sign_in.row(views.show_sign_in(entry)) for entry in state.sign_ins])
    rows = [
        session.row(view, now, state=False, instance=shared)
        for view in map(views.show_session, state.sessions)
    ]
    return _part("live sessions", rows)


def _head(state: UserState, *, counts: bool) -> None:
    user = state.user
    groups = [
        f"{group} (provider)" if group in state.provided else group for group in sorted(user.groups)
    ]
    has = user.password_hash is not None
    password = ("yes" if counts else "yes, but in no accounts.password_groups") if has else "no"
    who = [f"{account.subject} at {account.issuer}" for account in state.accounts]
    for name, value in (
        ("name", user.name),
        ("disabled", f"yes; stagedoor user enable {user.name}" if state.disabled else "no"),
        ("groups", ", ".join(groups) or "-"),
        ("password", password),
        ("provider", ", ".join(who) or "-"),
    ):
        click.echo(f"{name:<10}{value}")


def _part(title: str, rows: Sequence[Mapping[str, str]]) -> None:
    click.echo(f"\n{title}: {len(rows) or 'none'}")
    show.table(rows)


def _key(record: KeyRecord) -> dict[str, str]:
    return {
        "type": record.public_key.partition(" ")[0],
        "fingerprint": record.fingerprint,
        "comment": record.comment,
    }


def _token(record: TokenState, now: float) -> dict[str, str]:
    return {
        "id": record.id,
        "scopes": "all" if record.scopes is None else " ".join(record.scopes),
        "made": show.local(record.created_at),
        "ends": show.ends(record.expires_at, now),
    }


def _document(state: UserState, now: float) -> dict[str, object]:
    user = state.user
    return {
        "name": user.name,
        "disabled": state.disabled,
        "password": user.password_hash is not None,
        "groups": sorted(user.groups),
        "provided_groups": sorted(state.provided),
        "persons": [{"issuer": entry.issuer, "subject": entry.subject} for entry in state.accounts],
        "grants": show.dump([views.show_grant(entry) for entry in state.grants]),
        "keys": [_key(entry) for entry in state.keys],
        "tokens": [
            {
                "id": entry.id,
                "scopes": None if entry.scopes is None else list(entry.scopes),
                "created_at": show.iso(entry.created_at),
                "expires_at": show.iso(entry.expires_at),
                "expired": entry.expires_at is not None and entry.expires_at <= now,
            }
            for entry in state.tokens
        ],
        "sign_ins": show.dump([views.show_sign_in(entry) for entry in state.sign_ins]),
        "sessions": show.dump([views.show_session(entry) for entry in state.sessions]),
    }
