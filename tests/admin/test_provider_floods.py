"""Floods by strangers at single sign-on: they take no place of other providers, and none of revocation."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.source import Source
from stagedoor.net.https import ANSWER_LIMIT_S, MAX_CONCURRENT
from stagedoor.oidc.client import OidcClient
from stagedoor.oidc.errors import UnavailableError
from stagedoor.oidc.published import RETRY_S
from stagedoor.signin import provider_logout
from tests.admin.provider_services import ProviderServices, all_cancelled, provider_services
from tests.logs import log_lines_of
from tests.oidc.fake import DISCOVERY, GONE, FakeProvider, running_fake
from tests.pace import allow
from tests.waiting import until

STRANGER = Source.of("198.51.100.7", 1)


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[ProviderServices]:
    async with running_fake() as good, running_fake() as other:
        other.subject = "dave-1"
        with provider_services(tmp_path, Good=good, Other=other) as opened:
            yield opened


def flood(services: ProviderServices, times: int, sources: int = 1) -> "list[asyncio.Task[object]]":
    """Send logout tokens in the name of `Other` that it has not signed."""
    other, stranger = services.providers["Other"], ECKey.generate_key("P-256", {"kid": "stranger"})
    token = other.logout_token(stranger)
    return [
        asyncio.create_task(
            services.logout.log_out(token, Source.of(f"198.51.{number % sources}.7", 1))
        )
        for number in range(times)
    ]


async def until_asked(provider: FakeProvider, what: str, times: int = 1) -> None:
    await until(lambda: provider.asked[what] >= times)


async def sign_in_soon(services: ProviderServices, name: str) -> None:
    """Sign in as an honest person; a flood must not delay that by more than a second."""
    async with asyncio.timeout(allow(1)):
        await services.sign_in(name)


@pytest.mark.identity(43)
@pytest.mark.parametrize("sources", [1, 100])
async def test_logout_tokens_for_a_silent_provider_leave_the_others_working(
    services: ProviderServices, sources: int
) -> None:
    other = services.providers["Other"]
    other.silent = frozenset({DISCOVERY})
    tasks = flood(services, 1000, sources)
    await until_asked(other, DISCOVERY)
    await sign_in_soon(services, "Good")
    assert other.asked.total() == 1
    answers = [task.result() for task in tasks if task.done()]
    assert len(answers) == (950 if sources == 1 else 0)
    assert all(
        isinstance(answer, Denial) and answer.reason is Reason.THROTTLED for answer in answers
    )
    await all_cancelled(tasks)
    # Afterwards both work, and a logout of the provider's own ends its sign-in.
    other.speak()
    await sign_in_soon(services, "Good")
    await sign_in_soon(services, "Other")
    assert await services.logout.log_out(other.logout_token(), STRANGER) is None
    assert [record.sign_in.name for record in services.lasting()] == ["carol", "carol"]


@pytest.mark.identity(43)
@pytest.mark.parametrize("sources", [1, 100])
async def test_logout_tokens_for_a_slow_provider_leave_the_others_working(
    services: ProviderServices, sources: int
) -> None:
    other = services.providers["Other"]
    other.slow_s = 0.5
    tasks = flood(services, 1000, sources)
    while not all(task.done() for task in tasks):
        await sign_in_soon(services, "Good")
    assert other.asked == {DISCOVERY: 1, "/keys": 1}
    await sign_in_soon(services, "Good")
    other.slow_s = 0.0
    await sign_in_soon(services, "Other")


async def test_unsigned_logout_tokens_make_the_gateway_ask_once_and_are_counted(
    services: ProviderServices,
) -> None:
    other = services.providers["Other"]
    await services.sign_in("Other")
    services.skew_s += 60
    answers = await asyncio.gather(*flood(services, 100))
    assert [outcome.reason for outcome in answers if isinstance(outcome, Denial)] == [
        *[Reason.BAD_REQUEST] * 50,
        *[Reason.THROTTLED] * 50,
    ]
    assert other.asked["/keys"] == 2
    # The provider itself, at another address, is heard; and right tokens do not count.
    for number in range(60):
        token = other.logout_token(id_=str(number))
        assert await services.logout.log_out(token, Source.of("192.0.2.9", 1)) is None
    assert services.lasting() == []


async def test_whoever_is_gone_is_put_out_while_sign_ins_hang(services: ProviderServices) -> None:
    """Strangers from many addresses come back with codes that they made up, and the provider is slow."""
    other = services.providers["Other"]
    await services.sign_in("Other")
    other.silent = frozenset({"authorization_code"})
    hanging = []
    for number in range(40):
        source = Source.of(f"203.0.{number}.1", 1)
        kept, query = await services.begin("Other", source)
        hanging.append(asyncio.create_task(services.sign_ins.finish(kept, query, source)))
    await until_asked(other, "authorization_code", MAX_CONCURRENT)
    other.refresh = GONE["invalid_grant"]
    async with asyncio.timeout(ANSWER_LIMIT_S / 2):  # before any of them is given up
        await services.refresh_all()
    assert services.lasting() == []
    await all_cancelled([*hanging])


async def test_a_provider_that_failed_is_asked_again_after_some_seconds(
    services: ProviderServices,
) -> None:
    other = services.providers["Other"]
    port, other.port = other.port, 0  # the discovery document is of another issuer
    for _ in range(10):
        answer = await services.sign_ins.begin("Other", "/", STRANGER)
        assert isinstance(answer, Denial)
    assert other.asked[DISCOVERY] == 1
    other.port = port
    services.skew_s += RETRY_S
    await services.sign_in("Other")


async def test_a_logout_token_of_a_provider_that_is_away_is_sent_again(
    services: ProviderServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = services.providers["Other"].logout_token()

    async def read_logout(_client: OidcClient, _token: str) -> None:
        raise UnavailableError("no answer")

    monkeypatch.setattr(OidcClient, "read_logout", read_logout)
    with log_lines_of(provider_logout) as logged:
        refused = await services.logout.log_out(token, STRANGER)
    assert isinstance(refused, Denial)
    assert refused.reason is Reason.UPSTREAM_TIMEOUT
    assert refused.line == "the keys of Other cannot be read now; send the logout token again"
    [line] = logged
    assert (line["event"], line["why"]) == ("logout token refused", "no answer")
