"""Step-up at an identity provider: what it has to say, and about which person."""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.context import WorkerContext
from stagedoor.authn.passes import by_provider
from stagedoor.keys.sealing import SealingKey
from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity
from stagedoor.model.pending_step_up import STEP_UP_OVER, PendingStepUp
from stagedoor.model.policy import Policy, User
from stagedoor.model.source import Source
from stagedoor.oidc.id_token import Claims
from stagedoor.oidc.request import Attempt, Tokens
from stagedoor.settings.settings import Settings
from stagedoor.settings.sso import SingleSignOnSettings
from stagedoor.signin.provider_accounts import ProviderAccounts
from stagedoor.signin.provider_sign_in import (
    ProviderRequest,
    ProviderSignIn,
    ProviderSignIns,
    StepUpResult,
)
from stagedoor.store.database import Database, open_database
from stagedoor.store.policy import load_policy
from stagedoor.store.sign_in import identities, passes, step_ups
from stagedoor.store.sign_in.identities import ProviderAccount
from tests.fixtures.people import sign_in

ISSUER = "https://id.example"
FROM = Source.of("192.0.2.1", 1)


@dataclass
class Provider:
    """Says what the test says; `asked` is with what it was asked."""

    claims: Claims
    asked: dict[str, str]

    async def build_authorization_url(
        self, attempt: Attempt, extra: Iterable[tuple[str, str]] = ()
    ) -> str:
        self.asked = dict(extra)
        return f"{ISSUER}/authorize"

    async def finish(self, parameters: object, attempt: Attempt) -> tuple[Claims, Tokens]:
        return self.claims, Tokens(None)


class Desk:
    def __init__(self, folder: Path, database: Database, **settings: object) -> None:
        secret = folder / "secret"
        secret.write_text("s")
        secret.chmod(0o600)
        sso = SingleSignOnSettings(
            "Company",
            ISSUER,
            "stagedoor",
            secret,
            "https://gw.example/sign-in/sso",
            **settings,  # type: ignore[arg-type]
        )
        self.database = database
        now = time.time()
        everything = {"iat": now, "preferred_username": "carol"}
        self.provider = Provider(Claims(ISSUER, "carol-1", None, now, None, everything), {})
        self.service = ProviderSignIns(
            WorkerContext(Settings(data_dir=folder, sso=(sso,)), database, Policy),
            SealingKey(bytes(32)),
            {"Company": self.provider},  # type: ignore[dict-item]  # it has what is asked for
            os.urandom,
            tuple,
        )
        plain = by_provider(User("carol"), "Company")
        self.carol = sign_in(database, plain, now)

    async def proves(self, **said: object) -> str | None:
        """Why not, or None."""
        self.provider.claims = replace(self.provider.claims, **said)  # type: ignore[arg-type]
        begun = await self.service.begin_step_up(self.carol, "/app/x", FROM)
        assert not isinstance(begun, Denial)
        result = await self.service.finish(begun.sealed_state, [], FROM)
        stepped_up = dict(load_policy(self.database).stepped_up)
        if isinstance(result, Denial):
            assert stepped_up == {}
            return result.message
        assert result == StepUpResult("/app/x")
        assert self.carol.sign_in is not None
        assert list(stepped_up) == [self.carol.sign_in.id]
        return None


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    settings = Settings(data_dir=tmp_path)
    with admin.open_service(settings) as service:
        with service.change("link") as change:
            for name in ("carol", "dave"):
                identities.admit(
                    change.transaction, ProviderAccount(ISSUER, f"{name}-1"), name, 0.0
                )
        opened = open_database(settings.store_location)
        yield opened
        opened.close()


async def test_a_sign_in_that_ends_after_the_proof_requires_another(
    tmp_path: Path, database: Database
) -> None:
    desk = Desk(tmp_path, database)
    service, issued = desk.service, desk.provider.claims.auth_time
    assert issued is not None

    def require_proof() -> float:
        at = time.time()
        with admin.open_service(tmp_path) as changing, changing.change("end") as change:
            identities.require_proof(change.transaction, "carol", at)
        return at

    async def finish(begun: object, auth_time: float | None) -> object:
        assert isinstance(begun, ProviderRequest)
        desk.provider.claims = replace(desk.provider.claims, auth_time=auth_time)
        return await service.finish(begun.sealed_state, [], FROM)

    first = require_proof()
    prompted = await finish(await service.begin("Company", "/", FROM), None)
    second = require_proof()
    again = await finish(prompted, issued - 5)
    with admin.open_service(tmp_path) as changing:
        context = WorkerContext(Settings(data_dir=tmp_path), changing.database, Policy)
        accounts, carol = ProviderAccounts(context, tuple), ProviderAccount(ISSUER, "carol-1")
        await accounts.forget_ended(carol, first)
        assert await accounts.read_ended_at(carol) == second
    assert isinstance(await finish(again, issued), ProviderSignIn)


@pytest.mark.identity(35)
async def test_a_fresh_proof_of_the_same_person_counts(tmp_path: Path, database: Database) -> None:
    desk = Desk(tmp_path, database)
    assert await desk.proves() is None
    assert desk.provider.asked == {"prompt": "login", "max_age": "0"}


async def test_an_old_session_or_silence_is_no_proof(tmp_path: Path, database: Database) -> None:
    desk = Desk(tmp_path, database)
    old = await desk.proves(auth_time=time.time() - 60)
    assert old is not None
    assert "without asking you to authenticate" in old
    silent = await desk.proves(auth_time=None)
    assert silent is not None
    assert "(auth_time)" in silent


@pytest.mark.parametrize("subject", ["dave-1", "nobody-1"])
async def test_somebody_elses_proof_counts_for_nobody(
    tmp_path: Path, database: Database, subject: str
) -> None:
    refused = await Desk(tmp_path, database).proves(subject=subject)
    assert refused is not None
    assert "you are not carol" in refused


async def test_a_weaker_way_than_the_settings_want_is_refused(
    tmp_path: Path, database: Database
) -> None:
    desk = Desk(tmp_path, database, step_up_acr=("phr", "phrh"))
    for acr in (None, "pwd", "phr phrh"):
        refused = await desk.proves(acr=acr)
        assert refused is not None
        assert "sso.step_up_acr" in refused
    assert desk.provider.asked["acr_values"] == "phr phrh"
    assert await desk.proves(acr="phrh") is None


async def test_a_sign_in_that_ended_meanwhile_is_not_proved(
    tmp_path: Path, database: Database
) -> None:
    desk = Desk(tmp_path, database)
    begun = await desk.service.begin_step_up(desk.carol, "/", FROM)
    assert not isinstance(begun, Denial)
    with admin.open_service(tmp_path) as service, service.change("end") as change:
        assert desk.carol.sign_in is not None
        passes.end_sign_in(change.transaction, desk.carol.sign_in.id, "over", time.time())
    assert isinstance(await desk.service.finish(begun.sealed_state, [], FROM), Denial)


async def test_a_terminal_that_no_longer_waits_is_not_proved(
    tmp_path: Path, database: Database
) -> None:
    desk = Desk(tmp_path, database)
    assert desk.carol.sign_in is not None
    now, id_ = time.time(), desk.carol.sign_in.id
    waiting = PendingStepUp("u1", id_, "carol", "shop", "laptop", "192.0.2.1", b"", now, now + 180)
    begun = await desk.service.begin_step_up(desk.carol, "/", FROM, waiting)
    assert not isinstance(begun, Denial)
    refused = await desk.service.finish(begun.sealed_state, [], FROM)
    assert isinstance(refused, Denial)
    assert refused.message == STEP_UP_OVER
    step_ups.add(database, waiting, now, 1)
    assert isinstance(await desk.service.finish(begun.sealed_state, [], FROM), StepUpResult)


async def test_a_provider_that_never_says_when_is_not_offered(
    tmp_path: Path, database: Database
) -> None:
    desk = Desk(tmp_path, database, auth_time=False)
    assert not desk.service.can_prove_presence(desk.carol)
    assert isinstance(await desk.service.begin_step_up(desk.carol, "/", FROM), Denial)
    stranger = Identity(
        "carol", frozenset(), desk.carol.method, "Another", sign_in=desk.carol.sign_in
    )
    assert not desk.service.can_prove_presence(stranger)
