"""Logins that wait for approval: which step leads to which state, and what an attacker's link is worth."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.errors import RefusedError
from stagedoor.model.letters import (
    LETTERS,
    LETTERS_COUNT,
    choose_letters,
    derive_login_letters,
    hash_letters,
    show_letters,
)
from stagedoor.model.pending_login import (
    LOGIN_PENDING_S,
    TRIES,
    LoginState,
    PendingLogin,
    approve_by_code,
    approve_by_letters,
    deny,
    derive_letters,
    describe_tries,
    has_verifier,
    is_due,
    spend,
)
from stagedoor.model.secret import hash_secret

NOW = 1_700_000_000.0
MINE, OTHER = b"m" * 32, b"o" * 32
GOOD, GATEWAY = "BCDFGHJK", "https://gw.example"


def login(*, port: int | None = 40000, wanted: str | None = None) -> PendingLogin:
    return PendingLogin(
        "id1",
        hash_secret("verifier"),
        "ssh-ed25519 AAAA",
        "SHA256:abc",
        hash_letters("id1", GOOD, GATEWAY),
        "192.0.2.1",
        "laptop",
        port,
        NOW,
        NOW + LOGIN_PENDING_S,
        wanted,
    )


@pytest.mark.parametrize("typed", [GOOD, "bcdf-ghjk", " BCDF GHJK\n"])
def test_the_letters_approve_however_they_are_typed(typed: str) -> None:
    approved = approve_by_letters(login(), NOW, MINE, "alice", typed, GATEWAY)
    assert (approved.state, approved.sign_in) == (LoginState.APPROVED, MINE)
    assert is_due(approved, NOW)
    assert not is_due(spend(approved), NOW), "once"


@pytest.mark.identity(4)
def test_wrong_letters_kill_it_after_five_tries() -> None:
    at = login()
    for left in range(TRIES - 1, 0, -1):
        at = approve_by_letters(at, NOW, MINE, "alice", "XXXXXXXX", GATEWAY)
        assert (at.state, at.tries_left) == (LoginState.WAITING, left)
    at = approve_by_letters(at, NOW, MINE, "alice", "XXXXXXXX", GATEWAY)
    assert at.state is LoginState.DENIED
    with pytest.raises(RefusedError, match="over"):
        approve_by_letters(at, NOW, MINE, "alice", GOOD, GATEWAY)


@pytest.mark.identity(4)
def test_a_click_yields_nothing_without_the_code() -> None:
    """The attacker has the verifier; the victim's click sends the code to the victim's own machine."""
    clicked = approve_by_code(login(), NOW, MINE, "victim", "code")
    assert has_verifier(clicked, "verifier")
    assert not is_due(clicked, NOW)
    assert not is_due(clicked, NOW, "guess")
    assert is_due(clicked, NOW, "code")


@pytest.mark.identity(5)
def test_who_receives_the_code_alone_gets_nothing() -> None:
    clicked = approve_by_code(login(), NOW, MINE, "victim", "code")
    assert not has_verifier(clicked, "code")
    assert not has_verifier(clicked, "")


def test_where_the_code_did_not_arrive_the_letters_do() -> None:
    clicked = approve_by_code(login(), NOW, MINE, "alice", "code")
    typed = approve_by_letters(clicked, NOW, MINE, "alice", GOOD, GATEWAY)
    assert is_due(typed, NOW)
    with pytest.raises(RefusedError):  # approved already: nobody takes that back
        approve_by_code(typed, NOW, OTHER, "mallory", "other")


def test_a_click_of_somebody_else_takes_nothing_over() -> None:
    clicked = approve_by_code(login(), NOW, MINE, "alice", "code")
    with pytest.raises(RefusedError):
        approve_by_code(clicked, NOW, OTHER, "mallory", "other")
    again = approve_by_code(clicked, NOW, MINE, "alice", "second")
    assert not is_due(again, NOW, "code")
    assert is_due(again, NOW, "second")


def test_a_click_is_nothing_where_the_client_does_not_listen() -> None:
    with pytest.raises(RefusedError, match="letters"):
        approve_by_code(login(port=None), NOW, MINE, "alice", "code")


def test_a_login_of_a_name_is_for_that_user_alone() -> None:
    with pytest.raises(RefusedError, match="bob"):
        approve_by_letters(login(wanted="alice"), NOW, MINE, "bob", GOOD, GATEWAY)
    assert is_due(approve_by_letters(login(wanted="alice"), NOW, MINE, "alice", GOOD, GATEWAY), NOW)


def test_its_time_ends_it_in_every_state() -> None:
    late = NOW + LOGIN_PENDING_S
    approved = approve_by_letters(login(), NOW, MINE, "alice", GOOD, GATEWAY)
    assert not is_due(approved, late)
    for step in (
        lambda: approve_by_letters(login(), late, MINE, "alice", GOOD, GATEWAY),
        lambda: approve_by_code(login(), late, MINE, "alice", "code"),
        lambda: deny(login(), late),
        lambda: deny(spend(approved), NOW),
        lambda: approve_by_letters(deny(login(), NOW), NOW, MINE, "alice", GOOD, GATEWAY),
    ):
        with pytest.raises(RefusedError, match="over"):
            step()


def test_letters_are_of_one_gateway_one_login_one_key_and_one_client() -> None:
    """A gateway between the client and another one has to make two of these agree, and chooses only ids."""
    mine = derive_login_letters(GATEWAY, "id1", "SHA256:abc", "verifier")
    for other in (
        ("https://evil.example", "id1", "SHA256:abc", "verifier"),
        (GATEWAY, "id2", "SHA256:abc", "verifier"),
        (GATEWAY, "id1", "SHA256:xyz", "verifier"),
        (GATEWAY, "id1", "SHA256:abc", "verifies"),
    ):
        assert derive_login_letters(*other) != mine
    known = derive_letters(replace(login(), letters_hash=b""), GATEWAY, "verifier")
    assert approve_by_letters(known, NOW, MINE, "alice", mine, GATEWAY).state is LoginState.APPROVED
    elsewhere = approve_by_letters(known, NOW, MINE, "alice", mine, "https://evil.example")
    assert (elsewhere.state, elsewhere.tries_left) == (LoginState.WAITING, TRIES - 1)
    assert derive_letters(known, GATEWAY, "another") is known, "once"


def test_before_its_client_has_asked_no_letters_are_right() -> None:
    new = replace(login(), letters_hash=b"")
    for typed in ("", GOOD):
        assert approve_by_letters(new, NOW, MINE, "alice", typed, GATEWAY).tries_left == TRIES - 1


@given(st.binary(min_size=64, max_size=64))
def test_letters_make_no_word_and_are_read_back(random: bytes) -> None:
    letters = choose_letters(random)
    assert len(letters) == LETTERS_COUNT
    assert set(letters) <= set(LETTERS)
    assert hash_letters("id", show_letters(letters).lower()) == hash_letters("id", letters)


@given(st.text(), st.text())
def test_no_verifier_but_the_own_one(verifier: str, other: str) -> None:
    assert has_verifier(login(), verifier) == (verifier == "verifier")
    assert hash_secret(verifier) != hash_secret(other) or verifier == other


def test_the_tries_that_are_left_are_counted_in_words() -> None:
    assert [describe_tries(left) for left in (1, 2)] == ["1 try is left", "2 tries are left"]
