"""Sign-ins at a real provider: npm's oidc-provider, certified by the OpenID Foundation."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from stagedoor.net.https import load_trust
from stagedoor.oidc.client import OidcClient
from stagedoor.oidc.errors import GrantEndedError, OidcError, SignInDeniedError, UnavailableError
from stagedoor.oidc.request import ClientConfig, make_attempt
from stagedoor.serve.doctor.gateway import check_provider
from stagedoor.settings.file import load_settings
from stagedoor.signin.providers import HttpsFetch
from stagedoor.wire.finding import Level
from tests.oidc.idp import CLIENT_ID, SECRET, Idp, running_idp, sso_table

ALICE = {
    "preferred_username": "alice",
    "email": "alice@example.com",
    "email_verified": True,
    "groups": ["ops", "/teams/shop"],
}
STAGEDOOR = (sys.executable, "-m", "stagedoor", "--config")
SCOPES = ("openid", "profile", "email", "offline_access")


@pytest.fixture(scope="module")
def idp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Idp]:
    """Takes some seconds once: npm fetches the provider."""
    with running_idp(tmp_path_factory.mktemp("idp"), {"alice": ALICE}) as running:
        yield running


@pytest.fixture
def fetch() -> HttpsFetch:
    return HttpsFetch(load_trust(None, "sso.ca_file"))


@pytest.fixture
def client(idp: Idp, fetch: HttpsFetch) -> OidcClient:
    known = ClientConfig(CLIENT_ID, SECRET, idp.redirect_uri, SCOPES)
    return OidcClient(idp.issuer, known, fetch, time.time)


def query(address: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(address).query)


async def test_a_person_signs_in_and_is_asked_for_again(idp: Idp, client: OidcClient) -> None:
    attempt = make_attempt(os.urandom)
    url = await client.build_authorization_url(attempt, [("prompt", "consent")])
    back = await asyncio.to_thread(idp.sign_in, url, "alice")
    claims, tokens = await client.finish(query(back), attempt)
    assert claims.subject == "alice"
    assert claims.all["groups"] == ["ops", "/teams/shop"]
    assert tokens.refresh_token is not None

    idp.set_account("alice", {**ALICE, "groups": ["ops"]})
    renewed = await client.refresh(tokens.refresh_token)
    again = await client.read_refreshed(renewed)
    assert again.all["groups"] == ["ops"]
    # It was rotated: the old one is good no more, and to show it ends the new one as well.
    assert renewed.refresh_token not in (None, tokens.refresh_token)
    with pytest.raises(GrantEndedError):
        await client.refresh(tokens.refresh_token)


async def test_names_and_groups_that_only_userinfo_tells_are_read(
    tmp_path: Path, fetch: HttpsFetch
) -> None:
    with running_idp(tmp_path, {"alice": ALICE}, idTokenClaims=False) as idp:
        known = ClientConfig(CLIENT_ID, SECRET, idp.redirect_uri, SCOPES)
        client = OidcClient(idp.issuer, known, fetch, time.time)
        attempt = make_attempt(os.urandom)
        url = await client.build_authorization_url(attempt)
        back = await asyncio.to_thread(idp.sign_in, url, "alice")
        claims, _ = await client.finish(query(back), attempt)
    assert claims.all["preferred_username"] == "alice"
    assert claims.all["groups"] == ["ops", "/teams/shop"]


async def test_a_code_is_good_once_and_with_its_own_verifier(idp: Idp, client: OidcClient) -> None:
    attempt = make_attempt(os.urandom)
    url = await client.build_authorization_url(attempt)
    back = await asyncio.to_thread(idp.sign_in, url, "alice")
    stolen = make_attempt(os.urandom)
    with pytest.raises(OidcError, match="state"):
        await client.finish(query(back), stolen)
    # The thief knows the state as well, and has no verifier.
    with pytest.raises(GrantEndedError):
        await client.finish(query(back), replace(stolen, state=attempt.state))
    claims, _ = await client.finish(query(back), attempt)
    assert claims.subject == "alice"
    with pytest.raises(GrantEndedError):
        await client.finish(query(back), attempt)


async def test_what_the_provider_refuses_is_told(
    idp: Idp, client: OidcClient, fetch: HttpsFetch
) -> None:
    attempt = make_attempt(os.urandom)
    url = await client.build_authorization_url(attempt, [("prompt", "none")])
    back = await asyncio.to_thread(idp.sign_in, url, "alice")
    with pytest.raises(SignInDeniedError, match="login_required"):
        await client.finish(query(back), attempt)
    wrong = ClientConfig(CLIENT_ID, "not it", idp.redirect_uri, SCOPES)
    other = OidcClient(idp.issuer, wrong, fetch, time.time)
    url = await other.build_authorization_url(attempt)
    back = await asyncio.to_thread(idp.sign_in, url, "alice")
    with pytest.raises(OidcError, match=r"invalid_client; check sso\.client_id"):
        await other.finish(query(back), attempt)


async def test_a_provider_that_is_away_is_told_apart(fetch: HttpsFetch) -> None:
    known = ClientConfig(CLIENT_ID, SECRET, "http://127.0.0.1:1/sign-in/sso")
    client = OidcClient("http://127.0.0.1:1", known, fetch, time.time)
    with pytest.raises(UnavailableError, match=r"http://127\.0\.0\.1:1/"):
        await client.build_authorization_url(make_attempt(os.urandom))


@pytest.mark.identity(14)
def test_sso_test_shows_a_whole_sign_in_and_lets_nobody_in(idp: Idp, tmp_path: Path) -> None:
    idp.set_account("alice", ALICE)
    settings = tmp_path / "stagedoor.toml"
    settings.write_text(
        f'data_dir = "{tmp_path}/data"\n'
        + sso_table(idp, tmp_path)
        + 'groups = { "/teams/shop" = "shop" }\n'
    )

    def stagedoor(*words: str) -> str:
        done = subprocess.run([*STAGEDOOR, settings, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    stagedoor("user", "add", "alice", "--no-password", "--group", "staff")
    stagedoor("grant", "add", "group:shop", "app01")
    before = stagedoor("audit", "--json"), stagedoor("sign-in", "list")
    parsed = load_settings(settings)
    levels = [finding.level for finding in check_provider(parsed, parsed.sso[0])]
    assert levels == [Level.OK, Level.OK]
    printed, errors = tried_by_command(settings, idp)
    assert "user    alice\n" in printed
    assert "groups  shop\n" in printed
    assert "left out, by sso.groups and sso.group_prefix: ops" in printed
    assert "group:shop" in printed
    assert "refresh token issued\n" in printed
    assert "hint" not in printed
    assert SECRET not in printed + errors
    assert (stagedoor("audit", "--json"), stagedoor("sign-in", "list")) == before
    assert "alice" in stagedoor("user", "list")
    assert "is refused" not in printed
    idp.set_account("alice", {**ALICE, "preferred_username": "root"})
    printed, _ = tried_by_command(settings, idp)
    assert (
        "root is the name of a system account, so this person's first sign-in is refused" in printed
    )
    assert "stagedoor sso link USER SUBJECT" in printed
    idp.set_account("alice", ALICE)


def tried_by_command(settings: Path, idp: Idp) -> tuple[str, str]:
    """Return the output of `stagedoor sso test` for a sign-in, and its messages meanwhile."""
    with subprocess.Popen(
        [*STAGEDOOR, settings, "sso", "test"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        assert process.stdout is not None
        url = next(line for line in process.stderr if line.startswith("http")).strip()
        process.stdin.write(idp.sign_in(url, "alice") + "\n")
        process.stdin.close()
        printed = process.stdout.read()
        errors = process.stderr.read()
    assert process.returncode == 0, errors
    return printed, errors
