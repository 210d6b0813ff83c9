import pytest

from stagedoor.model.errors import NotFoundError, RefusedError
from tests.cli.conftest import Desk


def test_access_is_explained_and_the_change_that_it_names_helps(alice: Desk) -> None:
    alice.out("grant", "add", "group:dev", "app*", "--environment", "production")
    alice.out("grant", "add", "user:alice", "app01", "--environment", "staging")
    text = alice.out("access", "explain", "alice", "app01.production")
    assert text.startswith("alice may not enter app01.production.\n")
    assert "it is for the environment staging, not production" in text
    assert "stagedoor user group alice --add dev" in text
    refused = alice.json("access", "explain", "alice", "app01.production")
    assert not refused["lets_in"]
    assert [change["kind"] for change in refused["changes"]] == ["join", "grant"]
    alice.out("user", "group", "alice", "--add", "dev")
    let_in = alice.json("access", "explain", "alice", "app01.production")
    assert let_in["lets_in"]
    assert [rule["fits"] for rule in let_in["rules"]] == [True, False]
    assert alice.json("access", "who", "app01.production") == [
        {"user": "alice", "by": "grant 1", "permissions": ["enter", "files"], "expires_at": None}
    ]
    assert "alice  grant 2" in alice.out("access", "who", "app01.staging")
    assert "No user may enter" in alice.notes("access", "who", "app02.staging")


def test_a_disabled_user_is_stopped_whatever_the_rules_say(alice: Desk) -> None:
    alice.out("grant", "add", "user:alice", "app01")
    alice.out("user", "disable", "alice")
    text = alice.out("access", "explain", "alice", "app01")
    assert "may not enter" in text
    assert "stagedoor user enable alice" in text
    assert "lets in" in text


def test_unknown_names_are_refused(alice: Desk) -> None:
    with pytest.raises(NotFoundError):
        alice.out("access", "explain", "bob", "app01")
    with pytest.raises(RefusedError):
        alice.out("access", "who", "App_01")
