"""Tokens of machines: which are taken, and how the others are refused."""

import hmac
import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from stagedoor.oidc.errors import OidcError, UnknownKeyError
from stagedoor.oidc.id_token import SKEW_S, read_keys
from stagedoor.oidc.machine import (
    AGE_S,
    MachineClaims,
    Rule,
    find_rule,
    read_jwks_uri,
    verify_machine,
)

ISSUER, NOW = "https://token.actions.githubusercontent.com", 1_800_000_000.0
KEY = ECKey.generate_key("P-256", {"kid": "one", "use": "sig"})
KEYS = read_keys(json.dumps({"keys": [KEY.as_dict(private=False)]}).encode())
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "sub": "repo:acme/shop:ref:refs/heads/main",
    "aud": "https://gw.example",
    "repository": "acme/shop",
    "ref": "refs/heads/main",
    "iat": NOW - 10,
    "exp": NOW + 300,
}
MAIN = Rule(
    "main",
    "https://gw.example",
    {"repository": ["acme/shop"], "ref": ["refs/heads/main", "refs/tags/v*"]},
)


def token(key: Any = KEY, algorithm: str = "ES256", /, **more: object) -> str:
    claims = {name: value for name, value in (CLAIMS | more).items() if value is not None}
    return jwt.encode({"alg": algorithm, "kid": "one"}, claims, key, algorithms=[algorithm])


def by_hand(algorithm: str, secret: bytes) -> str:
    """A MAC by a public key, and no signature: our library makes neither."""
    head, payload = (
        urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": algorithm, "kid": "one"}, CLAIMS)
    )
    mac = hmac.digest(secret, head + b"." + payload, "sha256") if secret else b""
    return b".".join([head, payload, urlsafe_b64encode(mac).rstrip(b"=")]).decode()


def judged(text: str, keys: KeySet = KEYS) -> Rule:
    return find_rule(verify_machine(text, keys, issuer=ISSUER, now=NOW), [MAIN])


@pytest.mark.identity(37)
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"ref": "refs/tags/v1.2"},
        {"aud": ["https://other.example", "https://gw.example"]},
        {"iat": NOW - AGE_S + 1, "exp": NOW + 1},
        {"iat": NOW + SKEW_S - 1},
        {"exp": NOW - SKEW_S + 1},
    ],
)
def test_right_claims_are_taken(more: dict[str, Any]) -> None:
    assert judged(token(**more)) is MAIN


@pytest.mark.identity(37)
@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"repository": "evil/shop"}, r"nearest is 'main', but claim repository is 'evil/shop'$"),
        ({"repository": "acme/shop2"}, "claim repository is 'acme/shop2'"),
        ({"repository": ["acme/shop"]}, "claim repository is missing"),
        ({"repository": None}, "claim repository is missing"),
        ({"ref": "refs/heads/v1"}, "claim ref is 'refs/heads/v1'"),
        ({"ref": "x\n\x1b[2J" + "y" * 200}, r"claim ref is 'x\\n\\x1b\[2Jy{1,80}'…$"),
        ({"aud": "https://other.example"}, r"is for 'https://other.example' \(aud\)"),
        ({"aud": None}, r"names no audience \(aud\)"),
        ({"aud": [1]}, r"names no audience \(aud\)"),
        ({"sub": None}, "no subject"),
        ({"sub": "x" * 300}, "no subject"),
        ({"iss": "https://gitlab.com"}, "another issuer"),
        ({"exp": None}, r"\(iat, exp\)"),
        ({"iat": None}, r"\(iat, exp\)"),
        ({"exp": NOW - 3600}, "ended 60 min ago"),
        ({"iat": NOW + 3600}, "60 min in the future"),
        ({"nbf": NOW + 3600}, r"\(nbf\)"),
        ({"iat": NOW - AGE_S - 1, "exp": NOW + 365 * 86400}, "more than 24 h ago"),
    ],
)
def test_wrong_ones_are_refused_by_name(more: dict[str, Any], said: str) -> None:
    with pytest.raises(OidcError, match=said):
        judged(token(**more))


@pytest.mark.identity(37)
def test_nothing_is_taken_that_the_issuer_did_not_sign() -> None:
    stranger = ECKey.generate_key("P-256", {"kid": "one"})
    for forged in (
        token(stranger),
        by_hand("HS256", KEY.as_pem(private=False)),
        by_hand("none", b""),
        token()[:-4] + "AAAA",
        ".".join([*token().split(".")[:2], ""]),
        "",
        "a.b.c",
    ):
        with pytest.raises(OidcError):
            judged(forged)
    other = ECKey.generate_key("P-256", {"kid": "two"})
    text = jwt.encode({"alg": "ES256", "kid": "two"}, CLAIMS, other, algorithms=["ES256"])
    with pytest.raises(UnknownKeyError):
        judged(text)


def test_the_first_rule_that_fits_counts_and_the_nearest_is_named() -> None:
    tags = Rule("tags", "https://gw.example", {"ref": ["refs/tags/*"], "protected": ["true"]})
    claims = MachineClaims("x", ("https://gw.example",), {"ref": "refs/tags/1", "protected": True})
    assert find_rule(claims, [MAIN, tags]) is tags
    claims = MachineClaims("x", ("https://gw.example",), {"ref": "refs/tags/1", "protected": 0})
    with pytest.raises(OidcError, match="nearest is 'tags', but claim protected is '0'"):
        find_rule(claims, [MAIN, tags])


@given(
    st.dictionaries(
        st.sampled_from(["repository", "ref", "sub"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text() | st.just("acme/shop"),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=4,
        ),
    )
)
def test_whatever_the_claims_they_fit_whole_or_are_refused_on_one_line(
    claims: dict[str, Any],
) -> None:
    received = MachineClaims("x", (MAIN.audience,), claims)
    try:
        find_rule(received, [MAIN])
    except OidcError as error:
        assert str(error).isprintable()  # noqa: PT017 - it is what must be
    else:
        assert claims["repository"] == "acme/shop"
        assert str(claims["ref"]).startswith("refs/")


def test_a_discovery_document_without_endpoints_for_people_is_enough() -> None:
    """As GitHub's and a Kubernetes API server's are."""
    document = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/.well-known/jwks"}
    assert read_jwks_uri(json.dumps(document).encode(), ISSUER) == document["jwks_uri"]
    for wrong in ({"issuer": "https://x.example"}, {"jwks_uri": "http://x.example/keys"}):
        with pytest.raises(OidcError):
            read_jwks_uri(json.dumps(document | wrong).encode(), ISSUER)
