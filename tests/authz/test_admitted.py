"""Who may enter a target, asked of the whole policy at once."""

from stagedoor.authz.admitted import admitted
from stagedoor.model.admission import Admission
from stagedoor.model.grant import GrantRule
from stagedoor.model.policy import KeyRecord, Policy, User
from stagedoor.model.target import Target

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
    assert admitted(POLICY, Target("app01"), NOW) == (
        Admission("bare", (), NOW + 60),
        Admission("dev", ("ssh-ed25519 dev1", "ssh-ed25519 dev2"), NOW + 60),
    )
    assert Admission("ops", ("ssh-ed25519 ops1",)) in admitted(POLICY, Target("app02"), NOW)


def test_nobody_where_no_rule_leads() -> None:
    assert admitted(POLICY, Target("other"), NOW) == ()
    assert admitted(Policy(), Target("app01"), NOW) == ()
