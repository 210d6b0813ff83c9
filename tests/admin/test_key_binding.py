"""Keys that wait for their person: those that begin while the store is asked, those that go, and too many."""

import asyncio
from collections.abc import Collection, Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from threading import Event

import pytest

from stagedoor.admin.context import WorkerContext
from stagedoor.model.credential import UnknownKey
from stagedoor.model.denial import Denial
from stagedoor.model.pending_login import LoginState, PendingLogin
from stagedoor.model.policy import Policy
from stagedoor.model.source import Source
from stagedoor.settings.settings import Settings
from stagedoor.settings.sso import SingleSignOnSettings
from stagedoor.signin.login import ssh_sign_ins
from stagedoor.signin.login.ssh_sign_ins import KeyBinding
from stagedoor.signin.source_limit import START_RATE
from stagedoor.store.database import Database, open_database
from stagedoor.store.sign_in import pending_logins
from tests.waiting import BOUND_S, until

COMPANY = SingleSignOnSettings(
    name="Company",
    issuer="https://id.example",
    client_id="stagedoor",
    client_secret_file=Path("secret"),
    redirect_uri="https://shell.example/path/sign-in/sso",
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = open_database(tmp_path / "store.db")
    yield made
    made.close()


@pytest.fixture
def binding(tmp_path: Path, database: Database) -> KeyBinding:
    settings = Settings(data_dir=tmp_path, sso=(COMPANY,))
    return KeyBinding(WorkerContext(settings, database, Policy))


def key(number: int = 1) -> UnknownKey:
    source = Source(ip_address(f"192.0.2.{number}"), 40000)
    return UnknownKey("app01", f"ssh-ed25519 {number}", f"SHA256:{number}", source)


class Held:
    """One that waits; `said` is what was shown."""

    def __init__(self, binding: KeyBinding, number: int) -> None:
        self.said = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(binding.bind(key(number), None, self.said.set_result))

    async def login(self) -> str:
        """Its id, from the address."""
        async with asyncio.timeout(BOUND_S):
            said: str = await self.said
        assert "https://shell.example/path/login/" in said
        return said.split("/login/")[1].split()[0]


def state(database: Database, id_: str) -> LoginState:
    login = pending_logins.find(database, id_)
    assert login is not None
    return login.state


async def test_one_that_begins_while_the_store_is_asked_goes_on_waiting(
    binding: KeyBinding, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking, go_on = asyncio.Event(), Event()
    loop, find_answered = asyncio.get_running_loop(), pending_logins.find_answered
    asked: list[Collection[str]] = []

    def slow(database: Database, ids: Collection[str]) -> dict[str, PendingLogin | None]:
        asked.append(tuple(ids))
        loop.call_soon_threadsafe(asking.set)
        go_on.wait(BOUND_S)
        return find_answered(database, ids)

    monkeypatch.setattr(pending_logins, "find_answered", slow)
    first = Held(binding, 1)
    await first.login()
    await asyncio.wait_for(asking.wait(), BOUND_S)
    second = Held(binding, 2)
    id_ = await second.login()
    assert asked == [asked[0]]
    assert id_ not in asked[0]
    go_on.set()
    await until(lambda: any(id_ in ids for ids in asked))
    assert not second.task.done()
    for browser in (first, second):
        browser.task.cancel()
    await asyncio.gather(first.task, second.task, return_exceptions=True)


async def test_of_one_whose_ssh_went_the_page_says_that_it_is_over(
    binding: KeyBinding, database: Database
) -> None:
    one = Held(binding, 1)
    id_ = await one.login()
    assert state(database, id_) is LoginState.WAITING
    one.task.cancel()
    await until(lambda: state(database, id_) is LoginState.DENIED)


async def test_an_approval_that_comes_too_late_is_denied(
    binding: KeyBinding, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_sign_ins, "POLL_INTERVAL_S", BOUND_S)
    one = Held(binding, 1)
    id_ = await one.login()
    login = pending_logins.find(database, id_)
    assert login is not None
    with database.write() as transaction:
        approved = replace(login, state=LoginState.APPROVED)
        assert pending_logins.change(transaction, login, approved)
    one.task.cancel()
    await until(lambda: state(database, id_) is LoginState.DENIED)


@pytest.mark.identity(19)
async def test_a_source_makes_only_so_many_rows(tmp_path: Path, database: Database) -> None:
    """The clock stands still: on a slow machine a further one would come to be allowed meanwhile."""
    settings = Settings(data_dir=tmp_path, sso=(COMPANY,))
    binding = KeyBinding(WorkerContext(settings, database, Policy, lambda: 1_800_000_000.0))

    def show(_: str) -> None:
        raise ConnectionError  # ssh went before it was shown

    outcomes = []
    for _ in range(START_RATE.burst + 1):
        outcomes += await asyncio.gather(binding.bind(key(1), None, show), return_exceptions=True)
    assert sum(isinstance(outcome, ConnectionError) for outcome in outcomes) == START_RATE.burst
    [denial] = [outcome for outcome in outcomes if isinstance(outcome, Denial)]
    assert "too many unknown keys come from your address" in denial.message
    other = Held(binding, 2)
    await other.login()
    other.task.cancel()
