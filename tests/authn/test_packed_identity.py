"""The identity of a session that outlives its worker: what a policy change meanwhile makes of it."""

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.authn.packed_identity import pack_identity, restore_identity
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.policy import Policy, User

SIGN_IN = SignIn(b"\x01" * 32, 900.0)


def policy(password_hash: str | None = "$argon2id$one") -> Policy:
    return Policy(users={"alice": User("alice", frozenset({"dev"}), password_hash)})


@pytest.mark.parametrize(
    "identity",
    [
        Identity("alice", frozenset({"dev"}), Method.PASSWORD, password_hash="$argon2id$one"),
        Identity("alice", frozenset({"dev"}), Method.SSO, "corp", sign_in=SIGN_IN),
        Identity("alice", frozenset({"dev"}), Method.CERTIFICATE, "SHA256:x", ("connect:app01",)),
    ],
)
def test_an_identity_is_the_same_afterwards(identity: Identity) -> None:
    word = pack_identity(identity)
    assert word.isascii()
    assert not set(word) & set(" ;/")
    assert "argon2id" not in word
    restored = restore_identity(word, policy())
    assert restored == identity
    assert isinstance(restored, Identity)
    assert restored.password_hash == identity.password_hash
    assert restored.sign_in == identity.sign_in


@pytest.mark.continuity(8)
@pytest.mark.parametrize(
    "now", [policy("$argon2id$two"), policy(None), Policy()], ids=["changed", "without", "gone"]
)
def test_a_password_that_was_changed_meanwhile_proves_nothing(now: Policy) -> None:
    packed = pack_identity(
        Identity("alice", frozenset(), Method.PASSWORD, password_hash="$argon2id$one")
    )
    denial = restore_identity(packed, now)
    assert isinstance(denial, Denial)
    assert denial.reason is Reason.NO_GRANT


def test_a_token_that_was_removed_meanwhile_proves_nothing() -> None:
    packed = pack_identity(Identity("alice", frozenset(), Method.TOKEN, "t1"))
    assert isinstance(restore_identity(packed, policy()), Denial)


@given(st.text() | st.binary().map(lambda data: urlsafe_b64encode(data).decode()))
def test_any_other_word_is_a_denial(word: str) -> None:
    denial = restore_identity(word, policy())
    assert isinstance(denial, Denial)
    assert denial.reason is Reason.SESSION_OVER
