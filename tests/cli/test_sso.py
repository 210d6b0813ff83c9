"""The hints of `stagedoor sso test`. The command itself: tests/oidc/test_real_provider.py."""

import pytest

from stagedoor.cli.sso import suggest_scopes
from stagedoor.oidc.id_token import Claims
from stagedoor.oidc.provider import Provider
from stagedoor.oidc.request import Tokens
from stagedoor.settings.sso import SingleSignOnSettings

OPENID = ("openid", "profile", "email")
GROUPS = ("groups",)
OFFLINE = ("offline_access",)


@pytest.mark.parametrize(
    ("offered", "asked", "claims", "refresh_token", "hints"),
    [
        (GROUPS + OFFLINE, OPENID, {"groups": []}, "token", []),
        (GROUPS, OPENID, {}, "token", ["offers the scope groups"]),
        (GROUPS, OPENID + GROUPS, {}, "token", []),
        ((), OPENID, {}, "token", []),
        (OFFLINE, OPENID, {}, None, ["add offline_access to sso.scopes"]),
        (OFFLINE, OPENID + OFFLINE, {}, None, ["allow offline_access for this client"]),
        ((), OPENID, {}, None, ["does not offer offline_access"]),
        (GROUPS + OFFLINE, OPENID, {}, None, ["scope groups", "add offline_access"]),
    ],
)
def test_a_scope_that_would_bring_something_is_named(
    offered: tuple[str, ...],
    asked: tuple[str, ...],
    claims: dict[str, object],
    refresh_token: str | None,
    hints: list[str],
) -> None:
    issuer = "https://id.example"
    provider = Provider(issuer, issuer, issuer, issuer, scopes=frozenset(offered))
    settings = SingleSignOnSettings(
        name="Company",
        issuer=issuer,
        client_id="c",
        client_secret_file="/secret",  # type: ignore[arg-type]  # never read
        redirect_uri=issuer,
        scopes=asked,
    )
    named = suggest_scopes(
        provider,
        settings,
        Claims(issuer, "1", None, None, None, claims),
        Tokens(None, None, refresh_token),
    )
    assert len(named) == len(hints)
    for hint, words in zip(named, hints, strict=True):
        assert words in hint
