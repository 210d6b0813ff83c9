"""Rows of roles, and of the API's answers, in each kind of store."""

import pytest

from stagedoor.model.errors import ConflictError, NotFoundError
from stagedoor.model.role import Role, RoleRule
from stagedoor.store import people
from stagedoor.store.administration.answers import (
    KEPT_S,
    StoredAnswer,
    begin_request,
    finish_request,
    forget_request,
)
from stagedoor.store.administration.roles import add_role, remove_role
from stagedoor.store.database import Database
from stagedoor.store.policy import load_newest, load_policy
from stagedoor.store.sessions import list_sessions, list_targets
from tests.store.sample import change

OWNER = RoleRule(0, "user:alice", Role.OWNER, "a-*", expires_at=20.0)


def test_a_role_is_in_the_policy_until_it_is_removed(database: Database) -> None:
    with change(database, "test") as c:
        people.add_user(c.transaction, "alice", frozenset(), None, 1.0)
    before = load_policy(database)
    with change(database, "test") as c:
        number = add_role(c.transaction, OWNER, 1.0)
        with pytest.raises(ConflictError):
            add_role(c.transaction, OWNER, 1.0)
        with pytest.raises(NotFoundError):
            add_role(c.transaction, RoleRule(0, "user:bob", Role.OWNER), 1.0)
    after = load_newest(database, before)
    assert [(r.subject, r.role, r.app_pattern) for r in after.roles.values()] == [
        ("user:alice", Role.OWNER, "a-*")
    ]
    assert after == load_policy(database)
    assert load_newest(database, after) is after
    with change(database, "test") as c:
        renewed = add_role(c.transaction, OWNER, 30.0)
        assert renewed > number
        remove_role(c.transaction, renewed)
        with pytest.raises(NotFoundError):
            remove_role(c.transaction, renewed)
    assert load_newest(database, after).roles == {}


def test_an_answer_is_kept_for_a_day(database: Database) -> None:
    assert begin_request(database, "k", b"r" * 32, 1.0) is None
    assert begin_request(database, "k", b"r" * 32, 2.0) == StoredAnswer(b"r" * 32, None, None)
    finish_request(database, "k", 201, b"{}")
    assert begin_request(database, "k", b"r" * 32, KEPT_S) == StoredAnswer(b"r" * 32, 201, b"{}")
    assert begin_request(database, "k", b"x" * 32, 1.0 + KEPT_S) is None
    forget_request(database, "k")
    assert begin_request(database, "k", b"y" * 32, 2.0 + KEPT_S) is None


def test_sessions_are_listed_before_one(database: Database) -> None:
    assert list_sessions(database, identity="a", before="0001-x", limit=2) == []
    assert list_sessions(database, open_only=False, targets=["app01", "app02"]) == []
    assert list_targets(database, open_only=True) == []
