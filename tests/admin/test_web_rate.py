"""One user's load from the web on every worker: so much and no more, but give up all that they have."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from stagedoor.admin import service as admin
from stagedoor.admin.context import CHANGES, WorkerContext
from stagedoor.admin.presence import PresenceService
from stagedoor.keys.files import make_key
from stagedoor.keys.signing import sign
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.policy import Policy
from stagedoor.model.target import Target
from stagedoor.settings.settings import Settings
from stagedoor.signin.credentials import AccountState, CredentialService
from stagedoor.signin.key_proof import NAMESPACE, make_line_to_sign
from stagedoor.signin.passes import PassService
from stagedoor.store.database import Database, open_database
from stagedoor.store.policy import load_policy
from stagedoor.wire.target import parse_login

ANN = Identity("ann", frozenset(), Method.PASSWORD, sign_in=SignIn(b"a" * 32, 0))
HOST = "gw.example"


class Web:
    """The web's adapters over one store."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.database = database
        self.now = 0.0
        context = WorkerContext(settings, database, self.policy, monotonic=lambda: self.now)
        self.account = CredentialService(context, lambda line: None)
        self.presence = PresenceService(context)
        self.passes = PassService(context, lambda verdict: verdict())

    def policy(self) -> Policy:
        return load_policy(self.database)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    settings = Settings(data_dir=tmp_path)
    with admin.open_service(settings) as service:
        admin.add_user(service, "ann")
        database = open_database(settings.store_location)
        yield Web(settings, database)
        database.close()


async def test_keys_are_added_at_a_rate_and_removed_at_any(web: Web) -> None:
    made = []
    for _ in range(2 * CHANGES.burst):
        shown, _ = sign(make_key(), f"{make_line_to_sign(ANN, HOST)}\n", NAMESPACE)
        denial = await web.account.add_key(ANN, HOST, shown, "", proved=False)
        if denial is not None:
            break
        made.append(shown)
    assert len(made) == CHANGES.burst
    assert denial is not None
    assert (denial.reason, denial.retry_after_s) == (Reason.THROTTLED, 1)
    assert "60 changes" in denial.message
    held = await web.account.read_account(ANN)
    assert isinstance(held, AccountState)
    for key in held.keys:
        assert await web.account.remove_key(ANN, key.fingerprint) is None
    assert not web.policy().keys
    web.now += 1.0
    assert await web.account.add_key(ANN, HOST, made[0], "", proved=False) is None


async def test_sign_ins_are_made_at_a_rate_and_ended_at_any(web: Web) -> None:
    secrets = []
    while isinstance(secret := await web.passes.open_session(ANN), str):
        secrets.append(secret)
        assert len(secrets) <= CHANGES.burst
    assert secret.reason is Reason.THROTTLED
    for held_secret in secrets:
        assert await web.passes.sign_out(held_secret) is None
    assert len(web.policy().signed_out) == len(secrets) == CHANGES.burst
    assert isinstance(await web.passes.issue_ticket(ANN, Target("app01")), str), "one each terminal"


async def test_shares_count_too(web: Web) -> None:
    target = parse_login("app01")
    assert target is not None
    for _ in range(2 * CHANGES.burst):
        made = await web.presence.share(ANN, target, "main", 60.0, typing=False)
        if isinstance(made, Denial):
            break
        assert await web.presence.end_share(ANN, made[0].id) is None
    assert isinstance(made, Denial)
    assert made.reason is Reason.THROTTLED


async def test_what_is_not_there_takes_no_lock_from_those_who_log_in(web: Web) -> None:
    """Strangers can ask for links that were never made, as often as they like."""
    begun: list[str] = []

    @event.listens_for(web.database._adapter.reading, "begin")  # type: ignore[attr-defined]
    def begin(connection: object) -> None:
        options = connection.get_execution_options()  # type: ignore[attr-defined]
        begun.append("write" if options.get("stagedoor_writes") else "read")

    assert isinstance(await web.passes.use_link("guessed"), Denial)
    assert await web.presence.end_share(ANN, "guessed") is not None
    assert await web.account.remove_key(ANN, "SHA256:guessed") is not None
    assert await web.passes.sign_out("guessed") is None
    assert "write" not in begun
