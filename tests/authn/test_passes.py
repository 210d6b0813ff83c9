"""A pass is as good as what proved its identity, and no longer."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from stagedoor.authn.packed_identity import pack_identity, restore_identity
from stagedoor.authn.passes import (
    USE_S,
    Lifetimes,
    create_link,
    create_session,
    create_ticket,
    is_use_stale,
    judge_pass,
    renew_end,
)
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.policy import KeyRecord, Policy, TokenRecord, User
from stagedoor.model.target import Target
from stagedoor.model.webpass import SignInLink, Ticket, WebPass, WebSession

NOW = 1_700_000_000.0
LIFETIMES = Lifetimes()
BY_PASSWORD = Identity("dev", frozenset({"team"}), Method.PASSWORD, password_hash="$argon2id$1")
BY_TOKEN = Identity("dev", frozenset({"team"}), Method.TOKEN, "tok1", ("connect:app01",))
BY_KEY = Identity("dev", frozenset({"team"}), Method.PUBLIC_KEY, "SHA256:abc")
BY_CERTIFICATE = Identity("dev", frozenset({"team"}), Method.CERTIFICATE, "serial 1")
EVERY = [BY_PASSWORD, BY_TOKEN, BY_KEY, BY_CERTIFICATE]
POLICY = Policy(
    users={"dev": User("dev", frozenset({"team"}), "$argon2id$1")},
    tokens={"tok1": TokenRecord("tok1", "dev", b"x" * 32)},
    keys={"SHA256:abc": KeyRecord("dev", "SHA256:abc", "ssh-ed25519 AAAA")},
)


def refused(outcome: Identity | Denial, why: str) -> None:
    assert isinstance(outcome, Denial)
    assert outcome.reason is Reason.CREDENTIAL_WRONG
    assert why in outcome.message
    assert "sign in again" in outcome.message


def session(identity: Identity, lifetimes: Lifetimes = LIFETIMES) -> WebSession:
    return create_session(bytes(32), identity, NOW, lifetimes)


def ticket(identity: Identity, now: float = NOW) -> Ticket:
    return create_ticket(bytes(32), identity, Target("app01"), now, LIFETIMES)


def link(identity: Identity) -> SignInLink:
    return create_link(bytes(32), identity, NOW, LIFETIMES)


@pytest.mark.parametrize("identity", EVERY, ids=lambda identity: identity.method)
@pytest.mark.parametrize("create", [session, ticket, link])
def test_whoever_was_given_it_is_who_shows_it(
    identity: Identity, create: Callable[[Identity], WebPass]
) -> None:
    given = create(identity)
    assert judge_pass(given, POLICY, NOW) == identity
    assert judge_pass(given, POLICY, given.expires_at - 0.001) == identity
    refused(judge_pass(given, POLICY, given.expires_at), "its time is over")


def test_groups_are_those_of_now() -> None:
    given = session(BY_PASSWORD)
    moved = replace(POLICY, users={"dev": User("dev", frozenset({"other"}), "$argon2id$1")})
    outcome = judge_pass(given, moved, NOW)
    assert isinstance(outcome, Identity)
    assert outcome.groups == frozenset({"other"})


def test_no_pass_is_refused_in_the_words_of_one_that_is_over() -> None:
    expired = ticket(BY_TOKEN, NOW - 1000)
    assert judge_pass(None, POLICY, NOW) == judge_pass(expired, POLICY, NOW)


@pytest.mark.parametrize("hashed", [None, "$argon2id$2"])
def test_a_password_that_was_changed_voids_what_it_opened(hashed: str | None) -> None:
    given = session(BY_PASSWORD)
    changed = replace(POLICY, users={"dev": User("dev", frozenset(), hashed)})
    refused(judge_pass(given, changed, NOW), "the password of 'dev' was changed")


def test_a_password_of_a_group_that_has_none_any_more_voids_what_it_opened() -> None:
    given = session(BY_PASSWORD)
    limited = POLICY.with_passwords_for(frozenset({"oncall"}))
    refused(judge_pass(given, limited, NOW), "none of the groups that have passwords")


@pytest.mark.parametrize("identity", [BY_TOKEN, BY_KEY], ids=lambda identity: identity.method)
def test_a_credential_that_was_removed_voids_what_it_opened(identity: Identity) -> None:
    given = session(identity)
    refused(judge_pass(given, replace(POLICY, tokens={}, keys={}), NOW), "was removed")


@pytest.mark.parametrize("identity", EVERY, ids=lambda identity: identity.method)
def test_a_user_who_was_removed_has_no_passes(identity: Identity) -> None:
    given = session(identity)
    refused(judge_pass(given, replace(POLICY, users={}), NOW), "there is no user")


def test_a_sign_in_that_is_over_voids_its_passes() -> None:
    signed_in = replace(BY_PASSWORD, sign_in=SignIn(b"it", NOW + 20))
    given = ticket(signed_in)
    outcome = judge_pass(given, POLICY, NOW)
    assert isinstance(outcome, Identity)
    assert outcome.sign_in == signed_in.sign_in
    refused(judge_pass(given, POLICY, NOW + 20), "your sign-in has expired")
    ended = replace(POLICY, signed_out={b"it": None})
    refused(judge_pass(given, ended, NOW), "you signed out")


def test_a_later_user_of_the_same_name_inherits_no_sign_in() -> None:
    first, second = (Policy(users={"dev": User("dev", created_at=at)}) for at in (1.0, 2.0))
    given = session(Identity("dev", frozenset(), Method.SSO, "Company"))
    entered = judge_pass(given, first, NOW)
    assert isinstance(entered, Identity)
    assert first.check_credential(entered, NOW) == given.expires_at
    restored = restore_identity(pack_identity(entered), second)
    for identity in (entered, restored):
        assert isinstance(identity, Identity)
        denied = second.check_credential(identity, NOW)
        assert isinstance(denied, Denial)
        assert "the user 'dev' was removed and added again" in denied.message


@pytest.mark.identity(34)
def test_a_provider_that_is_away_for_long_lets_its_sign_ins_open_nothing_new() -> None:
    came = Identity("dev", frozenset(), Method.SSO, "Company")
    policy = Policy(users={"dev": User("dev")})
    given = replace(session(came), answered_at=NOW)
    assert isinstance(judge_pass(given, policy, NOW + 60, {"Company": 60.0}), Identity)
    denied = judge_pass(given, policy, NOW + 61, {"Company": 60.0})
    assert isinstance(denied, Denial)
    # No wrong credential: what is open continues, and nobody is sent away to sign in there.
    assert denied.reason is Reason.UPSTREAM_TIMEOUT
    assert "Company has not answered" in denied.message
    silent = replace(given, answered_at=None)
    assert isinstance(judge_pass(silent, policy, NOW + 61, {"Company": 60.0}), Identity)


def test_what_a_token_may_not_do_its_pass_may_not_do_either() -> None:
    outcome = judge_pass(ticket(BY_TOKEN), POLICY, NOW)
    assert isinstance(outcome, Identity)
    assert outcome.scopes == ("connect:app01",)


def test_use_moves_the_end_of_a_session_up_to_its_latest() -> None:
    lives = Lifetimes(session_s=800.0, session_max_s=2000.0)
    given = session(BY_PASSWORD, lives)
    assert given.expires_at == NOW + 800
    assert renew_end(given, NOW + 99, lives) is None, "each renewal costs every worker a read"
    assert renew_end(given, NOW + 100, lives) == NOW + 900
    late = replace(given, expires_at=NOW + 1900)
    assert renew_end(late, NOW + 1500, lives) == NOW + 2000
    assert renew_end(replace(given, expires_at=NOW + 2000), NOW + 1500, lives) is None


def test_a_use_is_stored_again_after_a_quarter_of_an_hour() -> None:
    opened = session(BY_PASSWORD)
    assert not is_use_stale(opened, NOW + USE_S - 1), "each costs a write"
    assert is_use_stale(opened, NOW + USE_S)
    used = replace(opened, used_at=NOW + USE_S)
    assert not is_use_stale(used, NOW + USE_S + 1)
    assert is_use_stale(used, NOW + 2 * USE_S)


def test_a_session_never_lasts_longer_than_the_maximum() -> None:
    lives = Lifetimes(session_s=800.0, session_max_s=300.0)
    given = session(BY_PASSWORD, lives)
    assert given.expires_at == given.latest_end == NOW + 300
    assert renew_end(given, NOW + 299, lives) is None


def test_what_was_opened_before_lasts_as_long_as_its_sign_in_does_now() -> None:
    policy = replace(POLICY, sign_in_ends={b"it": NOW + 100})
    assert policy.explain_sign_in_end("dev", SignIn(b"it", NOW + 20), NOW + 99) is None
    assert policy.explain_sign_in_end("dev", SignIn(b"it", NOW + 20), NOW + 100) is not None
    assert policy.explain_sign_in_end("dev", SignIn(b"else", NOW + 20), NOW + 20) is not None
