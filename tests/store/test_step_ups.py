"""Proofs of presence, as they are kept and as workers hear of them."""

import time

import pytest

from stagedoor.authn.passes import Lifetimes, pass_for
from stagedoor.model.errors import NotFoundError
from stagedoor.model.identity import Identity, Method
from stagedoor.model.webpass import PassKind, WebPass
from stagedoor.store import people
from stagedoor.store.database import Database
from stagedoor.store.policy import load_policy, read_changes
from stagedoor.store.sign_in import passes
from tests.store.sample import change

DEV = Identity("dev", frozenset(), Method.PASSWORD)


def signed_in(database: Database, kind: PassKind = PassKind.SESSION) -> tuple[str, WebPass]:
    now = time.time()
    secret = passes.issue(database, pass_for(kind, DEV, now, Lifetimes()), now)
    identity = passes.find(database, kind, secret)
    assert identity is not None
    return secret, identity


def test_workers_hear_of_a_proof_and_of_its_sign_in_alone(database: Database) -> None:
    with change(database, "add") as c:
        people.add_user(c.transaction, "dev", frozenset(), None, 0.0)
    mine, another = (signed_in(database)[1].sign_in for _ in range(2))
    assert mine is not None
    assert another is not None
    before, now = load_policy(database), time.time()
    with change(database, "step up") as c:
        assert passes.step_up(c.transaction, mine.id, now) == "dev"
    with database.read() as transaction:
        after = read_changes(transaction, before, before.version + 1)
    assert after is not None, "they need not read everything"
    assert after.stepped_up == {mine.id: now} == load_policy(database).stepped_up
    assert before.stepped_up == {}


def test_a_sign_in_that_is_over_cannot_be_proved_for(database: Database) -> None:
    with change(database, "add") as c:
        people.add_user(c.transaction, "dev", frozenset(), None, 0.0)
    secret, found = signed_in(database)
    assert found.sign_in is not None
    with change(database, "sign out") as c:
        passes.sign_out(c.transaction, secret, time.time())
    _, link = signed_in(database, PassKind.LINK)
    assert link.sign_in is None, "a link is no sign-in"
    for id_ in (found.sign_in.id, bytes(32)):
        with pytest.raises(NotFoundError), change(database, "step up") as c:
            passes.step_up(c.transaction, id_, time.time())
    assert load_policy(database).stepped_up == {}
