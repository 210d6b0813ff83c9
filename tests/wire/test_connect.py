"""The head of a request: every split gives the same answer, and only plain requests pass."""

import base64
import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.model.credential import PasswordCredential, TokenCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.trace import TraceContext
from stagedoor.wire.http.connect import MAX_HEADER_BYTES, MAX_HEADER_LINES, HeadParser, Request

Outcome = Request | Denial | None

ALICE = b"Proxy-Authorization: Basic " + base64.b64encode(b"alice:sekret") + b"\r\n"
PLAIN = b"CONNECT app01.ssh:22 HTTP/1.0\r\n\r\n"
# What the programs of Debian 12 send, byte for byte; corkscrew 2.0 without Debian's patches last.
STOCK = {
    "nc": b"CONNECT app01.ssh:22 HTTP/1.0\r\n\r\n",
    "nc -P": b"CONNECT app01.ssh:22 HTTP/1.0\r\n" + ALICE + b"\r\n",
    "ncat": b"CONNECT app01.ssh:22 HTTP/1.0\r\n" + ALICE + b"\r\n",
    "connect-proxy": b"CONNECT app01.ssh:22 HTTP/1.0\r\n" + ALICE + b"\r\n",
    "proxytunnel": b"CONNECT app01.ssh:22 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    + ALICE
    + b"Proxy-Connection: Keep-Alive\r\n\r\n",
    "socat": b"CONNECT app01.ssh:22 HTTP/1.0\r\n" + ALICE.replace(b"-A", b"-a") + b"\r\n",
    "curl": b"CONNECT app01.ssh:22 HTTP/1.1\r\nHost: app01.ssh:22\r\n"
    + ALICE
    + b"User-Agent: curl/7.88.1\r\nProxy-Connection: Keep-Alive\r\n\r\n",
    "corkscrew": b"CONNECT app01.ssh:22 HTTP/1.0\n" + ALICE + b"\r\n",
}


def whole(received: bytes) -> Outcome:
    return HeadParser().feed(received)


def in_pieces(received: bytes, cuts: list[int]) -> Outcome:
    """Feed between the cuts; what comes after a finished head is added to its early bytes."""
    parser = HeadParser()
    outcome: Outcome = None
    bounds = [0, *sorted(cuts), len(received)]
    for start, end in itertools.pairwise(bounds):
        outcome = parser.feed(received[start:end])
        if isinstance(outcome, Request):
            return replace(outcome, early=outcome.early + received[end:])
    return outcome


def by_bytes(received: bytes) -> Outcome:
    return in_pieces(received, list(range(1, len(received))))


def refused(received: bytes, reason: Reason = Reason.BAD_REQUEST) -> str:
    outcome = whole(received)
    assert isinstance(outcome, Denial), outcome
    assert outcome.reason is reason, outcome
    assert by_bytes(received) == outcome
    return outcome.message


def accepted(received: bytes) -> Request:
    outcome = whole(received)
    assert isinstance(outcome, Request), outcome
    assert by_bytes(received) == outcome
    return outcome


def with_fields(*fields: bytes, version: bytes = b"1.0") -> bytes:
    return (
        b"CONNECT app01.ssh:22 HTTP/"
        + version
        + b"\r\n"
        + b"".join(f + b"\r\n" for f in fields)
        + b"\r\n"
    )


@pytest.mark.line(1)
@pytest.mark.line(2)
@pytest.mark.parametrize("name", STOCK)
def test_a_stock_program_split_at_any_byte_keeps_every_early_byte(name: str) -> None:
    payload = b"SSH-2.0-OpenSSH_9.2\r\n\r\n\x00\xff"
    request = STOCK[name] + payload
    expected = accepted(request)
    assert (expected.host, expected.port) == ("app01.ssh", "22")
    assert expected.early == payload
    assert expected.credential == (None if name == "nc" else PasswordCredential("alice", "sekret"))
    for cut in range(len(request) + 1):
        assert in_pieces(request, [cut]) == expected
        for second in range(cut, len(request), 7):
            assert in_pieces(request, [cut, second]) == expected


@pytest.mark.line(2)
@pytest.mark.parametrize(
    "payload", [b"\r\n", b"\n", b"\r\n\r\nx", b" ", b"\x00", b"CONNECT a:22 HTTP/1.0\r\n\r\n"]
)
def test_early_data_that_looks_like_more_of_the_head_is_left_as_it_is(payload: bytes) -> None:
    assert accepted(PLAIN + payload).early == payload


@pytest.mark.line(1)
def test_the_second_write_of_netcat_is_not_left_for_sshd() -> None:
    parser = HeadParser()
    assert parser.feed(b"CONNECT app01.ssh:22 HTTP/1.0\r\n") is None
    outcome = parser.feed(b"\r\n")
    assert isinstance(outcome, Request)
    assert outcome.early == b""


def test_bytes_after_the_head_belong_to_the_tunnel() -> None:
    parser = HeadParser()
    parser.feed(PLAIN)
    with pytest.raises(RuntimeError):
        parser.feed(b"x")


@pytest.mark.line(6)
def test_nothing_is_parsed_after_a_refusal() -> None:
    parser = HeadParser()
    first = parser.feed(b"GET / HTTP/1.1\r\n")
    assert parser.feed(PLAIN) is first


@pytest.mark.line(3)
def test_http_1_0_needs_no_host() -> None:
    assert accepted(PLAIN).host == "app01.ssh"


@pytest.mark.line(4)
def test_the_host_header_is_not_even_kept() -> None:
    request = accepted(with_fields(b"Host: evil.example:22", version=b"1.1"))
    assert (request.host, request.port) == ("app01.ssh", "22")
    assert "evil" not in repr(request)


@pytest.mark.line(7)
def test_expect_is_passed_over() -> None:
    accepted(with_fields(b"Expect: 100-continue"))


def test_http_1_1_without_host_and_two_hosts_are_refused() -> None:
    assert "Host" in refused(with_fields(version=b"1.1"))
    assert "more than one Host" in refused(with_fields(b"Host: a", b"hOST: a"))


@pytest.mark.line(8)
@pytest.mark.parametrize(
    "fields",
    [
        (b"Content-Length: 1",),
        (b"Content-Length: 00",),
        (b"Content-Length: +0",),
        (b"Content-Length: 0, 0",),
        (b"Content-Length: -1",),
        (b"Content-Length:",),
        (b"Content-Length: 0", b"Content-Length: 0"),
        (b"Content-Length: 0", b"content-length: 5"),
        (b"Transfer-Encoding: chunked",),
        (b"Transfer-Encoding: identity",),
        (b"transfer-encoding:",),
        (b"Content-Length: 0", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 0"),
    ],
)
def test_a_body_is_refused(fields: tuple[bytes, ...]) -> None:
    refused(with_fields(*fields))


@pytest.mark.line(8)
def test_an_explicit_absence_of_body_passes() -> None:
    accepted(with_fields(b"Content-Length: 0"))


@pytest.mark.line(9)
@pytest.mark.parametrize(
    "request_line",
    [
        b"CONNECT app01.ssh:22\r\n",
        b"CONNECT app01.ssh:22 \r\n",
        b"CONNECT app01.ssh:22 HTTP/0.9\r\n",
        b"CONNECT app01.ssh:22 HTTP/1.2\r\n",
        b"CONNECT app01.ssh:22 HTTP/2.0\r\n",
        b"CONNECT app01.ssh:22 HTTP/1\r\n",
        b"CONNECT app01.ssh:22 HTTP/1.10\r\n",
        b"CONNECT app01.ssh:22 http/1.1\r\n",
        b"CONNECT app01.ssh:22 HTTPS/1.1\r\n",
        b"CONNECT  app01.ssh:22 HTTP/1.1\r\n",
        b"CONNECT app01.ssh:22  HTTP/1.1\r\n",
        b"CONNECT app01.ssh:22 HTTP/1.1 \r\n",
        b"CONNECT app01.ssh:22\tHTTP/1.1\r\n",
        b"CONNECT\tapp01.ssh:22 HTTP/1.1\r\n",
        b" CONNECT app01.ssh:22 HTTP/1.1\r\n",
        b"\r\nCONNECT app01.ssh:22 HTTP/1.1\r\n",
        b"connect app01.ssh:22 HTTP/1.1\r\n",
        b"Connect app01.ssh:22 HTTP/1.1\r\n",
        b"CONNECTapp01.ssh:22 HTTP/1.1\r\n",
        b"CONNECT app01.ssh\x00:22 HTTP/1.1\r\n",
        b"CONNECT app01.ssh:22\r HTTP/1.1\r\n",
        b"CONNECT app01.ssh:22 HTTP/1.1\r\r\n",
        b"CONNECT app01.ssh:22 HTTP/1.1\x0b\r\n",
        b"CONNECT app\xc2\xa001.ssh:22 HTTP/1.1\r\n",
        b"CONNECT \xef\xbc\xa1.ssh:22 HTTP/1.1\r\n",
        b"CONNECT app01.ssh:22 HTTP/\xd9\xa1.1\r\n",
        b"CONNECT \r\n",
    ],
)
def test_a_request_line_that_is_not_plain_is_refused(request_line: bytes) -> None:
    refused(request_line + b"Host: a\r\n\r\n")


@pytest.mark.line(9)
@pytest.mark.parametrize(
    "field",
    [
        b"X: a\rb",
        b"X: a\r",
        b"\rX: a",
        b"X: a\x00b",
        b"X\x00: a",
        b"X: a\x0bb",
        b"X: a\x7f",
        b" X: a",
        b"\tfolded",
        b" folded",
        b"X : a",
        b"X\t: a",
        b": a",
        b"X",
        b"X a",
        b"X(Y): a",
        b"X\xc3\xa9: a",
        b"Proxy-Authorization : Basic eDp5",
        b"\x0c",
    ],
)
def test_a_field_that_is_not_plain_is_refused(field: bytes) -> None:
    refused(with_fields(field))
    refused(with_fields(b"A: b", field, b"C: d"))


@pytest.mark.line(10)
@pytest.mark.parametrize(
    "request_",
    [
        b"CONNECT app01.ssh:22 HTTP/1.0\n\n",
        b"CONNECT app01.ssh:22 HTTP/1.0\n\r\n",
        b"CONNECT app01.ssh:22 HTTP/1.0\r\n\n",
        b"CONNECT app01.ssh:22 HTTP/1.0\nX: a\n\n",
        b"CONNECT app01.ssh:22 HTTP/1.0\nX: a\n\r\n",
        b"CONNECT app01.ssh:22 HTTP/1.0\nX: a\r\n\n",
        b"CONNECT app01.ssh:22 HTTP/1.0\r\nX: a\n\r\n",
    ],
)
def test_line_feeds_alone_are_refused(request_: bytes) -> None:
    assert "CRLF" in refused(request_)


@pytest.mark.line(10)
def test_only_corkscrews_one_line_feed_passes_and_is_told() -> None:
    assert accepted(STOCK["corkscrew"]).has_bare_line_feed
    assert not accepted(STOCK["nc -P"]).has_bare_line_feed


@pytest.mark.line(11)
def test_a_header_may_have_8_kib_and_no_byte_more() -> None:
    def padded(size: int) -> bytes:
        empty = with_fields(b"X: ")
        return with_fields(b"X: " + b"a" * (size - len(empty)))

    assert len(padded(MAX_HEADER_BYTES)) == MAX_HEADER_BYTES == 8192
    assert accepted(padded(MAX_HEADER_BYTES) + b"early").early == b"early"
    refused(padded(MAX_HEADER_BYTES + 1), Reason.HEADER_TOO_LARGE)


@pytest.mark.line(11)
@pytest.mark.parametrize("start", [b"CONNECT ", b"CONNECT a:22 HTTP/1.0\r\nX: "])
def test_an_endless_line_is_refused_at_the_limit(start: bytes) -> None:
    parser = HeadParser()
    line = start + b"a" * (MAX_HEADER_BYTES - len(start))
    assert parser.feed(line[:-1]) is None
    outcome = parser.feed(line[-1:])
    assert isinstance(outcome, Denial)
    assert outcome.reason is Reason.HEADER_TOO_LARGE


@pytest.mark.line(11)
def test_a_header_may_have_64_lines_and_no_line_more() -> None:
    accepted(with_fields(*[b"X: a"] * (MAX_HEADER_LINES - 1)))
    assert MAX_HEADER_LINES == 64
    refused(with_fields(*[b"X: a"] * MAX_HEADER_LINES), Reason.HEADER_TOO_LARGE)


@pytest.mark.line(13)
@pytest.mark.parametrize(
    ("first_bytes", "hint"),
    [
        (b"\x16", "TLS"),
        (b"SSH-", "ssh"),
        (b"PRI ", "HTTP/2"),
        (b"PROXY ", "PROXY header"),
        (b"\r\n\r\n\x00\r\nQUIT\n", "PROXY header"),
        (b"\x05", "SOCKS 5"),
        (b"\x04", "SOCKS 4"),
        (b"GET ", "this is an SSH gateway; it speaks CONNECT only"),
        (b"POST ", "this is an SSH gateway; it speaks CONNECT only"),
        (b"OPTIONS ", "this is an SSH gateway; it speaks CONNECT only"),
        (b"connect ", "capitals"),
        (b"X", "CONNECT only"),
        (b"\x00", "CONNECT only"),
        (b"CONNECTX", "CONNECT only"),
    ],
)
def test_another_protocol_is_told_so_at_its_first_bytes(first_bytes: bytes, hint: str) -> None:
    parser = HeadParser()
    for at in range(len(first_bytes) - 1):
        assert parser.feed(first_bytes[at : at + 1]) is None
    outcome = parser.feed(first_bytes[-1:])
    assert isinstance(outcome, Denial)
    assert outcome.reason is Reason.BAD_REQUEST
    assert hint in outcome.message
    assert refused(first_bytes + b"\x01\x00 / HTTP/1.1\r\n\r\n") == outcome.message


@pytest.mark.line(17)
@pytest.mark.parametrize(
    ("authority", "host", "port"),
    [
        (b"app01.ssh", "app01.ssh", ""),
        (b"app01.ssh:", "app01.ssh", ""),
        (b":22", "", "22"),
        (b":", "", ""),
        (b"*", "*", ""),
        (b"::1:22", "::1", "22"),
        (b"[::1]:22", "[::1]", "22"),
        (b"http://app01.ssh:22/", "http://app01.ssh", "22/"),
        (b"a:b@app01.ssh:22", "a:b@app01.ssh", "22"),
        (b"app01.ssh:22:22", "app01.ssh:22", "22"),
    ],
)
def test_the_authority_is_split_at_its_last_colon_and_left_as_it_is(
    authority: bytes, host: str, port: str
) -> None:
    request = accepted(b"CONNECT " + authority + b" HTTP/1.0\r\n\r\n")
    assert (request.host, request.port) == (host, port)


@pytest.mark.line(24)
@pytest.mark.parametrize(
    "field",
    [
        b"Proxy-Authorization: Basic YWxpY2U6cHc=",
        b"PROXY-AUTHORIZATION:BASIC YWxpY2U6cHc=",
        b"proxy-authorization: \t  bAsIc    YWxpY2U6cHc= \t ",
    ],
)
def test_case_and_spaces_around_a_credential_do_not_matter(field: bytes) -> None:
    assert accepted(with_fields(field)).credential == PasswordCredential("alice", "pw")


@pytest.mark.line(25)
def test_two_credentials_are_refused_even_if_equal() -> None:
    field = b"Proxy-Authorization: Basic YWxpY2U6cHc="
    assert "more than one" in refused(with_fields(field, field))
    assert "more than one" in refused(with_fields(field, b"X: y", field.lower()))


@pytest.mark.line(26)
def test_http_1_0_without_any_other_header_carries_a_credential() -> None:
    request = accepted(with_fields(b"Proxy-Authorization: Bearer sdt_abc.def-1"))
    assert request.credential == TokenCredential("sdt_abc.def-1")


@pytest.mark.line(28)
def test_a_request_does_not_print_its_secrets() -> None:
    request = accepted(STOCK["nc -P"] + b"early secret")
    assert "sekret" not in repr(request)
    assert "early" not in repr(request)


@pytest.mark.line(28)
@pytest.mark.parametrize(
    "field",
    [
        b"Proxy-Authorization: hunter2",
        b"Proxy-Authorization: hunter2 hunter2",
        b"Proxy-Authorization: Basic hunter2",
        b"Proxy-Authorization: Basic hunter2 hunter2",
        b"Proxy-Authorization: Bearer hunter2!",
        b"Proxy-Authorization: Basic " + base64.b64encode(b"hunter2"),
        b"Proxy-Authorization : Basic hunter2",
        b" hunter2",
        b"hunter2",
        b"Proxy-Authorization: Basic hunter2\x00",
    ],
)
def test_no_refusal_repeats_a_credential(field: bytes) -> None:
    outcome = whole(with_fields(field))
    assert isinstance(outcome, Denial)
    assert "hunter2" not in repr(outcome)
    assert by_bytes(with_fields(field)) == outcome


def test_a_client_s_trace_is_taken_on_and_never_refused() -> None:
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    field = f"traceparent:  00-{trace}-{span}-01".encode()
    assert accepted(with_fields(field)).trace_context == TraceContext(trace, span)
    assert accepted(with_fields(field, b"Traceparent: 00-1-2-01")).trace_context is None
    assert accepted(with_fields(b"traceparent: \xff")).trace_context is None
    assert by_bytes(with_fields(field)) == whole(with_fields(field))


# Requests as an attacker would bend them: mostly well-formed, cut up and put together again.
FRAGMENTS = st.sampled_from(
    [b"CONNECT ", b"app01.ssh:22", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\x00",
     b" ", b"\t", b":", b"Host: a\r\n", ALICE, b"Content-Length: 0\r\n", b"Content-Length: 5\r\n",
     b"Transfer-Encoding: chunked\r\n", b"Proxy-Authorization: Bearer a\r\n", b"X: y\r\n", b"\x16\x03\x01",
     b"SSH-2.0-x\r\n", b"PRI * HTTP/2.0\r\n", b"GET / ", b"CONN", b"connect ", b"PROXY TCP4 ", b"\xff",
     b"X: " + b"y" * 4000 + b"\r\n", b"X: y\r\n" * 30]
)  # fmt: skip
BENT = st.one_of(
    st.lists(FRAGMENTS, max_size=12).map(b"".join),
    st.lists(FRAGMENTS, max_size=8).map(
        lambda f: b"CONNECT app01.ssh:22 HTTP/1.0\r\n" + b"".join(f)
    ),
    st.binary(max_size=200),
    st.binary(max_size=200).map(lambda b: b"CONNECT app01.ssh:22 HTTP/1.1\r\nX: " + b),
)


@pytest.mark.line(1)
@settings(deadline=None, max_examples=100)
@given(BENT, st.data())
def test_any_split_of_any_bytes_gives_what_the_whole_gives(
    received: bytes, data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(received)), max_size=6))
    expected = whole(received)
    assert in_pieces(received, cuts) == expected
    assert by_bytes(received) == expected
    if isinstance(expected, Denial):
        assert expected.reason in (
            Reason.BAD_REQUEST, Reason.HEADER_TOO_LARGE, Reason.CREDENTIAL_WRONG)  # fmt: skip
        assert expected.message.isprintable()
        assert expected.message.isascii()
    elif isinstance(expected, Request):
        assert received.endswith(expected.early)


LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
VALUES = st.text("".join(map(chr, range(0x21, 0x7F))) + " \t", max_size=40)


@settings(deadline=None)
@given(
    LABELS,
    st.integers(0, 99999),
    st.lists(st.tuples(LABELS.map(lambda n: "x-" + n), VALUES), max_size=20),
    st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters=":"), max_size=20),
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20),
    st.binary(max_size=100),
)
def test_every_well_formed_request_is_read_as_it_was_written(
    host: str, port: int, fields: list[tuple[str, str]], name: str, secret: str, early: bytes
) -> None:
    basic = base64.b64encode(f"{name}:{secret}".encode())
    head = f"CONNECT {host}:{port} HTTP/1.1\r\nHost: x\r\n" + "".join(
        f"{field}: {value}\r\n" for field, value in fields
    )
    received = head.encode() + b"Proxy-Authorization: Basic " + basic + b"\r\n\r\n" + early
    assert whole(received) == Request(host, str(port), PasswordCredential(name, secret), early)
