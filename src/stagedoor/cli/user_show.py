"""`stagedoor user show`: everything about one person."""

from collections.abc import Mapping, Sequence

import click

from stagedoor.admin.person import UserState, user_state
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

    Groups, grants, keys, tokens and when they end, sign-ins, live sessions. No secret is shown.
    """
    with open_service(installation.settings, create=False) as service:
        found, now = user_state(service, name), service.clock()
        shared = service.database.shared
    if json_:
        return show.as_json(_document(found, now))
    limits = installation.settings.accounts.passwords_for
    _head(found, counts=found.user.limited_to(limits) == found.user)
    _part("grants", [grant.row(one, now) for one in found.grants])
    _part("keys", [_key(one) for one in found.keys])
    _part("tokens", [_token(one, now) for one in found.tokens])
    _part("sign-ins", [sign_in.row(one) for one in found.sign_ins])
    rows = [session.row(one, now, state=False, instance=shared) for one in found.sessions]
    return _part("live sessions", rows)


def _head(found: UserState, *, counts: bool) -> None:
    user = found.user
    groups = [f"{one} (provider)" if one in found.provided else one for one in sorted(user.groups)]
    has = user.password_hash is not None
    password = ("yes" if counts else "yes, but in no accounts.password_groups") if has else "no"
    who = [f"{account.subject} at {account.issuer}" for account in found.accounts]
    for name, value in (
        ("name", user.name),
        ("disabled", f"yes; stagedoor user enable {user.name}" if found.disabled else "no"),
        ("groups", ", ".join(groups) or "-"),
        ("password", password),
        ("provider", ", ".join(who) or "-"),
    ):
        click.echo(f"{name:<10}{value}")


def _part(title: str, rows: Sequence[Mapping[str, str]]) -> None:
    click.echo(f"\n{title}: {len(rows) or 'none'}")
    show.table(rows)


def _key(one: KeyRecord) -> dict[str, str]:
    return {
        "type": one.public_key.partition(" ")[0],
        "fingerprint": one.fingerprint,
        "comment": one.comment,
    }


def _token(one: TokenState, now: float) -> dict[str, str]:
    return {
        "id": one.id,
        "scopes": "all" if one.scopes is None else " ".join(one.scopes),
        "made": show.local(one.created_at),
        "ends": show.ends(one.expires_at, now),
    }


def _document(found: UserState, now: float) -> dict[str, object]:
    user = found.user
    return {
        "name": user.name,
        "disabled": found.disabled,
        "password": user.password_hash is not None,
        "groups": sorted(user.groups),
        "provided_groups": sorted(found.provided),
        "persons": [{"issuer": one.issuer, "subject": one.subject} for one in found.accounts],
        "grants": [grant.document(one) for one in found.grants],
        "keys": [_key(one) for one in found.keys],
        "tokens": [
            {
                "id": one.id,
                "scopes": None if one.scopes is None else list(one.scopes),
                "created_at": show.iso(one.created_at),
                "expires_at": show.iso(one.expires_at),
                "expired": one.expires_at is not None and one.expires_at <= now,
            }
            for one in found.tokens
        ],
        "sign_ins": [sign_in.document(one) for one in found.sign_ins],
        "sessions": [session.document(one) for one in found.sessions],
    }
