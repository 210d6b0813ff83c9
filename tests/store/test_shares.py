"""Shares, rules of watching and visits, on every kind of store."""

from dataclasses import replace

import pytest
from sqlalchemy import select, update

from stagedoor.model.errors import ConflictError, NotFoundError, RefusedError
from stagedoor.model.grant import GrantRule
from stagedoor.model.identity import Method
from stagedoor.model.permission import DEFAULT, Permission
from stagedoor.model.secret import hash_secret
from stagedoor.model.share import Share
from stagedoor.model.target import Target
from stagedoor.store import grants, people, schema
from stagedoor.store.attachments import attach, detach, list_attachments
from stagedoor.store.database import Database
from stagedoor.store.journal import StoreJournal
from stagedoor.store.policy import load_policy
from stagedoor.store.schema import shares
from stagedoor.store.shares import MAX_SHARES, add_share, remove_share
from stagedoor.store.sign_in.passes import make_secret
from tests.store.sample import closed, opened

NOW = 1_700_000_000.0
WATCH = frozenset({Permission.WATCH})
SECRET = make_secret()
SHARE = Share(
    "share1", hash_secret(SECRET), "dev", Method.TOKEN, Target("app01", "staging"), "main", True, NOW + 60,
    "tok1", ("connect:app01",), None,
)  # fmt: skip


@pytest.fixture(autouse=True)
def dev(database: Database) -> None:
    with database.write() as transaction:
        people.add_user(transaction, "dev", frozenset(), None, NOW)


def add(database: Database, share: Share = SHARE, now: float = NOW) -> None:
    with database.write() as transaction:
        add_share(transaction, share, now)


def test_a_share_is_part_of_the_policy_as_it_was_given(database: Database) -> None:
    add(database)
    assert dict(load_policy(database).shares) == {"share1": SHARE}
    with database.read() as transaction:
        row = transaction.execute(select(shares)).one()
    assert SECRET not in repr(tuple(row))
    with database.write() as transaction:
        assert remove_share(transaction, "share1") == SHARE
    assert not load_policy(database).shares


def test_another_persons_share_is_not_ended(database: Database) -> None:
    add(database)
    for host in ("bob", ""):
        with database.write() as transaction, pytest.raises(NotFoundError):
            remove_share(transaction, "share1", host)
    with database.write() as transaction:
        remove_share(transaction, "share1", "dev")


def test_there_is_an_end_to_how_many_and_the_expired_count_no_more(database: Database) -> None:
    for number in range(MAX_SHARES):
        add(database, replace(SHARE, id=f"s{number}", secret_hash=bytes([number]) * 32))
    with pytest.raises(RefusedError, match="end one first"):
        add(database)
    add(database, replace(SHARE, expires_at=NOW + 999), NOW + 60)
    assert list(load_policy(database).shares) == ["share1"]


def test_whoever_is_removed_takes_shares_and_rules_along(database: Database) -> None:
    add(database)
    with database.write() as transaction:
        grants.add_grant(transaction, GrantRule(0, "user:dev", "*", permissions=WATCH), NOW)
        people.remove_user(transaction, "dev")
    policy = load_policy(database)
    assert not policy.shares
    assert not policy.grants


def test_a_grant_without_entering_stands_beside_one_that_lets_in(database: Database) -> None:
    watch = GrantRule(0, "user:dev", "app*", "*", NOW + 5, WATCH)
    staging = GrantRule(0, "user:dev", "app*", "staging", None, frozenset({Permission.FORWARD}))
    with database.write() as transaction:
        numbers = [grants.add_grant(transaction, rule, NOW) for rule in (watch, staging)]
        entering = grants.add_grant(transaction, replace(watch, permissions=DEFAULT), NOW)
    policy = load_policy(database)
    assert policy.grants == (
        replace(watch, id=numbers[0]),
        replace(staging, id=numbers[1]),
        replace(watch, id=entering, permissions=DEFAULT),
    )
    with (
        database.write() as transaction,
        pytest.raises(ConflictError, match=f"grant {numbers[0]} "),
    ):
        grants.add_grant(transaction, watch, NOW)
    with database.write() as transaction:
        grants.remove_grant(transaction, numbers[0])
    with database.write() as transaction, pytest.raises(NotFoundError):
        grants.remove_grant(transaction, numbers[0])
    assert [rule.id for rule in load_policy(database).grants] == [numbers[1], entering]


def test_words_of_a_newer_program_permit_nothing(database: Database) -> None:
    with database.write() as transaction:
        number = grants.add_grant(transaction, GrantRule(0, "user:dev", "*"), NOW)
        transaction.execute(update(schema.grants).values(permissions="enterx fly files"))
    assert [(r.id, r.permissions) for r in load_policy(database).grants] == [
        (number, frozenset({Permission.FILES}))
    ]


def test_visits_are_those_of_open_sessions(database: Database) -> None:
    journal = StoreJournal(database)
    journal.append([opened("s1"), opened("s2"), opened("s3")])
    attach(database, "s1", "app01.ssh", "main", is_watching=False)
    attach(database, "s2", "app01.ssh", "main", is_watching=True, share="a1")
    attach(database, "s3", "app01.ssh", "build", is_watching=False)
    assert [attachment.session for attachment in list_attachments(database)] == ["s1", "s2", "s3"]
    (watcher,) = list_attachments(database, is_watching=True)
    assert (watcher.session, watcher.target, watcher.terminal) == ("s2", "app01.ssh", "main")
    assert watcher.share == "a1"
    assert [v.session for v in list_attachments(database, at=("app01.ssh", "main"))] == ["s1", "s2"]
    detach(database, "s1")
    assert [attachment.session for attachment in list_attachments(database)] == ["s2", "s3"]
    journal.append([closed("s2")])
    assert [attachment.session for attachment in list_attachments(database)] == ["s3"], (
        "its worker may have died"
    )
    journal.append([opened("s4")])
    attach(database, "s4", "app01.ssh", "main", is_watching=False)
    assert [attachment.session for attachment in list_attachments(database)] == ["s3", "s4"]
