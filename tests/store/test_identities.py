"""Users who come from an identity provider: who they are, and groups apart from those given here."""

import pytest

from stagedoor.model.errors import ConflictError, NotFoundError
from stagedoor.model.identity import Identity, Method
from stagedoor.model.webpass import WebSession
from stagedoor.store import people
from stagedoor.store.database import Database
from stagedoor.store.policy import load_policy
from stagedoor.store.sign_in import identities, passes
from stagedoor.store.sign_in.identities import ProviderAccount
from tests.fixtures.people import open_session
from tests.store.sample import change

ALICE = ProviderAccount("https://id.example", "1")
OTHER = ProviderAccount("https://id.example", "2")
ELSEWHERE = ProviderAccount("https://other.example", "1")


def admit(database: Database, person: ProviderAccount, name: str, *groups: str) -> str:
    with change(database, "sso.sign-in") as c:
        admitted = identities.admit(c.transaction, person, name, 1.0)
        identities.set_provided_groups(c.transaction, admitted, frozenset(groups))
        return admitted


@pytest.mark.identity(13)
def test_a_person_stays_who_they_are_and_nobody_else_gets_their_name(database: Database) -> None:
    assert admit(database, ALICE, "alice") == "alice"
    # The provider calls them something else now: they are the same person here.
    assert admit(database, ALICE, "alice2") == "alice"
    for other in (OTHER, ELSEWHERE):
        with pytest.raises(ConflictError, match="belongs to another user"):
            admit(database, other, "alice")
    assert set(load_policy(database).users) == {"alice"}


def test_groups_from_there_and_from_here_do_not_touch_each_other(database: Database) -> None:
    admit(database, ALICE, "alice", "ops", "dev")
    with change(database, "user.groups") as c:
        people.set_groups(c.transaction, "alice", frozenset({"ops", "staff"}))
    assert load_policy(database).users["alice"].groups == {"ops", "dev", "staff"}
    admit(database, ALICE, "alice")
    assert load_policy(database).users["alice"].groups == {"ops", "staff"}
    admit(database, ALICE, "alice", "dev")
    with change(database, "user.groups") as c:
        people.set_groups(c.transaction, "alice", frozenset())
    assert load_policy(database).users["alice"].groups == {"dev"}


def test_what_was_unlinked_is_over(database: Database) -> None:
    admit(database, ALICE, "alice", "ops")
    came = Identity("alice", frozenset(), Method.SSO, "Company")
    by_password = Identity("alice", frozenset(), Method.PASSWORD)
    secrets = [open_session(database, who, 1.0)[0] for who in (came, came, by_password)]
    with change(database, "sso.unlink") as c:
        assert identities.unlink(c.transaction, ALICE) == "alice"
        assert passes.end_sign_ins(c.transaction, "alice", Method.SSO, "Company") == 2
    owners = [passes.find(database, WebSession, secret) for secret in secrets]
    assert [identity is None for identity in owners] == [True, True, False]
    policy = load_policy(database)
    assert policy.users["alice"].groups == frozenset()
    assert len(policy.signed_out) == 2
    # It was not they who signed out.
    assert None not in policy.signed_out.values()
    with pytest.raises(NotFoundError, match="stagedoor sso list"), change(database, "x") as c:
        identities.unlink(c.transaction, ALICE)


def test_a_user_is_linked_once_and_goes_with_all(database: Database) -> None:
    with change(database, "x") as c:
        people.add_user(c.transaction, "bob", frozenset(), "hash", 1.0)
        identities.link(c.transaction, ALICE, "bob", 1.0)
    assert admit(database, ALICE, "alice", "ops") == "bob"
    with pytest.raises(ConflictError, match="is the user bob already"), change(database, "x") as c:
        identities.link(c.transaction, ALICE, "bob", 1.0)
    with pytest.raises(NotFoundError), change(database, "x") as c:
        identities.link(c.transaction, OTHER, "nobody", 1.0)
    with change(database, "x") as c:
        people.remove_user(c.transaction, "bob")
    with database.read() as transaction:
        assert identities.list_accounts(transaction) == []
    assert admit(database, ALICE, "alice") == "alice"
