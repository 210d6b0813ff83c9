"""A sign-in's key and its certificate: good for its user, and no longer than the sign-in."""

from base64 import b64decode
from dataclasses import replace
from functools import cache
from ipaddress import ip_address

import pytest

from stagedoor.authn.authenticator import Authenticator
from stagedoor.authn.decide_key import Trust, judge_key
from stagedoor.keys.ca import CertificateAuthority
from stagedoor.keys.files import format_public_line, make_key
from stagedoor.model.credential import KeyCredential
from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import KeyRecord, Policy, User
from stagedoor.model.source import Source
from stagedoor.model.units import MINUTE_S
from stagedoor.model.webpass import KeyLogin, hash_password_mark
from stagedoor.wire.ssh.blob import format_fingerprint
from stagedoor.wire.ssh.certificate import parse_certificate

NOW = 1_800_000_000.0
HERE = Source(ip_address("192.0.2.7"), 40000)
KEY = make_key()
CA = CertificateAuthority(KEY, lambda: NOW)
OTHER_CA = CertificateAuthority(make_key(), lambda: NOW)
TRUST = Trust(
    frozenset(
        format_fingerprint(b64decode(ca.format_public_line().split()[1])) for ca in (CA, OTHER_CA)
    ),
    own_ca=format_fingerprint(b64decode(CA.format_public_line().split()[1])),
)


@cache
def key(name: str) -> str:
    return format_public_line(make_key())


def plain(login: str, name: str = "laptop") -> KeyCredential:
    blob = b64decode(key(name).split()[1])
    return KeyCredential(login, blob, format_fingerprint(blob))


def certified(login: str, line: str) -> KeyCredential:
    signed = parse_certificate(b64decode(line.split()[1]))
    assert signed is not None
    return KeyCredential(
        login, signed.key, format_fingerprint(signed.key), signed.certificate, lambda: True
    )


def login(user: str, name: str, first: int = 1, **changes: object) -> KeyLogin:
    made = KeyLogin(
        id=bytes([first]) * 32,
        name=user,
        method=Method.SSO,
        credential_id="Company",
        expires_at=NOW + 3600,
        latest_end=NOW + 3600,
        key_fingerprint=plain(user, name).fingerprint,
        public_key=key(name),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # as given


def policy(*logins: KeyLogin, **changes: object) -> Policy:
    users = {
        "alice": User("alice", frozenset({"crew"}), "$argon2id$one"),
        "bob": User("bob"),
    }
    bound = {one.key_fingerprint: one for one in logins or (login("alice", "laptop"),)}
    return replace(Policy(users=users, bound_keys=bound), **changes)  # type: ignore[arg-type]  # as given


ALICE = login("alice", "laptop")
NUMBER = ALICE.sign_in.number


def verdict(credential: KeyCredential, held: Policy | None = None, at: float = NOW) -> str:
    """Return the name of the identity, or the reason of the refusal."""
    decided = judge_key(held or policy(), credential, TRUST, HERE, at)
    if isinstance(decided, Denial):
        return decided.message
    assert decided.sign_in is not None
    return decided.name


@pytest.mark.identity(16, 20)
def test_the_key_of_a_sign_in_is_its_user_with_the_groups_of_now() -> None:
    # Every name that an app may have is one: the key alone says who it is.
    for name in ("alice", "app01", "app01.staging", "bob"):
        decided = judge_key(policy(), plain(name), TRUST, HERE, NOW)
        assert decided == Identity("alice", frozenset({"crew"}), Method.SSO, "Company")
        assert isinstance(decided, Identity)
        assert decided.sign_in == ALICE.sign_in
    assert "not registered" in verdict(plain("b_b"))
    assert "not registered" in verdict(plain("alice", "another"))


@pytest.mark.identity(21)
def test_its_certificate_is_the_same_and_needs_no_registered_key() -> None:
    line = CA.sign_sign_in(key("laptop"), "alice", NUMBER, NOW + 600, ())
    assert verdict(certified("alice", line)) == "alice"
    assert verdict(certified("app01", line)) == "alice"
    assert "is not for 'b_b'" in verdict(certified("b_b", line))


@pytest.mark.identity(20, 22, 23)
@pytest.mark.parametrize(
    ("name", "user", "number"),
    [
        ("another", "alice", NUMBER),
        ("laptop", "alice", NUMBER + 1),
        ("laptop", "alice", 0),
        ("laptop", "bob", NUMBER),
        ("bobs", "alice", NUMBER),
        ("bobs", "bob", NUMBER),
    ],
)
def test_what_does_not_fit_the_sign_in_is_refused(name: str, user: str, number: int) -> None:
    """Each is signed by our own CA: a signer that was talked into it helps nobody."""
    held = policy(ALICE, login("bob", "bobs", 2))
    line = CA.sign_sign_in(key(name), user, number, NOW + 600, ())
    assert verdict(certified(user, line), held).endswith("is over; sign in again")


def test_two_principals_are_refused() -> None:
    line = CA.sign_user(key("laptop"), f"sign-in {NUMBER} of alice", ["alice", "bob"], 600)
    for name in ("alice", "bob", "app01"):
        assert verdict(certified(name, line)).endswith("is over; sign in again")


def test_behind_a_prefix_the_bare_name_is_nobodys() -> None:
    """The prefix is that of our own CA: a foreign CA does not know it."""
    prefixed = CertificateAuthority(KEY, lambda: NOW, "sd:")
    trust = replace(TRUST, principal_prefix="sd:")

    def judged(credential: KeyCredential) -> Identity | Denial:
        return judge_key(policy(), credential, trust, HERE, NOW)

    ours = prefixed.sign_sign_in(key("laptop"), "alice", NUMBER, NOW + 600, ())
    assert certified("alice", ours).certificate.principals == ("sd:alice",)  # type: ignore[union-attr]
    by_hand = prefixed.sign_user(key("machine"), "by hand", ["alice"], 600)
    elsewhere = OTHER_CA.sign_user(key("machine"), "x", ["alice"], 600)
    for line in (ours, by_hand, elsewhere):
        decided = judged(certified("alice", line))
        assert isinstance(decided, Identity)
        assert decided.name == "alice"
    for line in (
        CA.sign_sign_in(key("laptop"), "alice", NUMBER, NOW + 600, ()),
        CA.sign_user(key("machine"), "by hand", ["alice"], 600),
        CA.sign_user(key("machine"), "by hand", ["sd:sd:alice", "sd:", "SD:alice"], 600),
        OTHER_CA.sign_user(key("machine"), "x", ["sd:alice"], 600),
    ):
        assert isinstance(judged(certified("alice", line)), Denial)
    # And where no prefix is set, one is no name.
    assert isinstance(judge_key(policy(), certified("alice", by_hand), TRUST, HERE, NOW), Denial)


@pytest.mark.identity(23, 27)
def test_it_ends_with_the_sign_in_however_that_ends() -> None:
    line = CA.sign_sign_in(key("laptop"), "alice", NUMBER, NOW + 5 * 3600, ())
    by_password = login(
        "alice", "laptop", method=Method.PASSWORD, password_mark=hash_password_mark("$argon2id$one")
    )
    assert verdict(plain("alice"), policy(by_password)) == "alice"
    over = [
        (policy(signed_out={ALICE.id: None}), "you signed out"),
        (policy(signed_out={ALICE.id: "laptop stolen"}), "laptop stolen"),
        (policy(sign_ins_end={"alice": NOW + 3600}), "so many later sign-ins"),
        (policy(users={"bob": User("bob")}), "there is no user 'alice' any more"),
        (
            policy(by_password, users={"alice": User("alice", password_hash="$argon2id$two")}),
            "the password of 'alice' was changed",
        ),
    ]
    for held, words in over:
        assert words in verdict(plain("alice"), held)
        assert words in verdict(certified("alice", line), held)
    for credential in (plain("alice"), certified("alice", line)):
        assert "used up, or its time is over" in verdict(credential, at=NOW + 3600)
        moved = policy(sign_in_ends={ALICE.sign_in.id: NOW + 7200})
        assert verdict(credential, moved, NOW + 3600) == "alice"
    gone = policy(login("bob", "bobs", 2))
    assert "not registered" in verdict(plain("alice"), gone)
    assert verdict(certified("alice", line), gone).endswith("is over; sign in again")


@pytest.mark.identity(24)
def test_a_clock_that_is_wrong_by_four_minutes_is_right_enough_and_by_ten_is_told() -> None:
    line = CA.sign_sign_in(key("laptop"), "alice", NUMBER, NOW + 600, ())
    assert verdict(certified("alice", line), at=NOW - 4 * MINUTE_S) == "alice"
    refusal = verdict(certified("alice", line), at=NOW - 10 * MINUTE_S)
    assert refusal.endswith("for another 5.0 min; is the clock of this machine right?")


def test_what_administrators_sign_holds_by_itself_as_before() -> None:
    line = CA.sign_user(key("machine"), "backup job", ["alice"], 600)
    assert judge_key(policy(), certified("alice", line), TRUST, HERE, NOW) == Identity(
        "alice",
        frozenset({"crew"}),
        Method.CERTIFICATE,
        f"certificate {certified('alice', line).certificate.serial} (backup job)",  # type: ignore[union-attr]  # it has one
    )
    # Another CA may say in its key ids what it likes: it is believed for itself.
    line = OTHER_CA.sign_sign_in(key("machine"), "alice", 7, NOW + 600, ())
    decided = judge_key(policy(), certified("alice", line), TRUST, HERE, NOW)
    assert isinstance(decided, Identity)
    assert (decided.method, decided.sign_in) == (Method.CERTIFICATE, None)


def test_a_registered_key_counts_as_such_and_falls_back_to_the_sign_in() -> None:
    mine = plain("alice").fingerprint
    held = policy(keys={mine: KeyRecord("alice", mine, key("laptop"))})
    decided = judge_key(held, plain("alice"), TRUST, HERE, NOW)
    assert isinstance(decided, Identity)
    assert decided.method is Method.PUBLIC_KEY
    held = policy(keys={mine: KeyRecord("gone", mine, key("laptop"))})
    assert verdict(plain("alice"), held) == "alice"


@pytest.mark.identity(23, 27)
async def test_whoever_is_connected_has_to_leave_once_the_sign_in_ends() -> None:
    held = policy()
    authenticator = Authenticator(lambda: held, lambda: NOW, trust=lambda: TRUST)
    line = CA.sign_sign_in(key("laptop"), "alice", NUMBER, NOW + 600, ())
    for credential in (plain("alice"), certified("alice", line)):
        held = policy()
        identity = await authenticator.authenticate(credential, HERE)
        assert isinstance(identity, Identity)
        assert authenticator.check_still_valid(credential, identity) is None
        held = policy(signed_out={ALICE.id: "laptop stolen"})
        denial = authenticator.check_still_valid(credential, identity)
        assert denial is not None
        assert denial.message == "laptop stolen"
    authenticator.stop_threads()


@pytest.mark.identity(34)
async def test_nothing_new_is_opened_while_the_provider_has_not_answered_for_long() -> None:
    answered_at = NOW - 100

    async def find(number: int) -> KeyLogin | Denial | None:
        assert number == NUMBER
        return replace(ALICE, answered_at=answered_at) if answered_at else None

    authenticator = Authenticator(
        policy,
        lambda: NOW,
        trust=lambda: TRUST,
        find_sign_in=find,
        stale_s={"Company": 3600.0},
    )
    line = CA.sign_sign_in(key("laptop"), "alice", NUMBER, NOW + 600, ())
    for credential in (plain("alice"), certified("alice", line)):
        answered_at = NOW - 3600
        identity = await authenticator.authenticate(credential, HERE)
        assert isinstance(identity, Identity)
        answered_at = NOW - 3601
        denial = await authenticator.authenticate(credential, HERE)
        assert isinstance(denial, Denial)
        assert "Company has not answered for 1 h" in denial.message
        assert authenticator.check_still_valid(credential, identity) is None, (
            "what is open continues"
        )
        answered_at = 0.0  # the store knows of its end before the policy does
        assert isinstance(await authenticator.authenticate(credential, HERE), Denial)
    authenticator.stop_threads()
