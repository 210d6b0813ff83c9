"""Answers of identity providers about sign-ins, on every kind of store: one at a time asks again."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from stagedoor.model.errors import NotFoundError
from stagedoor.model.identity import Identity, Method
from stagedoor.model.webpass import ProviderAnswer, WebSession
from stagedoor.store import people
from stagedoor.store.database import Database
from stagedoor.store.policy import load_policy
from stagedoor.store.sign_in import passes
from stagedoor.store.sign_in import provider_answers as answers
from stagedoor.store.sign_in.provider_answers import RefreshCandidate
from tests.fixtures.people import open_session
from tests.store.sample import change

NOW = 1_700_000_000.0
ANSWER = ProviderAnswer("Company", "https://id.example", "1", "sid", None, NOW, "sealed", NOW + 600)
CAROL = Identity("carol", frozenset(), Method.SSO, "Company")


@pytest.fixture(autouse=True)
def carol(database: Database) -> None:
    with database.write() as transaction:
        people.add_user(transaction, "carol", frozenset(), None, NOW)


def signed_in(database: Database, answer: ProviderAnswer = ANSWER) -> str:
    return open_session(database, CAROL, NOW, source="192.0.2.1", answer=answer)[0]


def due(database: Database, now: float = NOW + 600) -> list[RefreshCandidate]:
    return answers.list_due(database, ["Company"], now, 100)


def test_one_asks_at_a_time_and_a_dead_one_is_followed(database: Database) -> None:
    signed_in(database)
    assert due(database, NOW + 599) == []
    assert answers.list_due(database, ["Other"], NOW + 600, 100) == []
    wanted = due(database)
    assert [refresh.user for refresh in wanted] == ["carol"]
    with ThreadPoolExecutor(8) as threads:
        taken = list(
            threads.map(lambda _: answers.take_turns(database, wanted, NOW + 660), range(8))
        )
    [mine] = [entry for event in taken for entry in event]
    assert due(database) == []
    # It died: another follows, and what the dead one would write is dropped, but for the token.
    [second] = answers.take_turns(database, due(database, NOW + 660), NOW + 720)
    with database.write() as transaction:
        assert not answers.settle(transaction, mine, ask_at=NOW + 9999, failures=0)
    answers.rotate_token(database, second, "sealed again")
    with database.write() as transaction:
        answers.settle(transaction, second, ask_at=NOW + 1300, failures=2, answered_at=NOW + 700)
    [third] = due(database, NOW + 1300)
    assert (third.refresh_token, third.failures) == ("sealed again", 2)


def test_the_sign_ins_that_are_due_are_listed_in_pages(database: Database) -> None:
    for ask_at in (NOW + 2, NOW + 1, NOW + 1, NOW + 1):
        signed_in(database, replace(ANSWER, ask_at=ask_at))
    pages, after = [], None
    while page := answers.list_due(database, ["Company"], NOW + 2, 2, after):
        pages += page
        after = page[-1].place
    assert pages == due(database)
    assert [refresh.turn for refresh in pages] == [NOW + 1] * 3 + [NOW + 2]


def test_a_turn_is_not_taken_with_a_token_that_was_rotated_meanwhile(database: Database) -> None:
    signed_in(database)
    wanted = due(database)
    answers.rotate_token(database, wanted[0], "sealed again")
    assert answers.take_turns(database, wanted, NOW + 660) == []


def test_a_sign_in_that_is_over_is_asked_about_no_more(database: Database) -> None:
    secret = signed_in(database)
    shown = passes.find(database, WebSession, secret)
    assert shown is not None
    assert (shown.answered_at, shown.source, shown.opened_at) == (NOW, "192.0.2.1", NOW)
    with change(database, "end") as c:
        passes.end_sign_in(c.transaction, shown.id, "Company ended it", NOW)
    assert due(database) == []
    policy = load_policy(database)
    assert policy.explain_sign_in_end("carol", shown.sign_in, NOW) == "Company ended it"
    with pytest.raises(NotFoundError), change(database, "end") as c:
        passes.end_sign_in(c.transaction, shown.id, "twice", NOW)
    # One whose provider gave no token lasts as it is.
    silent = signed_in(database, replace(ANSWER, refresh_token=None, ask_at=None))
    identity = passes.find(database, WebSession, silent)
    assert identity is not None
    assert identity.answered_at is None
    assert due(database) == []


def test_a_logout_names_a_session_or_everything_of_a_person(database: Database) -> None:
    signed_in(database)
    signed_in(database, replace(ANSWER, session_id="other"))
    signed_in(database, replace(ANSWER, subject="2"))
    signed_in(database, replace(ANSWER, issuer="https://other.example"))
    with database.read() as transaction:

        def named(subject: str | None, session_id: str | None) -> int:
            return len(
                answers.find_sign_ins(transaction, "https://id.example", subject, session_id)
            )

        assert named("1", "sid") == 1
        assert named(None, "sid") == 2
        assert named("1", None) == 2
        assert named("3", "sid") == 0


def test_a_logout_token_is_used_once(database: Database) -> None:
    def use(now: float) -> bool:
        with database.write() as transaction:
            return answers.use_logout_token(transaction, b"t" * 32, now + 60, now)

    assert use(NOW)
    assert not use(NOW + 1)
    assert use(NOW + 70)
