"""Fresh proofs at a provider, judged by the provider's own clock alone."""

import pytest

from stagedoor.oidc.id_token import MARGIN_S, Claims, is_fresh, measure_proof_age
from stagedoor.oidc.request import Attempt, LoginPrompt, Pending, decode_pending, encode_pending

NOW = 1_800_000_000.0


def claims(auth_time: float | None, issued: object = NOW) -> Claims:
    return Claims("https://id.example", "1", None, auth_time, None, {"iat": issued})


def test_a_clock_that_is_wrong_changes_nothing() -> None:
    for ahead_s in (-86_400.0, 0.0, 86_400.0):
        assert measure_proof_age(claims(NOW + ahead_s - 3, NOW + ahead_s)) == 3


@pytest.mark.identity(35)
def test_a_session_from_before_the_question_is_no_proof() -> None:
    asked_s = 20.0
    assert is_fresh(claims(NOW - 5), asked_s)
    assert is_fresh(claims(NOW - asked_s - MARGIN_S), asked_s)
    assert is_fresh(claims(NOW - asked_s - MARGIN_S - 1), asked_s) is False


@pytest.mark.parametrize("silent", [claims(None), claims(NOW, None), claims(NOW, "now")])
def test_a_provider_that_does_not_say_proves_nothing(silent: Claims) -> None:
    assert is_fresh(silent, 1e9) is None


@pytest.mark.parametrize(
    "again", [None, LoginPrompt(NOW), LoginPrompt(NOW, "dev", "ab" * 32, True)]
)
def test_what_the_browser_keeps_comes_back_as_it_was(again: LoginPrompt | None) -> None:
    kept = Pending("Company", Attempt("s", "n", "v"), "/", NOW + 1, again)
    assert decode_pending(encode_pending(kept), NOW) == kept
    assert decode_pending(encode_pending(kept), NOW + 1) is None
