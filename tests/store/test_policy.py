from dataclasses import replace

import pytest

from stagedoor.model.errors import ConflictError, NotFoundError
from stagedoor.model.event import EventKind
from stagedoor.model.grant import GrantRule
from stagedoor.model.policy import KeyRecord, Policy, TokenRecord, User
from stagedoor.store import grants, people
from stagedoor.store.database import Database
from stagedoor.store.journal import read_entries
from stagedoor.store.policy import load_newest, load_policy
from tests.store.sample import change

KEY = KeyRecord("alice", "SHA256:abc", "ssh-ed25519 AAAA", "laptop")
TOKEN = TokenRecord("t1", "alice", b"\x01" * 32, ("connect", "connect:app01"), 500.0)
RULE = GrantRule(1, "user:alice", "app*", "staging", 400.0)


@pytest.fixture
def alice(database: Database) -> None:
    with change(database, "set up") as c:
        people.add_user(c.transaction, "alice", frozenset({"dev", "ops"}), "$argon2id$x", 1.0)
        people.add_key(c.transaction, KEY, 2.0)
        people.add_token(c.transaction, TOKEN, 3.0)
        grants.add_grant(c.transaction, RULE, 4.0)


@pytest.mark.usefixtures("alice")
def test_the_snapshot_holds_what_was_written(database: Database) -> None:
    assert load_policy(database) == Policy(
        version=1,
        users={"alice": User("alice", frozenset({"dev", "ops"}), "$argon2id$x")},
        tokens={"t1": TOKEN},
        keys={"SHA256:abc": KEY},
        grants=(RULE,),
    )


def test_an_empty_store_lets_nobody_in(database: Database) -> None:
    assert load_policy(database) == Policy()


def test_each_change_is_counted_and_audited(database: Database) -> None:
    with change(database, "user.add", at=7.0) as c:
        people.add_user(c.transaction, "bob", frozenset(), None, 7.0)
        c.fields |= {"user": "bob"}
    assert load_policy(database).version == 1
    (entry,) = read_entries(database)
    assert (entry.event.kind, entry.event.identity, entry.event.at) == (
        EventKind.POLICY_CHANGED,
        "root@here",
        7.0,
    )
    assert entry.event.fields == {"action": "user.add", "user": "bob"}


def test_a_change_that_fails_leaves_no_trace(database: Database) -> None:
    def two_steps() -> None:
        with change(database, "mixed") as c:
            people.add_user(c.transaction, "bob", frozenset(), None, 1.0)
            people.set_password(c.transaction, "nobody", "x")

    with pytest.raises(NotFoundError, match="no user nobody; see `stagedoor user list`"):
        two_steps()
    assert load_policy(database) == Policy()
    assert read_entries(database) == []


@pytest.mark.usefixtures("alice")
def test_a_removed_user_leaves_nothing_to_get_in_by(database: Database) -> None:
    with change(database, "user.add") as c:
        people.add_user(c.transaction, "alic", frozenset({"dev"}), None, 1.0)
        grants.add_grant(c.transaction, GrantRule(0, "user:alic", "app01"), 1.0)
        grants.add_grant(c.transaction, GrantRule(0, "group:alice", "app01"), 1.0)
    with change(database, "user.remove") as c:
        assert people.remove_user(c.transaction, "alice") == {"keys": 1, "tokens": 1, "grants": 1}
    policy = load_policy(database)
    assert (set(policy.users), policy.keys, policy.tokens) == ({"alic"}, {}, {})
    assert [rule.subject for rule in policy.grants] == ["user:alic", "group:alice"]
    assert policy.users["alic"].groups == {"dev"}


@pytest.mark.usefixtures("alice")
@pytest.mark.parametrize("known", ["current", "too old", "unavailable"])
def test_a_newer_policy_is_whole_and_has_passwords_for_the_same_groups(
    database: Database, known: str
) -> None:
    limits = frozenset({"oncall"})
    before = load_policy(database).with_passwords_for(limits)
    if known == "too old":
        before = replace(before, version=-1)
    if known == "unavailable":
        before = Policy(before.version, password_groups=limits, is_unavailable=True)
    with change(database, "user.language") as c:
        people.set_language(c.transaction, "alice", "zh")
    newest = load_newest(database, before)
    assert (newest.users["alice"].language, newest.users["alice"].password_hash) == ("zh", None)
    assert newest == load_policy(database).with_passwords_for(limits)


@pytest.mark.usefixtures("alice")
def test_a_user_who_is_removed_and_added_again_is_another(database: Database) -> None:
    before = load_policy(database)
    with change(database, "user.remove") as c:
        people.remove_user(c.transaction, "alice")
        people.add_user(c.transaction, "alice", frozenset(), None, 9.0)
    for now in (load_newest(database, before), load_policy(database)):
        assert before.users["alice"].created_at != now.users["alice"].created_at == 9.0


@pytest.mark.usefixtures("alice")
def test_what_is_there_already_is_not_made_again(database: Database) -> None:
    with pytest.raises(ConflictError, match="alice is there already"), change(database, "x") as c:
        people.add_user(c.transaction, "alice", frozenset(), None, 1.0)
    with pytest.raises(ConflictError, match="already, for alice"), change(database, "x") as c:
        people.add_key(c.transaction, KEY, 1.0)
    with pytest.raises(ConflictError, match="grant 1 says this"), change(database, "x") as c:
        grants.add_grant(c.transaction, RULE, 1.0)


@pytest.mark.usefixtures("alice")
def test_the_number_of_a_removed_grant_is_never_given_again(database: Database) -> None:
    with change(database, "x") as c:
        assert grants.remove_grant(c.transaction, 1) == RULE
        assert grants.add_grant(c.transaction, RULE, 5.0) == 2


@pytest.mark.usefixtures("alice")
def test_only_what_is_there_can_be_removed(database: Database) -> None:
    with change(database, "x") as c:
        assert people.remove_key(c.transaction, "SHA256:abc") == "alice"
        assert people.remove_token(c.transaction, "t1") == "alice"
        for removal in (
            lambda: people.remove_key(c.transaction, "SHA256:abc"),
            lambda: people.remove_token(c.transaction, "t1"),
            lambda: grants.remove_grant(c.transaction, 99),
            lambda: people.remove_user(c.transaction, "bob"),
        ):
            with pytest.raises(NotFoundError, match=r"see `stagedoor .* list`"):
                removal()
