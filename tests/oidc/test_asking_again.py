"""Two gateways that share a store ask a real provider again, which rotates its tokens and punishes reuse."""

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from stagedoor.admin.context import WorkerContext
from stagedoor.admin.service import open_service
from stagedoor.keys.sealing import SealingKey
from stagedoor.model.denial import Denial
from stagedoor.model.policy import Policy
from stagedoor.model.source import Source
from stagedoor.model.units import DAY_S
from stagedoor.settings.file import load_settings
from stagedoor.settings.settings import Settings
from stagedoor.signin.provider_sign_in import ProviderSignIn, ProviderSignIns
from stagedoor.signin.providers import open_clients
from stagedoor.signin.refresh import RefreshService
from stagedoor.store.database import open_database
from stagedoor.store.sign_in.provider_answers import list_due
from tests.fixtures.people import open_session
from tests.oidc.idp import Idp, running_idp, sso_table

REFRESH_S = 3 * 3600.0
CAROL = {"preferred_username": "carol", "groups": ["a"]}


@pytest.fixture(scope="module")
def idp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Idp]:
    with running_idp(tmp_path_factory.mktemp("idp"), {"carol-1": CAROL}) as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, idp: Idp) -> Settings:
    file = tmp_path / "stagedoor.toml"
    file.write_text(
        f'data_dir = "{tmp_path}/data"\n'
        + sso_table(idp, tmp_path)
        + f'group_prefix = "idp-"\nrefresh_s = {REFRESH_S}\nstale_s = {REFRESH_S}\n'
    )
    return load_settings(file)


FROM = Source.of("192.0.2.1", 1)


@pytest.mark.identity(33)
async def test_a_week_of_two_gateways_loses_no_token(idp: Idp, settings: Settings) -> None:
    """Some seconds: the provider is asked 70 times."""
    key = SealingKey(os.urandom(32))
    with open_service(settings):
        pass
    databases = [open_database(settings.store_location) for _ in range(2)]
    fast = [time.time()]
    [provider] = settings.sso
    gateways = []
    for database in databases:
        # Tokens are of the provider's time, and turns of ours.
        clients = open_clients(settings, time.time)
        context = WorkerContext(settings, database, Policy)
        sign_ins = ProviderSignIns(context, key, clients.signing_in, os.urandom, tuple)
        context = replace(context, now=lambda: fast[0])
        gateways.append((sign_ins, RefreshService(context, key, clients.refreshing)))
    begun = await gateways[0][0].begin("Company", "/", FROM)
    assert not isinstance(begun, Denial)
    back = await asyncio.to_thread(idp.sign_in, begun.url, "carol-1")
    finished = await gateways[1][0].finish(
        begun.sealed_state, parse_qsl(urlsplit(back).query), FROM
    )
    assert isinstance(finished, ProviderSignIn)
    fast[0] = time.time()
    open_session(
        databases[0],
        finished.identity,
        fast[0],
        answer=finished.answer,
        session_s=9 * DAY_S,
        session_max_s=9 * DAY_S,
    )

    asked = 0
    for _ in range(70):
        fast[0] += REFRESH_S
        # Both look at the same moment: one asks.
        rounds = await asyncio.gather(*(gateway.refresh_due(provider) for _, gateway in gateways))
        assert sum(rounds) == 1
        asked += 1
    assert list_due(databases[0], ["Company"], fast[0], 10) == []
    [left] = list_due(databases[1], ["Company"], fast[0] + REFRESH_S, 10)
    assert (left.user, left.failures) == ("carol", 0)
    assert asked * REFRESH_S > 7 * DAY_S
    for database in databases:
        database.close()
