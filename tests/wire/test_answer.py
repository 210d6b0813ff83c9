"""The answers that programs and people read when they are let in or refused."""

import http.client
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.model.denial import Denial, Reason
from stagedoor.wire.http.answer import MAX_REASON_PHRASE_CHARS, encode_established, encode_refusal


class _Answer:
    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._answer)


def read(answer: bytes) -> tuple[int, str, http.client.HTTPMessage, bytes]:
    """Return what a program other than ours makes of it."""
    response = http.client.HTTPResponse(_Answer(answer))  # type: ignore[arg-type] # only makefile is used
    response.begin()
    return response.status, response.reason, response.headers, response.read()


STATUS = {
    Reason.BAD_REQUEST: 400,
    Reason.HEADER_TOO_LARGE: 431,
    Reason.HEADER_TIMEOUT: 408,
    Reason.TARGET_NOT_ALLOWED: 403,
    Reason.SOURCE_NOT_ALLOWED: 403,
    Reason.CREDENTIAL_MISSING: 407,
    Reason.CREDENTIAL_WRONG: 407,
    Reason.THROTTLED: 429,
    Reason.NO_GRANT: 403,
    Reason.STEP_UP_NEEDED: 403,
    Reason.NO_APP: 404,
    Reason.SHELL_UNAVAILABLE: 503,
    Reason.START_TIMEOUT: 504,
    Reason.ADDRESS_NOT_ALLOWED: 403,
    Reason.UPSTREAM_REFUSED: 502,
    Reason.UPSTREAM_TIMEOUT: 504,
    Reason.AUDIT_UNAVAILABLE: 503,
    Reason.DRAINING: 503,
    Reason.OVERLOADED: 503,
    Reason.SESSION_OVER: 410,
    Reason.RUN_LIMIT: 429,
    Reason.INTERNAL: 500,
}


@pytest.mark.line(5)
def test_the_yes_has_no_length_and_no_encoding() -> None:
    assert encode_established() == b"HTTP/1.1 200 Connection established\r\n\r\n"
    assert encode_established("01J-x") == (
        b"HTTP/1.1 200 Connection established\r\nStagedoor-Session: 01J-x\r\n\r\n"
    )
    assert encode_established("01J-x", 1_800_000_000.4).endswith(
        b"\r\nStagedoor-Session: 01J-x\r\nStagedoor-Token-Ends: 1800000000\r\n\r\n"
    )


def test_the_yes_says_that_frames_follow() -> None:
    assert encode_established("01J-x", is_resumable=True).endswith(
        b"\r\nStagedoor-Resume: 1\r\n\r\n"
    )


@pytest.mark.parametrize("session_id", ["", "a b", "a\r\nX: y", "a\n", "é", "a" * 101])
def test_a_session_id_cannot_bring_a_header_of_its_own(session_id: str) -> None:
    with pytest.raises(ValueError, match="session id"):
        encode_established(session_id)


@pytest.mark.line(6)
@pytest.mark.line(37)
@pytest.mark.parametrize("reason", Reason)
def test_a_refusal_is_one_line_of_text_and_the_end(reason: Reason) -> None:
    answer = encode_refusal(Denial(reason, "alice may not enter app02.ssh"))
    status, phrase, headers, body = read(answer)
    assert status == STATUS[reason]
    assert phrase.endswith(": alice may not enter app02.ssh")
    assert body == b"alice may not enter app02.ssh\n"
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["Content-Length"] == str(len(body))
    assert headers["Connection"] == "close"
    assert answer.endswith(b"\r\n\r\n" + body)
    assert ("Retry-After" in headers) is (status in (429, 503))
    assert ("Proxy-Authenticate" in headers) is (status == 407)


@pytest.mark.line(23)
def test_a_407_names_both_schemes_basic_first() -> None:
    headers = read(encode_refusal(Denial(Reason.CREDENTIAL_MISSING, "who are you?")))[2]
    assert headers.get_all("Proxy-Authenticate") == [
        'Basic realm="Stagedoor", charset="UTF-8"',
        'Bearer realm="Stagedoor"',
    ]


@pytest.mark.line(37)
def test_retry_after_says_what_the_denial_says() -> None:
    assert read(encode_refusal(Denial(Reason.THROTTLED, "slow down", 17)))[2]["Retry-After"] == "17"
    assert read(encode_refusal(Denial(Reason.UPSTREAM_REFUSED, "x", 3)))[2]["Retry-After"] == "3"
    assert read(encode_refusal(Denial(Reason.DRAINING, "x", -1)))[2]["Retry-After"] == "0"


@settings(deadline=None)
@given(st.sampled_from(Reason), st.text())
def test_no_message_can_end_a_header_or_add_one(reason: Reason, message: str) -> None:
    answer = encode_refusal(Denial(reason, message))
    plain = encode_refusal(Denial(reason, ""))
    status, phrase, headers, body = read(answer)
    assert status == STATUS[reason]
    assert headers.keys() == read(plain)[2].keys()
    assert answer.partition(b"\r\n\r\n")[0].isascii()
    assert phrase.isprintable()
    assert len(phrase) <= MAX_REASON_PHRASE_CHARS + 40
    assert body.count(b"\n") == 1
    assert body.decode()[:-1].isprintable()


def test_an_attack_on_the_header_stays_in_its_line() -> None:
    status, phrase, headers, body = read(
        encode_refusal(Denial(Reason.NO_GRANT, "x\r\nSet-Cookie: a\r\n\r\n\x1b[2J\u2028é"))
    )
    assert "Set-Cookie" not in headers
    assert phrase == "Forbidden: x Set-Cookie: a [2J ?"
    assert body.decode() == "x Set-Cookie: a [2J é\n"
    assert status == 403
