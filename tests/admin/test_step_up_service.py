"""Terminals that wait for a proof: whose, how many, and by which letters."""

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.admin import service as admin
from stagedoor.admin.context import WorkerContext
from stagedoor.model.denial import Denial
from stagedoor.model.errors import RefusedError
from stagedoor.model.identity import Identity, Method
from stagedoor.model.letters import LETTERS, hash_letters
from stagedoor.model.pending_login import TRIES
from stagedoor.model.pending_step_up import STEP_UP_PENDING_S, PendingStepUp, is_open, try_letters
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.settings.settings import Settings
from stagedoor.settings.web import WebSettings
from stagedoor.signin.step_up import MAX_WAITING, StepUpService
from stagedoor.store.database import Database, open_database
from stagedoor.store.policy import load_policy
from tests.fixtures.people import sign_in

NOW = 1_800_000_000.0
SOURCE = Source(ip_address("192.0.2.1"), 40000)
TARGET = Target("shop", "production")
WAITING = PendingStepUp(
    "u1",
    bytes(32),
    "dev",
    "shop",
    "laptop",
    "192.0.2.1",
    hash_letters("u1", "BCDF-GHJK"),
    NOW,
    NOW + 180,
)


@given(st.text(max_size=12) | st.text(LETTERS, min_size=8, max_size=8))
def test_no_other_letters_are_right_and_each_costs_a_try(letters: str) -> None:
    right, after = try_letters(WAITING, letters)
    plain = "".join(letters.split()).replace("-", "").upper()
    assert right == (plain == "BCDFGHJK")
    assert after.tries_left == (TRIES if right else TRIES - 1)


def test_after_the_last_try_the_right_letters_are_worth_nothing() -> None:
    spent = replace(WAITING, tries_left=0)
    assert not is_open(spent, "dev", NOW)
    with pytest.raises(RefusedError):
        try_letters(spent, "BCDF-GHJK")


def test_it_is_one_users_and_for_a_while() -> None:
    assert is_open(WAITING, "dev", NOW)
    assert not is_open(WAITING, "other", NOW)
    assert not is_open(WAITING, "dev", NOW + 180)
    assert not is_open(None, "dev", NOW)


class Desk:
    def __init__(self, folder: Path, database: Database) -> None:
        self.database = database
        self.now = time.time()
        web = WebSettings(addresses=("127.0.0.1:1",), public_url="https://gw.example/below")
        settings = Settings(data_dir=folder, web=web)
        self.policy = load_policy(database)
        self.waits = StepUpService(
            WorkerContext(settings, database, lambda: self.policy, lambda: self.now)
        )

    def signed_in(self) -> Identity:
        plain = Identity("dev", frozenset(), Method.PASSWORD)
        return sign_in(self.database, plain, self.now)

    async def issue(self, identity: Identity) -> tuple[str, str]:
        """The id and the letters."""
        answer = await self.waits.begin(identity, TARGET, SOURCE)
        match = re.fullmatch(
            r"open https://gw\.example/below/step-up/(\S+) and type (\S+) there, within 3 min",
            answer or "",
        )
        assert match is not None, answer
        return match[1], match[2]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with admin.open_service(tmp_path) as service:
        admin.add_user(service, "dev")
        database = open_database(Settings(data_dir=tmp_path).store_location)
        yield Desk(tmp_path, database)
        database.close()


@pytest.mark.identity(35)
async def test_fifty_hosts_have_one_address_and_another_sign_in_has_another(desk: Desk) -> None:
    mine, other = desk.signed_in(), desk.signed_in()
    answers = set(await asyncio.gather(*(desk.issue(mine) for _ in range(50))))
    assert len(answers) == 1
    assert await desk.issue(other) not in answers
    desk.now += STEP_UP_PENDING_S - 30
    assert await desk.issue(mine) not in answers, "too little of its time is left"


async def test_a_step_up_that_is_done_is_not_used_again(desk: Desk) -> None:
    mine = desk.signed_in()
    done = await desk.issue(mine)
    assert mine.sign_in is not None
    desk.policy = replace(desk.policy, stepped_up={mine.sign_in.id: desk.now})
    desk.now += 75
    assert await desk.issue(mine) != done


async def test_letters_that_were_typed_wrong_too_often_are_shown_to_nobody(desk: Desk) -> None:
    dev = desk.signed_in()
    id_, letters = await desk.issue(dev)
    for _ in range(TRIES):
        assert isinstance(await desk.waits.check(dev, id_, "BBBBBBBB"), Denial)
    assert isinstance(await desk.waits.check(dev, id_, letters), Denial)
    another, right = await desk.issue(dev)
    assert another != id_
    answer = await desk.waits.check(dev, another, right.lower())
    assert isinstance(answer, PendingStepUp)
    assert dev.sign_in is not None
    assert answer.sign_in == dev.sign_in.id


async def test_who_has_no_sign_in_has_nothing_to_wait_for(desk: Desk) -> None:
    token = Identity("dev", frozenset(), Method.TOKEN, "t1")
    assert await desk.waits.begin(token, TARGET, SOURCE) is None


def test_so_many_of_one_sign_in_wait_and_no_more(desk: Desk) -> None:
    mine, other = desk.signed_in(), desk.signed_in()
    blocks = [desk.waits.count_waiting(mine) for _ in range(MAX_WAITING + 1)]
    assert [block.__enter__() for block in blocks] == [True] * MAX_WAITING + [False]
    with desk.waits.count_waiting(other) as allowed:
        assert allowed
    for block in blocks:
        block.__exit__(None, None, None)
    with desk.waits.count_waiting(mine) as allowed:
        assert allowed
