"""ID tokens: what is believed, and each way in which one may be false."""

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

from stagedoor.oidc.errors import OidcError, UnknownKeyError
from stagedoor.oidc.id_token import SKEW_S, Claims, merge_userinfo, read_keys, verify
from stagedoor.oidc.request import Tokens

ISSUER, CLIENT, NONCE, NOW = "https://id.example", "stagedoor", "n-0S6_WzA2Mj", 1_800_000_000.0
KEY = ECKey.generate_key("P-256", {"kid": "one", "use": "sig"})
OTHER = ECKey.generate_key("P-256", {"kid": "two", "use": "sig"})
GOOD: dict[str, Any] = {
    "iss": ISSUER,
    "aud": CLIENT,
    "sub": "248289761001",
    "nonce": NONCE,
    "iat": NOW - 1,
    "exp": NOW + 600,
    "auth_time": NOW - 60,
    "sid": "08a5019c",
}


def public(*keys: Any) -> KeySet:
    document = {"keys": [key.as_dict(private=False) for key in keys]}
    return read_keys(json.dumps(document).encode())


def signed(claims: dict[str, Any], key: Any = KEY, **header: Any) -> str:
    head = {"alg": "ES256", "kid": key.kid, **header}
    return jwt.encode(head, claims, key, algorithms=[head["alg"]])


def read_claims(token: str | None, keys: KeySet | None = None, access: str | None = None) -> Claims:
    return verify(
        Tokens(token, access),
        keys or public(KEY),
        issuer=ISSUER,
        client_id=CLIENT,
        nonce=NONCE,
        now=NOW,
    )


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def test_a_good_token_says_who_and_when() -> None:
    claims = read_claims(signed(GOOD))
    assert (claims.issuer, claims.subject, claims.session_id) == (ISSUER, GOOD["sub"], "08a5019c")
    assert claims.auth_time == NOW - 60


@pytest.mark.identity(11)
@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({**GOOD, "iss": "https://id.example/"}, "another issuer"),
        (without("iss"), "another issuer"),
        ({**GOOD, "aud": "other"}, "another client (aud): 'other'"),
        ({**GOOD, "aud": []}, "another client (aud)"),
        ({**GOOD, "aud": {"stagedoor": 1}}, "another client (aud)"),
        (without("aud"), "another client (aud)"),
        ({**GOOD, "aud": [CLIENT, "other"]}, "another client (azp)"),
        ({**GOOD, "azp": "other"}, "another client (azp)"),
        ({**GOOD, "nonce": "x"}, "nonce"),
        ({**GOOD, "nonce": 7}, "nonce"),
        (without("nonce"), "nonce"),
        (without("exp"), "does not say when"),
        (without("iat"), "does not say when"),
        ({**GOOD, "exp": "never"}, "does not say when"),
        ({**GOOD, "exp": True}, "does not say when"),
        ({**GOOD, "exp": NOW - SKEW_S}, "ended 5 min ago: the gateway's clock"),
        ({**GOOD, "iat": NOW + SKEW_S + 60}, "issued 6 min in the future: the gateway's clock"),
        ({**GOOD, "nbf": NOW + SKEW_S + 60}, "not good for another 6 min"),
        ({**GOOD, "at_hash": "x"}, "at_hash"),
        (without("sub"), "no subject"),
        ({**GOOD, "sub": ""}, "no subject"),
        ({**GOOD, "sub": "x" * 256}, "no subject"),
        ({**GOOD, "sub": 1}, "no subject"),
        ({**GOOD, "sub": "a\x1b[2J"}, "no subject"),
    ],
)
def test_a_claim_that_is_not_for_us_is_refused(claims: dict[str, Any], why: str) -> None:
    with pytest.raises(OidcError) as refused:
        read_claims(signed(claims))
    assert why in str(refused.value)


@pytest.mark.identity(24)
@pytest.mark.parametrize("off_s", [-240, 240])
def test_clocks_that_differ_by_four_minutes_do_no_harm(off_s: float) -> None:
    read_claims(signed({**GOOD, "iat": NOW + off_s, "exp": NOW + off_s + 10, "nbf": NOW + off_s}))


@pytest.mark.identity(11)
def test_an_access_token_that_is_not_the_tokens_own_is_refused() -> None:
    digest = hashlib.sha256(b"its own").digest()[:16]
    token = signed({**GOOD, "at_hash": urlsafe_b64encode(digest).rstrip(b"=").decode()})
    read_claims(token, access="its own")
    with pytest.raises(OidcError, match="at_hash"):
        read_claims(token, access="another")
    with pytest.raises(OidcError, match="at_hash"):
        read_claims(token)


def unsigned(token: str) -> str:
    head = urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()
    return f"{head}.{token.split('.')[1]}."


def by_the_public_key(_: str) -> str:
    """The public key, taken for the secret of a MAC."""
    secret = OctKey.import_key(json.dumps(KEY.as_dict(private=False)))
    return jwt.encode({"alg": "HS256", "kid": "one"}, GOOD, secret, algorithms=["HS256"])


def key_in_the_header(_: str) -> str:
    header = {"alg": "ES256", "jwk": OTHER.as_dict(private=False), "kid": "one"}
    return jwt.encode(header, GOOD, OTHER, algorithms=["ES256"])


def changed(token: str) -> str:
    head, body, signature = token.split(".")
    claims = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    other = urlsafe_b64encode(json.dumps({**claims, "sub": "root"}).encode()).rstrip(b"=").decode()
    return f"{head}.{other}.{signature}"


@pytest.mark.identity(11)
@pytest.mark.parametrize(
    "forge",
    [
        unsigned,
        by_the_public_key,
        key_in_the_header,
        changed,
        lambda token: signed(GOOD, OTHER, kid="one"),
        lambda token: token[:-4],
        lambda token: token + "." + token,
        lambda token: "",
        lambda token: "a.b.c",
    ],
)
def test_a_forged_token_is_refused(forge: Callable[[str], str]) -> None:
    with pytest.raises(OidcError) as refused:
        read_claims(forge(signed(GOOD)))
    assert not isinstance(refused.value, UnknownKeyError)


@pytest.mark.identity(11)
def test_a_key_that_is_not_published_is_told_apart() -> None:
    with pytest.raises(UnknownKeyError):
        read_claims(signed(GOOD, OTHER))
    # With two published keys, a token that names none is by neither.
    head = {"alg": "ES256"}
    nameless = jwt.encode(head, GOOD, KEY, algorithms=["ES256"])
    with pytest.raises(OidcError):
        read_claims(nameless, public(KEY, OTHER))
    read_claims(nameless, public(KEY))


def test_a_provider_that_sends_no_id_token_is_told_what_is_missing() -> None:
    with pytest.raises(OidcError, match="scopes must have openid"):
        read_claims(None)


def test_keys_that_cannot_verify_are_left_out() -> None:
    listed = [
        {"kty": "oct", "k": "c2VjcmV0"},
        {**RSAKey.generate_key(2048).as_dict(private=False), "use": "enc"},
        {"kty": "AKP", "alg": "ML-DSA-44"},
        {"kty": "RSA"},
        None,
        OKPKey.generate_key("Ed25519").as_dict(private=False),
    ]
    assert len(read_keys(json.dumps({"keys": listed}).encode()).keys) == 1
    for empty in (listed[:5], []):
        with pytest.raises(OidcError, match="no key that can verify"):
            read_keys(json.dumps({"keys": empty}).encode())
    with pytest.raises(OidcError, match="too many"):
        read_keys(json.dumps({"keys": listed * 10}).encode())


def test_userinfo_adds_what_the_token_leaves_out_and_changes_nothing() -> None:
    claims = read_claims(signed({**GOOD, "email": "alice@example.com"}))
    more = {"sub": GOOD["sub"], "groups": ["ops"], "email": "root@example.com", "iss": "x"}
    merged = merge_userinfo(claims, json.dumps(more).encode())
    assert merged.all["groups"] == ["ops"]
    assert (merged.all["email"], merged.all["iss"]) == ("alice@example.com", ISSUER)
    for other in ({"sub": "x"}, {"groups": ["ops"]}):
        with pytest.raises(OidcError, match="another user"):
            merge_userinfo(claims, json.dumps(other).encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(st.sampled_from(sorted(GOOD)), JSON)
def test_any_value_of_a_claim_is_believed_or_refused(name: str, value: object) -> None:
    try:
        claims = read_claims(signed({**GOOD, name: value}))
    except OidcError:
        return
    assert claims.issuer == ISSUER


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.decode("latin-1")))
def test_any_text_for_a_token_is_refused(token: str) -> None:
    with pytest.raises(OidcError):
        read_claims(token)


@given(JSON)
def test_any_document_for_keys_is_read_or_refused(value: object) -> None:
    for document in (value, {"keys": value}, {"keys": [value]}):
        try:
            read_keys(json.dumps(document).encode())
        except OidcError:
            continue
        raise AssertionError("nothing here is a key")
