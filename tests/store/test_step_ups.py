"""Proofs of presence, as they are kept and as workers hear of them."""

import time

import pytest

from stagedoor.authn.passes import Lifetimes, create_link
from stagedoor.model.errors import NotFoundError
from stagedoor.model.identity import Identity, Method
from stagedoor.store import people
from stagedoor.store.database import Database
from stagedoor.store.policy import load_policy, read_changes
from stagedoor.store.sign_in import passes
from tests.fixtures.people import open_session
from tests.store.sample import change

DEV = Identity("dev", frozenset(), Method.PASSWORD)


def test_workers_hear_of_a_proof_and_of_its_sign_in_alone(database: Database) -> None:
    with change(database, "add") as c:
        people.add_user(c.transaction, "dev", frozenset(), None, 0.0)
    now = time.time()
    mine, _ = (open_session(database, DEV, now)[1] for _ in range(2))
    before = load_policy(database)
    with change(database, "step up") as c:
        assert passes.record_step_up(c.transaction, mine.id, now) == "dev"
    with database.read() as transaction:
        after = read_changes(transaction, before, before.version + 1)
    assert after is not None, "they need not read everything"
    assert after.stepped_up == {mine.id: now} == load_policy(database).stepped_up
    assert before.stepped_up == {}


def test_a_sign_in_that_is_over_cannot_be_proved_for(database: Database) -> None:
    with change(database, "add") as c:
        people.add_user(c.transaction, "dev", frozenset(), None, 0.0)
    now = time.time()
    _, over = open_session(database, DEV, now)
    with change(database, "sign out") as c:
        passes.end_sign_in(c.transaction, over.id, None, now)
    link = create_link(b"l" * 32, DEV, now, Lifetimes())
    passes.issue(database, link, now)
    for id_ in (over.id, link.id, bytes(32)):
        with pytest.raises(NotFoundError), change(database, "step up") as c:
            passes.record_step_up(c.transaction, id_, now)
    assert load_policy(database).stepped_up == {}
