"""The credentials that a policy accepts, and the refusals of all others."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.authn.decide import (
    MISSING,
    CheckPassword,
    confirm_password,
    judge_credential,
    make_password_denial,
)
from stagedoor.authn.tokens import MintedToken, mint, parse_token_id
from stagedoor.model.credential import Credential, PasswordCredential, TokenCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy, TokenRecord, User
from stagedoor.model.secret import hash_secret

NOW = 1_800_000_000.0
MINTED = mint()
FIXED = "sdt_abcd2345_" + "x" * 43


def policy(minted: MintedToken = MINTED, expires_at: float | None = None) -> Policy:
    return Policy(
        users={
            "dev": User("dev", frozenset({"crew"}), "$argon2id$stored"),
            "bare": User("bare"),
        },
        tokens={
            minted.id: TokenRecord(minted.id, "dev", minted.secret_hash, ("connect",), expires_at)
        },
    )


def reason(credential: Credential | None, held: Policy | None = None) -> Reason:
    verdict = judge_credential(held or policy(), credential, NOW)
    assert isinstance(verdict, Denial)
    return verdict.reason


def test_nothing_shown_is_missing_not_wrong() -> None:
    assert judge_credential(policy(), None, NOW) is MISSING
    assert MISSING.reason is Reason.CREDENTIAL_MISSING


def test_a_token_alone_is_its_owner_with_groups_of_now_and_its_scopes() -> None:
    assert judge_credential(policy(), TokenCredential(MINTED.text), NOW) == Identity(
        "dev", frozenset({"crew"}), Method.TOKEN, MINTED.id, ("connect",)
    )


def test_a_token_in_the_passwords_place_is_its_owner_if_the_name_agrees() -> None:
    verdict = judge_credential(policy(), PasswordCredential("dev", MINTED.text), NOW)
    assert isinstance(verdict, Identity)
    assert verdict.credential_id == MINTED.id


def test_a_disabled_user_is_told_so_by_a_whole_token_and_is_nobody_by_a_password() -> None:
    held = replace(policy(), users={}, disabled=policy().users)
    for credential in (TokenCredential(MINTED.text), PasswordCredential("dev", MINTED.text)):
        verdict = judge_credential(held, credential, NOW)
        assert isinstance(verdict, Denial)
        assert "'dev' is disabled" in verdict.message
    for guess in (TokenCredential(MINTED.text + "x"), PasswordCredential("bare", MINTED.text)):
        assert "disabled" not in str(judge_credential(held, guess, NOW))
    shown = PasswordCredential("dev", "correct horse")
    assert judge_credential(held, shown, NOW) == CheckPassword("dev", "correct horse", None)
    checked = CheckPassword("dev", "correct horse", "$argon2id$stored")
    assert confirm_password(held, checked) == make_password_denial("dev", held), (
        "disabled while argon2 ran"
    )


@pytest.mark.parametrize("name", ["bare", "nobody", "", "DEV", "dev "])
def test_a_token_with_another_name_is_refused(name: str) -> None:
    assert reason(PasswordCredential(name, MINTED.text)) is Reason.CREDENTIAL_WRONG


def test_a_token_with_the_right_id_and_another_secret_is_refused() -> None:
    forged = MINTED.text[:-1] + ("A" if MINTED.text[-1] != "A" else "B")
    assert parse_token_id(forged) == MINTED.id
    assert reason(TokenCredential(forged)) is Reason.CREDENTIAL_WRONG


def test_an_unknown_token_and_a_wrong_secret_read_the_same() -> None:
    other = judge_credential(policy(), TokenCredential(mint().text), NOW)
    forged = judge_credential(policy(), TokenCredential(MINTED.text[:-1] + "!"), NOW)
    assert other == forged


def test_the_stored_hash_is_not_itself_a_credential() -> None:
    assert reason(TokenCredential(MINTED.secret_hash.hex())) is Reason.CREDENTIAL_WRONG


def test_a_token_whose_record_holds_no_hash_lets_nobody_in() -> None:
    empty = Policy(
        users=policy().users, tokens={MINTED.id: TokenRecord(MINTED.id, "dev", bytes(32))}
    )
    assert reason(TokenCredential(MINTED.text), empty) is Reason.CREDENTIAL_WRONG
    short = Policy(users=policy().users, tokens={MINTED.id: TokenRecord(MINTED.id, "dev", b"")})
    assert reason(TokenCredential(MINTED.text), short) is Reason.CREDENTIAL_WRONG


def test_an_expired_token_says_when_to_whoever_holds_it() -> None:
    held = policy(expires_at=NOW)
    verdict = judge_credential(held, TokenCredential(MINTED.text), NOW)
    assert isinstance(verdict, Denial)
    assert "expired at 2027-01-15 08:00 UTC" in verdict.message
    assert "stagedoor token create dev" in verdict.message
    forged = judge_credential(held, TokenCredential(MINTED.text[:-1] + "!"), NOW)
    assert isinstance(forged, Denial)
    assert "expired" not in forged.message


def test_a_token_lasts_until_the_instant_it_expires() -> None:
    held = policy(expires_at=NOW + 0.001)
    assert isinstance(judge_credential(held, TokenCredential(MINTED.text), NOW), Identity)


def test_a_token_of_a_removed_user_is_refused() -> None:
    held = Policy(tokens=policy().tokens)
    assert reason(TokenCredential(MINTED.text), held) is Reason.CREDENTIAL_WRONG


def test_a_password_is_checked_against_the_users_own_hash_only() -> None:
    for name, stored in [("dev", "$argon2id$stored"), ("bare", None), ("nobody", None)]:
        verdict = judge_credential(policy(), PasswordCredential(name, "open sesame"), NOW)
        assert verdict == CheckPassword(name, "open sesame", stored)


def test_a_password_changed_while_it_was_verified_is_refused() -> None:
    checked = CheckPassword("dev", "open sesame", "$argon2id$older")
    assert confirm_password(policy(), checked) == make_password_denial("dev", policy())
    assert isinstance(
        confirm_password(policy(), CheckPassword("dev", "open sesame", "$argon2id$stored")),
        Identity,
    )


def test_where_only_some_groups_have_passwords_all_others_are_as_if_they_had_none() -> None:
    """The refusal is that of an unknown name, so it does not reveal who is in those groups."""
    theirs, others = (
        policy().with_passwords_for(frozenset({"crew"})),
        policy().with_passwords_for(frozenset()),
    )
    shown = PasswordCredential("dev", "open sesame")
    assert judge_credential(theirs, shown, NOW) == CheckPassword(
        "dev", "open sesame", "$argon2id$stored"
    )
    assert judge_credential(others, shown, NOW) == CheckPassword("dev", "open sesame", None)
    checked = CheckPassword("dev", "open sesame", "$argon2id$stored")
    assert isinstance(confirm_password(theirs, checked), Identity)
    denial = confirm_password(others, checked)
    assert denial == make_password_denial("dev", others)
    assert (
        make_password_denial("dev", others).message == make_password_denial("dev", theirs).message
    )
    assert "accounts.password_groups" in make_password_denial("dev", others).message
    # A token in a password's place is no password.
    token = PasswordCredential("dev", MINTED.text)
    assert isinstance(judge_credential(others, token, NOW), Identity)
    assert policy().with_passwords_for(None).users == policy().users
    assert others.with_passwords_for(frozenset({"crew"})).users["dev"].password_hash is None


@pytest.mark.parametrize("name", ["bare", "nobody"])
def test_no_hash_is_never_confirmed(name: str) -> None:
    assert isinstance(confirm_password(policy(), CheckPassword(name, "", None)), Denial)


def test_no_secret_shows_in_a_repr_or_a_message() -> None:
    check = judge_credential(policy(), PasswordCredential("dev", "open sesame"), NOW)
    wrong = judge_credential(policy(), PasswordCredential("nobody", MINTED.text), NOW)
    for shown in (check, wrong, MINTED, PasswordCredential("dev", "open sesame")):
        assert "sesame" not in repr(shown)
        assert MINTED.text not in repr(shown)
        assert "$argon2id" not in repr(shown)


@pytest.mark.parametrize("name", ["\x1b[2J", "a\nb", "x" * 65, "дев", ""])
def test_a_hostile_name_is_not_echoed(name: str) -> None:
    message = make_password_denial(name, policy()).message
    assert "the name given" in message
    assert message.isprintable()


def test_a_minted_token_has_the_documented_form_and_is_never_the_same() -> None:
    tokens = {mint().text for _ in range(50)}
    assert len(tokens) == 50
    for text in tokens:
        shown = parse_token_id(text)
        assert shown is not None
        assert text.startswith(f"sdt_{shown}_")
        assert len(hash_secret(text)) == 32


@pytest.mark.parametrize(
    "text", ["", "sdt_", "sdt_abc_", "SDT_abcd_" + "x" * 43, f"{FIXED}\n", f" {FIXED}"]
)
def test_what_only_resembles_a_token_is_none(text: str) -> None:
    assert parse_token_id(text) is None


@given(st.text(), st.text())
def test_whatever_is_shown_the_answer_is_never_an_identity(name: str, secret: str) -> None:
    for credential in (PasswordCredential(name, secret), TokenCredential(secret)):
        assert not isinstance(judge_credential(policy(), credential, NOW), Identity)
