"""`stagedoor sso`: test identity providers, and link accounts there to users."""

import asyncio
import os
import sys
import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import click
from msgspec import structs

from stagedoor.admin import service as admin
from stagedoor.admin.service import open_service
from stagedoor.api.views import show_grant
from stagedoor.cli import show
from stagedoor.cli.administration import call, print_list
from stagedoor.cli.complete import list_cluster_targets, list_settings_targets, user_names
from stagedoor.cli.grant import make_row
from stagedoor.cli.installation import Installation
from stagedoor.model.errors import RefusedError, StagedoorError
from stagedoor.model.target import Target
from stagedoor.oidc.errors import OidcError
from stagedoor.oidc.id_token import Claims
from stagedoor.oidc.mapping import find_claim, map_claims
from stagedoor.oidc.provider import Provider
from stagedoor.oidc.request import Tokens, make_attempt
from stagedoor.oidc.reserved_names import explain_reserved
from stagedoor.settings.settings import Settings
from stagedoor.settings.sso import SingleSignOnSettings
from stagedoor.signin.provider_accounts import Outcome, judge_person
from stagedoor.signin.providers import (
    find_provider,
    list_reserved_names,
    open_client,
    read_rules,
)
from stagedoor.wire.api.inputs import ProviderLinkNew, ProviderLinkRemoval
from stagedoor.wire.api.reports import LinkEntry
from stagedoor.wire.oneline import fold

MAX_CHARS = 64 * 1024
OFFLINE = "offline_access"
"""The scope for which most providers issue a refresh token (Core §11)."""


@click.group()
def sso() -> None:
    """Test identity providers, and link accounts there to users."""


@sso.command(
    "test",
    epilog=show.make_epilog("stagedoor sso test", "stagedoor sso test Company --json"),
)
@click.argument("name", required=False)
@show.json_option
@click.pass_obj
def test(installation: Installation, name: str | None, json_: bool) -> None:
    """Test a whole sign-in at the provider NAME.

    It shows the claims from the provider, the user and groups that they are mapped to, and the grants of that
    user. It opens no session here. NAME may be left out if there is only one provider.
    """
    provider = find_provider(installation.settings, name)
    try:
        claims, tokens, offered = asyncio.run(_sign_in(provider))
        mapped = map_claims(claims.all, read_rules(provider))
    except OidcError as error:
        raise RefusedError(f"{provider.name}: {error}") from None
    settings = installation.settings
    reserved = explain_reserved(mapped.name, list_reserved_names(settings), _list_apps(settings))
    with open_service(installation.settings, create=False) as service:
        outcome = judge_person(mapped, admin.read_policy(service), reserved)
    hints = suggest_scopes(offered, provider, claims, tokens)
    has_refresh = tokens.refresh_token is not None
    if json_:
        document = _make_document(claims, outcome)
        return show.print_json(document | {"refresh_token": has_refresh, "hints": hints})
    _print(claims, outcome)
    click.echo(f"refresh {'token issued' if has_refresh else 'no token issued'}")
    for hint in hints:
        click.echo(f"hint    {hint}")
    return None


@sso.command("list", epilog=show.make_epilog("stagedoor sso list", "stagedoor sso list --json"))
@show.json_option
@click.pass_obj
def list_(installation: Installation, json_: bool) -> None:
    """List the users who are linked to an identity provider."""
    more = "a sign-in at a provider in [[sso]] makes one, or: stagedoor sso link USER SUBJECT"
    none = show.explain_empty("users of an identity provider", None, more)
    print_list(installation, "provider-accounts.list", structs.asdict, none, as_json=json_)


@sso.command(
    "link",
    epilog=show.make_epilog(
        "stagedoor sso link alice 248289761001   # the sub that `stagedoor sso test` shows"
    ),
)
@click.argument("user", shell_complete=user_names)
@click.argument("subject")
@click.option("--provider", help="The provider's name, if there are several.")
@click.pass_obj
def link(installation: Installation, user: str, subject: str, provider: str | None) -> None:
    """Link the user USER to the account SUBJECT at a provider.

    This is for users who existed before single sign-on: the name alone never makes an account called alice at
    the provider the user alice.
    """
    body = ProviderLinkNew(user, subject, provider)
    linked: LinkEntry = call(installation, "provider-accounts.link", body=body)
    show.note(f"{linked.user} can sign in with {linked.provider}.")


@sso.command("unlink", epilog=show.make_epilog("stagedoor sso unlink 248289761001"))
@click.argument("subject")
@click.option("--provider", help="The provider's name, if there are several.")
@click.pass_obj
def unlink(installation: Installation, subject: str, provider: str | None) -> None:
    """Unlink the account SUBJECT at a provider from its user.

    The user stays, but loses the groups from the provider. Sessions opened by its sign-ins end within
    seconds.
    """
    body = ProviderLinkRemoval(subject, provider)
    unlinked: LinkEntry = call(installation, "provider-accounts.unlink", body=body)
    show.note(f"{unlinked.user} can no longer sign in with {unlinked.provider}.")


def _list_apps(settings: Settings) -> list[Target]:
    try:
        return list_settings_targets(settings) + list_cluster_targets(settings)
    except StagedoorError as error:
        show.note(f"The apps of the cluster are not considered: {error}")
        return list_settings_targets(settings)


async def _sign_in(provider: SingleSignOnSettings) -> tuple[Claims, Tokens, Provider]:
    """Sign in by hand. Return the person's claims, the tokens, and the provider's own description.

    Raises OidcError, RefusedError.
    """
    client = open_client(provider, time.time)
    attempt = make_attempt(os.urandom)
    url = await client.build_authorization_url(attempt)
    show.note(f"1. Open this address in a browser and sign in:\n\n{url}\n")
    show.note(
        f"2. The browser comes back to an address that begins with {provider.redirect_uri}\n"
        "   Copy it from the address bar, whatever the page shows, and paste it here:"
    )
    address = await asyncio.to_thread(sys.stdin.readline, MAX_CHARS)
    claims, tokens = await client.finish(_parse_query(address.strip(), provider), attempt)
    return claims, tokens, await client.get_provider()


def suggest_scopes(
    offered: Provider, settings: SingleSignOnSettings, claims: Claims, tokens: Tokens
) -> list[str]:
    """Return a hint for each scope that would improve sign-ins. Pure."""
    hints = []
    names_groups = find_claim(claims.all, settings.groups_claim) is not None
    if not names_groups and "groups" in offered.scopes - set(settings.scopes):
        hints.append("the provider offers the scope groups: add it to sso.scopes")
    if tokens.refresh_token is not None:
        return hints
    why = "without a refresh token the gateway cannot ask whether a sign-in still holds"
    if OFFLINE in settings.scopes:
        hints.append(f"{why}; allow {OFFLINE} for this client at the provider")
    elif OFFLINE in offered.scopes:
        hints.append(f"{why}; add {OFFLINE} to sso.scopes, which the provider offers")
    else:
        hints.append(f"{why}, and the provider does not offer {OFFLINE}")
    return hints


def _parse_query(address: str, provider: SingleSignOnSettings) -> list[tuple[str, str]]:
    if not address:
        raise RefusedError("no address was pasted; run the command again")
    if address.partition("?")[0] != provider.redirect_uri:
        raise RefusedError(
            f"the pasted address does not begin with {provider.redirect_uri} (sso.redirect_uri)"
        )
    try:
        return parse_qsl(urlsplit(address).query, keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise RefusedError("the pasted text is not an address") from None


def _make_document(claims: Claims, outcome: Outcome) -> dict[str, Any]:
    return {
        "claims": dict(claims.all),
        "user": outcome.user.name,
        "known": outcome.known,
        "reserved": outcome.reserved,
        "groups": None if outcome.mapped.groups is None else sorted(outcome.mapped.groups),
        "groups_left_out": list(outcome.mapped.left_out),
        "grants": [show_grant(rule) for rule in outcome.grants],
    }


def _print(claims: Claims, outcome: Outcome) -> None:
    rows = [{"claim": key, "value": _shorten(value)} for key, value in sorted(claims.all.items())]
    show.print_table(rows)
    mapped = outcome.mapped
    known = "" if outcome.known else " (new here)"
    click.echo(f"\nuser    {outcome.user.name}{known}")
    if outcome.reserved:
        click.echo(
            f"        {outcome.user.name} {outcome.reserved}, so this person's first sign-in is refused; "
            "give them another\n        name: stagedoor user add USER --no-password, then stagedoor sso link "
            "USER SUBJECT (the sub above)"
        )
    if mapped.groups is None:
        click.echo(
            "groups  the claim is missing, so memberships stay as they are (sso.groups_claim)"
        )
    else:
        click.echo(f"groups  {' '.join(sorted(mapped.groups)) or '-'}")
    if mapped.left_out:
        click.echo(
            f"        left out, by sso.groups and sso.group_prefix: {', '.join(mapped.left_out)}"
        )
    if not outcome.grants:
        click.echo(
            f"grants  none: all logins would be refused; stagedoor grant add user:{outcome.user.name} APP"
        )
        return
    click.echo("grants")
    show.print_table([make_row(show_grant(rule)) for rule in outcome.grants])


def _shorten(value: object) -> str:
    """Return a value as one short line for people; --json has it whole."""
    text = fold(value if isinstance(value, str) else repr(value))
    return text if len(text) <= 100 else f"{text[:99]}…"
