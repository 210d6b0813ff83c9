"""Basic and Bearer as RFC 7617 and RFC 6750 write them, and nothing looser."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.model.credential import PasswordCredential, TokenCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.wire.http.fields import parse_credential


def basic(text: str | bytes) -> bytes:
    return b"Basic " + base64.b64encode(text.encode() if isinstance(text, str) else text)


@pytest.mark.parametrize(
    ("text", "name", "secret"),
    [
        ("alice:pw", "alice", "pw"),
        ("alice:pw:with:colons", "alice", "pw:with:colons"),
        ("alice:", "alice", ""),
        (":token", "", "token"),
        (":", "", ""),
        ("test:123£", "test", "123£"),
        ("zoë: päss wörd 🔑", "zoë", " päss wörd 🔑"),
    ],
)
def test_the_first_colon_splits_name_and_password(text: str, name: str, secret: str) -> None:
    assert parse_credential(basic(text)) == PasswordCredential(name, secret)


@pytest.mark.parametrize(
    "value",
    [
        b"Basic",
        b"Basic ",
        b"Basic YWxpY2U6cHc",
        b"Basic YWxpY2U6cHc==",
        b"Basic YWxp Y2U6cHc=",
        b"Basic YWxpY2U6cHc=YQ==",
        b"Basic =YWxpY2U6cHc",
        b"Basic YWxpY2U6-_8=",
        b"Basic \xc3\xa9",
        b'Basic realm="x"',
        basic("nocolon"),
        basic(""),
        basic(b"alice:\xff"),
        basic("test:123£".encode("latin-1")),
        basic("ali\nce:pw"),
        basic("alice:p\x00w"),
        basic("alice:p\x7fw"),
        basic("alice:p\x9bw"),
        b"Bearer",
        b"Bearer ",
        b"Bearer a b",
        b"Bearer a=b",
        b"Bearer ==",
        b"Bearer a,b",
        b"Bearer \xff",
    ],
)
def test_a_broken_credential_is_a_bad_request_not_a_wrong_password(value: bytes) -> None:
    outcome = parse_credential(value)
    assert isinstance(outcome, Denial)
    assert outcome.reason is Reason.BAD_REQUEST


@pytest.mark.line(23)
@pytest.mark.parametrize(
    "value", [b"", b"Digest username=x", b"NTLM TlRM", b"Negotiate x", b"Basic\tx", b"hunter2"]
)
def test_another_scheme_is_answered_with_those_that_are_spoken(value: bytes) -> None:
    outcome = parse_credential(value)
    assert isinstance(outcome, Denial)
    assert outcome.reason is Reason.CREDENTIAL_WRONG
    assert "Basic or Bearer" in outcome.message


@pytest.mark.line(24)
def test_schemes_in_any_case_and_more_spaces_pass() -> None:
    assert parse_credential(b"bEARER   a.b~c+d/e_f-g==") == TokenCredential("a.b~c+d/e_f-g==")
    assert parse_credential(b"BASIC   " + basic("a:b")[6:]) == PasswordCredential("a", "b")


@settings(deadline=None)
@given(st.one_of(st.binary(), st.binary().map(lambda b: b"Basic " + b), st.binary().map(basic)))
def test_any_bytes_give_a_credential_or_a_refusal_that_repeats_nothing(value: bytes) -> None:
    outcome = parse_credential(value)
    if isinstance(outcome, Denial):
        assert outcome.message in {
            "the Bearer token is empty or has a character that no token has",
            "this gateway accepts only Basic or Bearer in Proxy-Authorization",
            "the Basic name and password are not UTF-8",
            "the Basic credential is not base64",
            "the Basic credential has no colon between name and password",
            "the Basic name or password has a control character in it",
        }
    elif isinstance(outcome, PasswordCredential):
        assert ":" not in outcome.name
        assert parse_credential(basic(f"{outcome.name}:{outcome.secret}")) == outcome
