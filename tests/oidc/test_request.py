"""What is sent to a provider, and what comes back by the browser and from the token endpoint."""

import hashlib
import json
from base64 import b64decode, urlsafe_b64encode
from dataclasses import replace
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.oidc.errors import GrantEndedError, OidcError, SignInDeniedError, UnavailableError
from stagedoor.oidc.provider import Provider, join_discovery_url, read_provider
from stagedoor.oidc.request import (
    Attempt,
    ClientConfig,
    build_authorization_url,
    make_attempt,
    make_code_request,
    read_callback,
    read_tokens,
    refresh_request,
)

ISSUER = "https://id.example/realms/company"
PROVIDER = Provider(ISSUER, f"{ISSUER}/auth", f"{ISSUER}/token", f"{ISSUER}/certs")
CLIENT = ClientConfig(
    "stage:door", "s3:cret/+ä", "https://shell.example/sign-in/sso", ("openid", "email")
)
ATTEMPT = Attempt("the-state", "the-nonce", "the-verifier")
DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/certs",
}


def test_the_browser_is_sent_with_a_challenge_and_never_with_the_verifier() -> None:
    url = build_authorization_url(PROVIDER, CLIENT, ATTEMPT, [("prompt", "login")])
    sent = dict(parse_qsl(urlsplit(url).query, strict_parsing=True))
    digest = hashlib.sha256(b"the-verifier").digest()
    assert sent == {
        "response_type": "code",
        "client_id": "stage:door",
        "redirect_uri": "https://shell.example/sign-in/sso",
        "scope": "openid email",
        "state": "the-state",
        "nonce": "the-nonce",
        "code_challenge": urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        "prompt": "login",
    }
    assert "the-verifier" not in url
    with_query = replace(PROVIDER, authorization_endpoint=f"{ISSUER}/auth?tenant=1")
    assert "?tenant=1&response_type=code&" in build_authorization_url(with_query, CLIENT, ATTEMPT)


def test_no_two_attempts_share_anything_and_none_is_shown() -> None:
    numbers = iter(range(6))
    one, two = (make_attempt(lambda n: next(numbers).to_bytes(n, "big")) for _ in range(2))
    assert len({one.state, one.nonce, one.verifier, two.state, two.nonce, two.verifier}) == 6
    # RFC 7636 §4.1: at least 43 characters.
    assert len(one.verifier) == 43
    assert one.verifier not in repr(one)
    assert CLIENT.secret not in repr(CLIENT)
    assert "Basic" not in repr(make_code_request(PROVIDER, CLIENT, "c", ATTEMPT))


GOOD = [("state", "the-state"), ("code", "abc")]


def test_a_callback_gives_its_code() -> None:
    assert read_callback(GOOD, PROVIDER, ATTEMPT) == "abc"
    assert (
        read_callback([*GOOD, ("iss", ISSUER), ("session_state", "x")], PROVIDER, ATTEMPT) == "abc"
    )


@pytest.mark.identity(11)
@pytest.mark.parametrize(
    ("query", "why"),
    [
        ([("state", "other"), ("code", "abc")], "state"),
        ([("code", "abc")], "state"),
        ([("state", "the-state")], "no code"),
        ([("state", "the-state"), ("code", "")], "no code"),
        ([("state", "the-state"), ("code", "x" * 70_000)], "no code"),
        ([*GOOD, ("code", "other")], "more than one"),
        ([*GOOD, ("state", "the-state")], "more than one"),
        ([*GOOD, ("iss", "https://evil.example")], "issuer"),
    ],
)
def test_a_callback_that_is_none_of_ours_is_refused(query: list[tuple[str, str]], why: str) -> None:
    with pytest.raises(OidcError, match=why):
        read_callback(query, PROVIDER, ATTEMPT)


def test_a_provider_that_names_itself_has_to() -> None:
    with pytest.raises(OidcError, match="RFC 9207"):
        read_callback(GOOD, replace(PROVIDER, sends_issuer=True), ATTEMPT)


def test_a_no_of_the_provider_is_told_by_its_code_alone() -> None:
    denied = [("state", "the-state"), ("error", "access_denied"), ("error_description", "<b>no")]
    with pytest.raises(SignInDeniedError) as said:
        read_callback(denied, PROVIDER, ATTEMPT)
    assert str(said.value) == "the provider says access_denied"
    with pytest.raises(SignInDeniedError, match="an error without a name"):
        read_callback([("state", "the-state"), ("error", "\x1b[31m")], PROVIDER, ATTEMPT)


def test_the_secret_goes_into_the_header_or_where_the_provider_takes_it() -> None:
    asked = make_code_request(PROVIDER, CLIENT, "abc", ATTEMPT)
    basic = dict(asked.headers)["Authorization"].removeprefix("Basic ")
    name, _, secret = b64decode(basic).decode().partition(":")
    assert (unquote(name), unquote(secret)) == (CLIENT.client_id, CLIENT.secret)
    assert dict(parse_qsl(asked.body.decode())) == {
        "grant_type": "authorization_code",
        "code": "abc",
        "redirect_uri": CLIENT.redirect_uri,
        "code_verifier": "the-verifier",
    }
    posted = refresh_request(replace(PROVIDER, secret_by_post=True), CLIENT, "r")
    assert "Authorization" not in dict(posted.headers)
    assert dict(parse_qsl(posted.body.decode())) == {
        "grant_type": "refresh_token",
        "refresh_token": "r",
        "client_id": CLIENT.client_id,
        "client_secret": CLIENT.secret,
    }


def test_answers_of_the_token_endpoint_are_told_apart() -> None:
    tokens = read_tokens(200, b'{"id_token": "a.b.c", "access_token": "x", "refresh_token": "y"}')
    assert (tokens.id_token, tokens.access_token, tokens.refresh_token) == ("a.b.c", "x", "y")
    assert "a.b.c" not in repr(tokens)
    for status in (429, 500, 503):
        with pytest.raises(UnavailableError):
            read_tokens(status, b"<html>")
    with pytest.raises(GrantEndedError):
        read_tokens(400, b'{"error": "invalid_grant"}')
    with pytest.raises(OidcError, match=r"invalid_client; check sso\.client_id"):
        read_tokens(401, b'{"error": "invalid_client"}')
    for body in (b"", b"[]", b"x" * 300_000, b'{"id_token": 1}', '{"id_token": "ä"}'.encode()):
        with pytest.raises(OidcError):
            read_tokens(200, body)


def test_a_discovery_document_is_read() -> None:
    assert read_provider(json.dumps(DOCUMENT).encode(), ISSUER) == PROVIDER
    more = {
        **DOCUMENT,
        "userinfo_endpoint": f"{ISSUER}/userinfo",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "authorization_response_iss_parameter_supported": True,
    }
    assert read_provider(json.dumps(more).encode(), ISSUER) == replace(
        PROVIDER, userinfo_endpoint=f"{ISSUER}/userinfo", sends_issuer=True, secret_by_post=True
    )
    assert (
        join_discovery_url("https://id.example/")
        == "https://id.example/.well-known/openid-configuration"
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"issuer": f"{ISSUER}/"}, "letter by letter"),
        ({"issuer": None}, "letter by letter"),
        ({"token_endpoint": "http://id.example/token"}, "plain http"),
        ({"token_endpoint": None}, "no token_endpoint"),
        ({"jwks_uri": "file:///etc/passwd"}, "no URL"),
        ({"authorization_endpoint": "https://user:pw@id.example/"}, "password"),
        ({"token_endpoint_auth_methods_supported": ["private_key_jwt"]}, "neither by"),
        ({"code_challenge_methods_supported": ["plain"]}, "PKCE"),
    ],
)
def test_a_discovery_document_that_cannot_be_trusted_is_refused(
    change: dict[str, object], why: str
) -> None:
    with pytest.raises(OidcError, match=why):
        read_provider(json.dumps({**DOCUMENT, **change}).encode(), ISSUER)


@given(st.binary(max_size=200))
def test_any_bytes_for_a_document_or_an_answer_are_refused(data: bytes) -> None:
    with pytest.raises(OidcError):
        read_provider(data, ISSUER)
    for status in (200, 400):
        try:
            read_tokens(status, data)
        except OidcError:
            continue


@given(
    st.lists(
        st.tuples(st.sampled_from(["state", "code", "iss", "error", "x"]), st.text()), max_size=5
    )
)
def test_any_callback_gives_a_code_of_ours_or_is_refused(query: list[tuple[str, str]]) -> None:
    try:
        code = read_callback(query, PROVIDER, ATTEMPT)
    except OidcError:
        return
    assert ("state", "the-state") in query
    assert ("code", code) in query
