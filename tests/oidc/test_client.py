"""When a provider is asked, and when what is known is good enough."""

import asyncio
import json
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from stagedoor.oidc.client import FetchAnswer, OidcClient
from stagedoor.oidc.errors import OidcError, UnavailableError, UnknownKeyError
from stagedoor.oidc.published import FRESH_S, REFETCH_S, RETRY_S
from stagedoor.oidc.request import Attempt, ClientConfig, FormRequest

ISSUER = "https://id.example"
ATTEMPT = Attempt("state", "nonce", "verifier")
QUERY = [("state", "state"), ("code", "abc")]


class Provider:
    """Answers at once, from values; counts what it was asked."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.asked: list[str] = []
        self.published = self.signs_by = ECKey.generate_key("P-256", {"kid": "one", "use": "sig"})
        self.status = 200
        self.answers = asyncio.Event()
        self.answers.set()

    async def get(self, url: str, bearer: str | None = None) -> FetchAnswer:
        self.asked.append(url)
        await self.answers.wait()
        if self.status == 0:
            raise UnavailableError("away")
        document: dict[str, Any] = {"keys": [self.published.as_dict(private=False)]}
        if url.endswith("/openid-configuration"):
            document = {
                "issuer": ISSUER,
                "authorization_endpoint": f"{ISSUER}/auth",
                "token_endpoint": f"{ISSUER}/token",
                "jwks_uri": f"{ISSUER}/keys",
            }
        return self.status, json.dumps(document).encode()

    async def post(self, form: FormRequest) -> FetchAnswer:
        claims = {
            "iss": ISSUER,
            "aud": "stagedoor",
            "sub": "1",
            "nonce": "nonce",
            "iat": self.now,
            "exp": self.now + 60,
        }
        head = {"alg": "ES256", "kid": self.signs_by.kid}
        token = jwt.encode(head, claims, self.signs_by, algorithms=["ES256"])
        return 200, json.dumps({"id_token": token}).encode()


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def client(provider: Provider) -> OidcClient:
    known = ClientConfig("stagedoor", "secret", "https://shell.example/sign-in/sso")
    return OidcClient(ISSUER, known, provider, lambda: provider.now)


async def test_the_provider_is_asked_once_an_hour(provider: Provider, client: OidcClient) -> None:
    for _ in range(5):
        await client.finish(QUERY, ATTEMPT)
    assert len(provider.asked) == 2
    provider.now += FRESH_S
    await client.finish(QUERY, ATTEMPT)
    assert len(provider.asked) == 4


@pytest.mark.identity(12)
async def test_rotated_keys_are_fetched_and_a_flood_of_unknown_ones_is_not(
    provider: Provider, client: OidcClient
) -> None:
    await client.finish(QUERY, ATTEMPT)
    provider.now += REFETCH_S
    provider.published = provider.signs_by = ECKey.generate_key("P-256", {"kid": "two"})
    await client.finish(QUERY, ATTEMPT)
    provider.signs_by = ECKey.generate_key("P-256", {"kid": "three"})
    asked = len(provider.asked)
    for _ in range(100):
        with pytest.raises(UnknownKeyError):
            await client.finish(QUERY, ATTEMPT)
        provider.now += 1
    # 100 s: at 30, 60 and 90, two documents each time.
    assert len(provider.asked) - asked <= 6


async def test_a_provider_that_goes_away_takes_nothing_that_is_known_along(
    provider: Provider, client: OidcClient
) -> None:
    await client.finish(QUERY, ATTEMPT)
    provider.now += FRESH_S
    for status in (0, 503):
        provider.status = status
        await client.finish(QUERY, ATTEMPT)
        provider.now += RETRY_S
    provider.status = 404
    with pytest.raises(OidcError, match=r"answered 404; check sso\.issuer"):
        await client.finish(QUERY, ATTEMPT)


@pytest.mark.identity(12)
async def test_all_who_wait_for_the_keys_share_one_fetch_whoever_is_cancelled(
    provider: Provider, client: OidcClient
) -> None:
    provider.answers.clear()
    waiting = [asyncio.create_task(client.finish(QUERY, ATTEMPT)) for _ in range(60)]
    while not provider.asked:
        await asyncio.sleep(0)
    for task in waiting[:30]:
        task.cancel()
    await asyncio.wait(waiting[:30])
    assert len(provider.asked) == 1
    provider.answers.set()
    results = await asyncio.gather(*waiting[30:])
    assert {claims.subject for claims, _ in results} == {"1"}
    assert len(provider.asked) == 2


async def test_after_a_fetch_that_failed_all_fail_at_once_for_some_seconds(
    provider: Provider, client: OidcClient
) -> None:
    provider.status = 0
    for _ in range(60):
        with pytest.raises(UnavailableError, match="away"):
            await client.finish(QUERY, ATTEMPT)
    assert len(provider.asked) == 1
    provider.status = 200
    provider.now += RETRY_S
    await client.finish(QUERY, ATTEMPT)
    # What is known goes on at once as well, where it is old and the provider is away.
    provider.now += FRESH_S
    provider.status = 0
    asked = len(provider.asked)
    for _ in range(60):
        await client.finish(QUERY, ATTEMPT)
    assert len(provider.asked) - asked == 1
