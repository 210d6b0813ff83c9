"""The authoriser caches its verdicts, without an effect that a client could notice."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.authz import authoriser as module
from stagedoor.authz.authoriser import Authoriser
from stagedoor.authz.decide import authorise
from stagedoor.model.denial import POLICY_UNAVAILABLE, Denial
from stagedoor.model.grant import Grant, GrantRule, Guest
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.policy import Policy, TokenRecord, User
from stagedoor.model.target import Target

DEV = Identity("dev", frozenset(), Method.PASSWORD, password_hash="hash 1")
TOKEN = Identity("dev", frozenset(), Method.TOKEN, "t1")
APPS = (Target("app01"), Target("app02"), Target("app01", "staging"))
RULE = GrantRule(1, "user:dev", "app01")
HELD = Policy(users={"dev": User("dev", frozenset(), "hash 1")}, grants=(RULE,))


class AdminService:
    """An authoriser whose policy and clock a test sets."""

    def __init__(self, policy: Policy = HELD) -> None:
        self.policy, self.now = policy, 0.0
        self.authoriser = Authoriser(lambda: self.policy, lambda: self.now)

    def ask(self, identity: Identity = DEV, target: Target = APPS[0]) -> Grant | Denial:
        return self.authoriser.authorise(identity, target)


def test_those_who_come_again_share_one_grant() -> None:
    service = AdminService()
    assert service.ask() is service.ask(replace(DEV), Target("app01"))


def test_a_new_policy_holds_at_once() -> None:
    service = AdminService()
    assert isinstance(service.ask(), Grant)
    service.policy = replace(HELD, grants=())
    assert isinstance(service.ask(), Denial)
    service.policy = HELD
    assert isinstance(service.ask(), Grant)


def test_what_an_old_password_opened_is_not_covered_by_what_the_new_one_did() -> None:
    service = AdminService(replace(HELD, users={"dev": User("dev", frozenset(), "hash 2")}))
    assert isinstance(service.ask(replace(DEV, password_hash="hash 2")), Grant)
    assert isinstance(service.ask(DEV), Denial)


def test_what_one_sign_in_opened_is_not_covered_by_what_another_did() -> None:
    one, other = (replace(DEV, sign_in=SignIn(name, 60.0)) for name in (b"one", b"other"))
    service = AdminService(replace(HELD, signed_out={b"one": None}))
    assert isinstance(service.ask(other), Grant)
    assert isinstance(service.ask(), Grant)
    denial = service.ask(one)
    assert isinstance(denial, Denial)
    assert "you signed out" in denial.message


def test_a_policy_that_is_not_known_any_more_says_of_nobody_that_they_are_gone() -> None:
    """Also of who was let in by it a moment ago, and whose shell has just started."""
    service = AdminService()
    grant = service.ask()
    assert isinstance(grant, Grant)
    service.policy = Policy(is_unavailable=True)
    assert service.ask() is POLICY_UNAVAILABLE
    assert service.authoriser.judge_again(grant) is POLICY_UNAVAILABLE
    for guest in (Guest("main", "host", "s1"), Guest("main", "host", None)):
        assert service.authoriser.judge_again(replace(grant, guest=guest)) is POLICY_UNAVAILABLE


def test_more_than_can_be_remembered_are_judged_all_the_same() -> None:
    service = AdminService(replace(HELD, grants=(GrantRule(1, "user:dev", "*"),)))
    for number in range(module.REMEMBERED + 2):
        assert isinstance(service.ask(target=Target(f"app{number}")), Grant)


_rules = st.builds(
    GrantRule,
    st.integers(1, 9),
    st.sampled_from(["user:dev", "user:ops"]),
    st.sampled_from(["app01", "app0*", "*"]),
    st.sampled_from(["*", "staging"]),
    st.none() | st.floats(0, 10),
)
_policies = st.builds(
    lambda rules, user, until: Policy(
        users={"dev": User("dev", frozenset(), "hash 1")} if user else {},
        tokens={"t1": TokenRecord("t1", "dev", b"", ("connect:app01",), until)},
        grants=tuple(rules),
    ),
    st.lists(_rules, max_size=3),
    st.booleans(),
    st.none() | st.floats(0, 10),
)
_times = st.floats(0, 11)


@given(
    st.lists(_policies, min_size=1, max_size=3),
    st.lists(
        st.tuples(st.integers(0, 2), _times, st.sampled_from([DEV, TOKEN]), st.sampled_from(APPS)),
        max_size=20,
    ),
)
def test_it_always_says_what_the_policy_says_now(
    policies: list[Policy], asked: list[tuple[int, float, Identity, Target]]
) -> None:
    service = AdminService()
    for number, now, identity, target in sorted(asked, key=lambda each: each[1]):
        service.policy, service.now = policies[number % len(policies)], now
        assert service.ask(identity, target) == authorise(service.policy, identity, target, now)
