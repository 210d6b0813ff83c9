"""Who may enter a target, asked of the whole policy at once."""

from dataclasses import replace

import pytest

from stagedoor.authz import admissions
from stagedoor.authz.admissions import BoundKeys, list_admissions
from stagedoor.authz.decide import authorise
from stagedoor.model.denial import Denial
from stagedoor.model.grant import Admission, Grant, GrantRule
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import KeyRecord, Policy, User
from stagedoor.model.target import Target
from stagedoor.model.webpass import KeyLogin

NOW = 1_800_000_000.0


def key(user: str, n: int) -> KeyRecord:
    return KeyRecord(user, f"SHA256:{user}{n}", f"ssh-ed25519 {user}{n}")


POLICY = Policy(
    users={
        "dev": User("dev", frozenset({"crew"})),
        "ops": User("ops"),
        "bare": User("bare", frozenset({"crew"})),
        "late": User("late"),
    },
    keys={k.fingerprint: k for k in (key("dev", 2), key("dev", 1), key("ops", 1), key("gone", 1))},
    grants=(
        GrantRule(1, "group:crew", "app0*", "*", NOW + 60),
        GrantRule(2, "user:ops", "app02"),
        GrantRule(3, "user:late", "app01", "*", NOW),
        GrantRule(4, "user:gone", "app01"),
    ),
)


def test_those_with_a_rule_their_keys_and_how_long() -> None:
    assert list_admissions(POLICY, Target("app01"), NOW) == (
        Admission("bare", (), NOW + 60),
        Admission("dev", ("ssh-ed25519 dev1", "ssh-ed25519 dev2"), NOW + 60),
    )
    assert Admission("ops", ("ssh-ed25519 ops1",)) in list_admissions(POLICY, Target("app02"), NOW)


def test_users_with_the_same_rules_are_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker asks at each change of the policy, which may have ten thousand users."""
    judged: list[str] = []

    def count(policy: Policy, identity: Identity, target: Target, now: float) -> Grant | Denial:
        judged.append(identity.name)
        return authorise(policy, identity, target, now)

    monkeypatch.setattr(admissions, "authorise", count)
    many = {f"u{n}": User(f"u{n}", frozenset({("crew", "rest")[n % 2]})) for n in range(100)}
    admitted = list_admissions(replace(POLICY, users=many), Target("app01"), NOW)
    assert [admission.name for admission in admitted] == sorted(f"u{n}" for n in range(0, 100, 2))
    assert len(judged) == 2


def test_those_of_their_sign_ins_that_are_over() -> None:
    revoked = {"dev": [9, 7], "ops": [8], "gone": [6]}
    assert list_admissions(POLICY, Target("app01"), NOW, revoked=revoked) == (
        Admission("bare", (), NOW + 60),
        Admission("dev", ("ssh-ed25519 dev1", "ssh-ed25519 dev2"), NOW + 60, (), (7, 9)),
    )


def test_nobody_where_no_rule_leads() -> None:
    assert list_admissions(POLICY, Target("other"), NOW) == ()
    assert list_admissions(Policy(), Target("app01"), NOW) == ()


def test_the_keys_of_sign_ins_that_last_where_they_are_asked_for() -> None:
    def login(user: str, n: int, **changes: object) -> KeyLogin:
        made = KeyLogin(
            id=bytes([n]) * 32,
            name=user,
            method=Method.SSO,
            expires_at=NOW + 30,
            latest_end=NOW + 30,
            key_fingerprint=f"SHA256:{n}",
            public_key=f"ssh-ed25519 {n}",
        )
        return replace(made, **changes)  # type: ignore[arg-type]  # as given

    logins = [
        login("bare", 1),
        login("bare", 2),
        login("bare", 3, expires_at=NOW),
        login("bare", 4, method=Method.TOKEN, credential_id="gone"),
        login("ops", 5),
        login("gone", 6),
    ]
    policy = replace(
        POLICY,
        bound_keys={login.key_fingerprint: login for login in logins},
        signed_out={b"\2" * 32: None},
        sign_in_ends={b"\1" * 32: NOW + 40},
    )
    keys = BoundKeys()
    assert keys.list_keys(POLICY, NOW) == {}
    bare, dev = list_admissions(policy, Target("app01"), NOW, keys.list_keys(policy, NOW))
    assert bare.bound_keys == (("ssh-ed25519 1", NOW + 40),)
    assert dev.bound_keys == ()
    bare, _ = list_admissions(policy, Target("app01"), NOW + 40, keys.list_keys(policy, NOW + 40))
    assert bare.bound_keys == ()
    assert list_admissions(policy, Target("app01"), NOW) == list_admissions(
        POLICY, Target("app01"), NOW
    )
