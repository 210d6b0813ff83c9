"""What comes of asking a provider again: what ends a sign-in, and what does not."""

import pytest

from stagedoor.oidc.errors import (
    FailedRequestError,
    GrantEndedError,
    OidcError,
    RefusedRequestError,
    UnavailableError,
)
from stagedoor.oidc.id_token import Claims
from stagedoor.oidc.mapping import Rules
from stagedoor.oidc.refresh import SignInAlive, SignInEnded, Unknown, judge, wait_s

RULES = Rules(groups={"/teams/shop": "shop"})


def claims(subject: str = "1", **all_: object) -> Claims:
    return Claims("https://id.example", subject, None, None, None, all_)


@pytest.mark.identity(28)
def test_new_groups_are_told() -> None:
    assert judge(claims(groups=["/teams/shop", "x"]), "1", RULES) == SignInAlive(
        frozenset({"shop"})
    )


@pytest.mark.identity(31)
def test_a_claim_that_is_missing_keeps_and_an_empty_one_takes_away() -> None:
    kept = judge(claims(), "1", RULES)
    assert isinstance(kept, SignInAlive)
    assert kept.groups is None
    assert "'groups' is missing" in (kept.warning or "")
    broken = judge(claims(groups=[1]), "1", RULES)
    assert isinstance(broken, SignInAlive)
    assert broken.groups is None
    assert judge(claims(groups=[]), "1", RULES) == SignInAlive(frozenset())


@pytest.mark.identity(29)
def test_only_the_end_of_a_grant_or_somebody_elses_name_ends_anything() -> None:
    assert isinstance(judge(GrantEndedError("invalid_grant"), "1", RULES), SignInEnded)
    assert isinstance(judge(claims("2", groups=["/teams/shop"]), "1", RULES), SignInEnded)
    for error in (UnavailableError("503"), OidcError("401, invalid_client")):
        assert judge(error, "1", RULES, str(error), others_hold=True) == Unknown(str(error))


@pytest.mark.identity(29)
def test_a_refusal_ends_a_sign_in_when_it_comes_twice_in_a_row() -> None:
    refusal = RefusedRequestError("400, invalid_request")
    for previous in (None, "no answer", "400, access_denied"):
        assert judge(refusal, "1", RULES, previous) == Unknown("400, invalid_request")
    assert judge(refusal, "1", RULES, str(refusal)) == SignInEnded(
        "400, invalid_request, twice in a row"
    )


@pytest.mark.identity(29)
def test_a_failure_that_is_reported_for_one_person_alone_is_about_them() -> None:
    failure = FailedRequestError("500, invalid_request")
    assert judge(failure, "1", RULES, None, others_hold=True) == Unknown("500, invalid_request")
    assert judge(failure, "1", RULES, str(failure)) == Unknown("500, invalid_request")
    ended = judge(failure, "1", RULES, str(failure), others_hold=True)
    assert isinstance(ended, SignInEnded)


def test_a_name_that_changed_there_changes_nothing_here() -> None:
    verdict = judge(claims(groups=[], preferred_username="NOT A NAME"), "1", RULES)
    assert verdict == SignInAlive(frozenset())


def test_failures_are_tried_again_soon_and_then_less_often() -> None:
    assert [wait_s(600, failures, lambda: 0.0) for failures in range(8)] == [
        *(600, 30, 60, 120, 240, 480, 600, 600)
    ]
    assert wait_s(10, 3, lambda: 0.0) == 10
    assert wait_s(600, 0, lambda: 1.0) == pytest.approx(480)
    assert wait_s(600, 5000, lambda: 0.0) == 600
