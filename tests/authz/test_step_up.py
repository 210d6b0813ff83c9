"""Which targets want a fresh proof of presence, and whose proof counts: attacks first."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.authz.authoriser import Authoriser
from stagedoor.authz.decide import authorise
from stagedoor.authz.step_up import NO_STEP_UP, StepUpRules, check_proof
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant, GrantRule
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.policy import Policy, User
from stagedoor.model.target import Target
from stagedoor.settings.accounts import StepUpSettings

NOW = 1_800_000_000.0
MINE, OTHERS = (SignIn(bytes([n]) * 32, NOW + 3600) for n in (1, 2))
DEV = Identity("dev", frozenset(), Method.SSO, "Company", sign_in=MINE)
PRODUCTION = Target("shop", "production")
RULES = StepUpRules(
    StepUpSettings(targets=("*.production",)).patterns, 900.0, "https://gw.example/step-up"
)
HELD = Policy(
    users={"dev": User("dev")},
    grants=(GrantRule(1, "user:dev", "*"),),
)


def wanted(
    policy: Policy = HELD,
    identity: Identity = DEV,
    target: Target = PRODUCTION,
    rules: StepUpRules = RULES,
) -> str | None:
    denial = check_proof(rules, policy, identity, target, NOW)
    assert denial is None or denial.reason is Reason.STEP_UP_NEEDED
    if denial is None:
        return None
    assert denial.message.endswith("(step_up.targets)"), "the log names the setting"
    return denial.line


@pytest.mark.identity(35)
def test_the_proof_of_another_sign_in_counts_for_nothing() -> None:
    """Not even of the same user: what a thief has got is a sign-in."""
    assert wanted(replace(HELD, stepped_up={OTHERS.id: NOW})) is not None
    assert wanted(replace(HELD, stepped_up={MINE.id: NOW})) is None


@pytest.mark.identity(35)
@given(st.floats(0, 10_000))
def test_a_proof_counts_until_it_is_old(age_s: float) -> None:
    refused = wanted(replace(HELD, stepped_up={MINE.id: NOW - age_s}))
    assert (refused is None) == (NOW - age_s > NOW - 900)


def test_the_refusal_names_the_app_and_where_to_go() -> None:
    refused = wanted()
    assert refused is not None
    for part in ("shop.production", "open https://gw.example/step-up"):
        assert part in refused
    assert "the WebShell's page /step-up" in str(wanted(rules=replace(RULES, url=None)))


@pytest.mark.parametrize(
    "method", [Method.TOKEN, Method.PUBLIC_KEY, Method.PASSWORD, Method.CERTIFICATE]
)
def test_what_a_program_may_hold_proves_no_presence(method: Method) -> None:
    """No refusal names a page that could not help: the proof belongs to a sign-in."""
    refused = wanted(identity=Identity("dev", frozenset(), method, "t1"))
    assert refused is not None
    assert "stagedoor login" in refused
    assert "https://" not in refused


@pytest.mark.identity(35)
def test_a_security_key_that_asked_its_person_needs_no_other_proof() -> None:
    by_key = Identity("dev", frozenset(), Method.PUBLIC_KEY, "SHA256:x", user_verified_at=NOW - 1)
    assert wanted(identity=by_key) is None
    assert wanted(identity=replace(by_key, user_verified_at=NOW - 900)) is not None, (
        "a long connection"
    )
    with_old = replace(HELD, stepped_up={MINE.id: NOW - 900})
    assert wanted(with_old, replace(DEV, user_verified_at=NOW - 1)) is None


def test_only_the_named_targets_want_it() -> None:
    assert wanted(target=Target("shop")) is None
    assert wanted(target=Target("shop", "staging")) is None
    assert wanted(rules=NO_STEP_UP) is None
    by_app = replace(RULES, targets=StepUpSettings(targets=("shop",)).patterns)
    assert wanted(target=Target("shop"), rules=by_app) is not None
    assert wanted(rules=by_app) is not None, "in every environment"


def test_a_remembered_grant_does_not_remember_the_proof() -> None:
    """Grants are shared by connections; what one of them proved is not."""
    authoriser = Authoriser(lambda: HELD, lambda: NOW, step_up=RULES)
    plain = Identity("dev", frozenset(), Method.PUBLIC_KEY)
    assert authoriser.check_proof(replace(plain, user_verified_at=NOW), PRODUCTION) is None
    assert isinstance(authoriser.check_proof(plain, PRODUCTION), Denial)


def test_a_session_that_is_open_is_not_judged_by_it() -> None:
    """The rule of entry itself says nothing of it: the registry asks that one again."""
    assert isinstance(authorise(HELD, DEV, PRODUCTION, NOW), Grant)


@pytest.mark.parametrize(
    "entry", ["user:dev", "group:crew app*", "grant:7", "", "*.*.production", "A"]
)
def test_a_setting_names_apps_alone(entry: str) -> None:
    """A subject would be a way around it: one group or grant more."""
    with pytest.raises(ValueError, match=r"step_up\.targets holds"):
        StepUpSettings(targets=(entry,))
