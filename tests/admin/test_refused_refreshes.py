"""People that the provider or an administrator has removed: what the answer to a refresh then ends."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from stagedoor.admin.service import open_service
from stagedoor.model.identity import Identity, Method
from stagedoor.model.webpass import ProviderAnswer
from stagedoor.oidc.refresh import RETRY_S
from stagedoor.signin import refresh
from stagedoor.signin.provider_accounts import unlink_account
from stagedoor.signin.provider_states import list_states
from stagedoor.store.policy import load_policy
from stagedoor.store.sign_in import provider_answers as answers
from tests.admin.provider_services import ProviderServices, provider_services
from tests.fixtures.people import open_session
from tests.logs import log_lines_of
from tests.oidc.fake import GONE, FakeProvider, running_fake


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[ProviderServices]:
    async with running_fake() as provider:
        with provider_services(tmp_path, Company=provider) as opened:
            yield opened


@pytest.fixture
def company(services: ProviderServices) -> FakeProvider:
    return services.providers["Company"]


@pytest.mark.identity(29)
@pytest.mark.parametrize("provider", ["dex", "canaille"])
async def test_a_refusal_ends_the_sign_in_when_it_comes_twice(
    services: ProviderServices, company: FakeProvider, provider: str
) -> None:
    await services.sign_in("Company")
    company.refresh = GONE[provider]
    await services.refresh_all()
    [record] = services.lasting()
    assert record.failure == "the token endpoint answered 400, invalid_request"
    assert record.failed_at is not None
    assert record.sign_in.answered_at is not None
    assert record.failed_at > record.sign_in.answered_at
    [state] = list_states(["Company"], services.lasting())
    assert state.is_failing
    assert "1 sign-in, last confirmed" in str(state)
    assert "for 1 of them: the token endpoint answered 400, invalid_request" in str(state)
    await services.refresh_all(RETRY_S)
    assert services.lasting() == []


@pytest.mark.identity(29)
@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (400, {"error": "temporarily_unavailable"}),
        (401, {"error": "invalid_client"}),
        (400, {"error": "unauthorized_client"}),
        (403, "no object, as of a proxy"),
        (429, {"error": "slow_down"}),
        (500, {"error": "invalid_request"}),
        (503, {}),
    ],
)
async def test_what_says_nothing_of_the_person_ends_nothing(
    services: ProviderServices, company: FakeProvider, status: int, answer: object
) -> None:
    await services.sign_in("Company")
    company.refresh = status, answer
    for _ in range(4):
        await services.refresh_all()
    [record] = services.lasting()
    assert str(status) in (record.failure or "")
    company.refresh = None
    await services.refresh_all()
    [record] = services.lasting()
    assert (record.failure, record.failed_at) == (None, None)
    # And what was said before then does not count as one of two in a row.
    company.refresh = GONE["dex"]
    await services.refresh_all()
    assert len(services.lasting()) == 1


@pytest.mark.identity(29)
async def test_a_failure_ends_the_sign_in_of_a_person_if_others_are_answered_meanwhile(
    services: ProviderServices, company: FakeProvider
) -> None:
    """Dex's answer for a person that its connector does not find, and where the connector is away."""
    await services.sign_in("Company")
    company.subject = "dave-1"
    await services.sign_in("Company")
    company.gone = {"carol-1": GONE["dex-connector"], "dave-1": GONE["dex-connector"]}
    for _ in range(4):
        await services.refresh_all()
    assert len(services.lasting()) == 2, "the connector is away: it fails for all"
    del company.gone["dave-1"]
    await services.refresh_all()
    assert [record.sign_in.name for record in services.lasting()] == ["dave"]


@pytest.mark.identity(29)
async def test_sign_ins_that_another_key_sealed_do_not_hold_up_the_others(
    services: ProviderServices, company: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are the longest overdue, and more than one read takes."""
    monkeypatch.setattr(refresh, "MAX_READ", 2)
    monkeypatch.setattr(refresh, "MAX_PAGES", 2)
    now = services.clock()
    answer = ProviderAnswer("Company", company.issuer, "carol-1", None, None, now, "sealed", now)
    await services.sign_in("Company")
    carol = Identity("carol", frozenset(), Method.SSO, "Company")
    for number in range(7):
        sealed = replace(answer, refresh_token=f"sealed {number}")
        open_session(services.database, carol, now, answer=sealed)
    company.refresh = GONE["invalid_grant"]
    with log_lines_of(refresh) as logged:
        await services.refresh_all()
        assert len(services.lasting()) == 8, "four of them were read"
        await services.refresh_all(0)
        assert len(services.lasting()) == 7
    [begun] = [line for line in logged if "problem" in line]
    assert (begun["event"], begun["problem"]) == ("identity provider problem", "sealing key")
    for record in services.lasting():
        with services.database.write() as transaction:
            answers.forget(transaction, [record.sign_in.id])
    with log_lines_of(refresh) as logged:
        await services.refresh_all(0)
        await services.refresh_all(0)
    [over] = logged
    assert (over["event"], over["was"]) == ("identity provider problem is over", begun["why"])


async def test_an_unlinked_account_has_no_sign_in_left_by_any_table_of_its_provider(
    tmp_path: Path,
) -> None:
    async with running_fake() as fake:
        with provider_services(tmp_path, Company=fake, Admins=fake) as services:
            for name in services.providers:
                await services.sign_in(name)
            assert len(services.lasting()) == 2
            with open_service(services.settings) as service:
                provider = services.settings.sso[0]
                assert unlink_account(service, provider, fake.subject) == "carol"
            assert services.lasting() == []
            await services.refresh_all()
            assert load_policy(services.database).users["carol"].groups == frozenset()
