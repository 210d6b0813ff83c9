"""Logout tokens: what is believed, and each way in which one may be false."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.oidc.errors import OidcError, UnknownKeyError
from stagedoor.oidc.logout import AGE_S, EVENT, Logout, read_unverified_issuer, verify_logout
from tests.oidc.test_id_token import CLIENT, ISSUER, KEY, NOW, OTHER, public, signed
from tests.oidc.test_id_token import GOOD as ID_TOKEN

GOOD: dict[str, Any] = {
    "iss": ISSUER,
    "aud": CLIENT,
    "sub": "1",
    "sid": "s",
    "iat": NOW - 1,
    "exp": NOW + 120,
    "jti": "one",
    "events": {EVENT: {}},
}


def parse(token: str) -> Logout:
    return verify_logout(token, public(KEY), issuer=ISSUER, client_id=CLIENT, now=NOW)


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name not in names}


@pytest.mark.identity(30)
def test_a_good_one_names_a_session_or_a_person() -> None:
    both = parse(signed(GOOD, typ="logout+jwt"))
    assert (both.subject, both.session_id) == ("1", "s")
    assert both.expires_at > NOW + AGE_S
    assert parse(signed(without("sid"))).session_id is None
    assert parse(signed(without("sub"))).subject is None
    # The draft of the specification had no end, and some providers send none still.
    assert parse(signed(without("exp"))).id == both.id
    assert parse(signed({**GOOD, "jti": "two"})).id != both.id


@pytest.mark.identity(30)
@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({**GOOD, "iss": "https://other.example"}, "iss"),
        ({**GOOD, "aud": "other"}, "aud"),
        ({**GOOD, "nonce": "n"}, "nonce"),
        ({**GOOD, "nonce": None}, "nonce"),
        ({**GOOD, "iat": NOW - AGE_S - 1}, "iat"),
        ({**GOOD, "iat": NOW + 3600}, "iat"),
        ({**GOOD, "exp": NOW - 3600}, "exp"),
        ({**GOOD, "exp": "soon"}, "exp"),
        ({**GOOD, "events": {}}, "events"),
        ({**GOOD, "events": [EVENT]}, "events"),
        ({**GOOD, "events": {EVENT: None}}, "events"),
        ({**GOOD, "jti": 1}, "jti"),
        ({**GOOD, "sid": ""}, "sid"),
        ({**GOOD, "sub": ["1"]}, "sub"),
        (without("iat"), "iat"),
        (without("jti"), "jti"),
        (without("events"), "events"),
        (without("sub", "sid"), "neither"),
        # An ID token, which is no secret of the provider, is no logout token.
        (ID_TOKEN, "events"),
    ],
)
def test_each_false_one_is_refused(claims: dict[str, Any], why: str) -> None:
    with pytest.raises(OidcError, match=why):
        parse(signed(claims))


@pytest.mark.identity(30)
def test_only_the_providers_signature_counts() -> None:
    with pytest.raises(UnknownKeyError):
        parse(signed(GOOD, OTHER))
    head, payload, signature = signed(GOOD).split(".")
    for token in (f"{head}.{payload}.", f"eyJhbGciOiJub25lIn0.{payload}.", f"{head}.{payload}", ""):
        with pytest.raises(OidcError):
            parse(token)
    assert read_unverified_issuer(f"{head}.{payload}.{signature}") == ISSUER


@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.x", fullmatch=True))
def test_whatever_comes_names_an_issuer_or_none(token: str) -> None:
    named = read_unverified_issuer(token)
    assert named is None or isinstance(named, str)
