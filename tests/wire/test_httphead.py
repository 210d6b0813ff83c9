"""Heads of HTTP requests that two programs could read in two ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.listeners.web.http import find_fault

PLAIN = b"GET /sign-in HTTP/1.1\r\nHost: gw.example\r\nAccept: text/html\r\n\r\n"


def head(*fields: bytes, line: bytes = b"POST / HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: gw.example", *fields, b"", b""])


def test_a_head_as_browsers_write_it_has_no_fault() -> None:
    assert find_fault(PLAIN) is None
    assert find_fault(PLAIN + b"whatever\nfollows\r it") is None
    assert find_fault(head(b"Content-Length: 4") + b"body") is None
    assert find_fault(head(b"Transfer-Encoding: chunked")) is None


@pytest.mark.parametrize(
    ("received", "why"),
    [
        (head(b"Content-Length: 4", b"Transfer-Encoding: chunked"), "transfer-encoding"),
        (head(b"transfer-encoding: chunked", b"CONTENT-LENGTH: 4"), "transfer-encoding"),
        (head(b"Content-Length: 4", b"Content-Length: 4"), "more than one content-length"),
        (head(b"Transfer-Encoding: x", b"Transfer-Encoding: chunked"), "more than one transfer"),
        (head(b"host: other.example"), "more than one host"),
        (head(b"X-A: 1", b" folded: 2"), "folded"),
        (head(b"X-A: 1", b"\tfolded"), "folded"),
        (PLAIN.replace(b"\r\n", b"\n"), "CR LF"),
        (PLAIN.replace(b"\r\nAccept", b"\nAccept"), "CR LF"),
        (PLAIN.replace(b"\r\n\r\n", b"\n\n") + b"X: \r\n\r\n", "CR LF"),
        (head(b"X-A: 1\rX-B: 2"), "CR LF"),
        (head(b"X-A: 1\r"), "CR LF"),
        (head(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0"), "HTTP/1.0"),
        (head(line=b"GET  / HTTP/1.1"), "first line"),
        (head(line=b"GET / HTTP/1.1 "), "first line"),
        (head(line=b"GET / HTTP/2.0"), "first line"),
        (head(line=b"GET /"), "first line"),
        (b"\r\n\r\n", "first line"),
    ],
)
def test_what_may_be_read_in_two_ways_is_named(received: bytes, why: str) -> None:
    fault = find_fault(received)
    assert fault is not None
    assert why in fault


@given(st.sampled_from([b"\r", b"\n", b"\r\n", b" ", b":", b"a", b"X: 1", PLAIN]), st.data())
def test_a_fault_in_a_part_stays_a_fault_of_the_whole(first: bytes, data: st.DataObject) -> None:
    pieces = st.sampled_from([b"\r", b"\n", b"\r\n", b" ", b":", b"ab", b"Host: a", b"\r\n\r\n"])
    received = first
    for _ in range(data.draw(st.integers(0, 12))):
        if find_fault(received) is not None and b"\r\n\r\n" not in received:
            assert find_fault(received + data.draw(pieces)) is not None
        received += data.draw(pieces)


@given(st.binary(max_size=200))
def test_anything_has_an_answer_and_no_bare_end_of_line_passes(received: bytes) -> None:
    head_of_it, end, _ = received.partition(b"\r\n\r\n")
    if find_fault(received) is None and end:
        assert b"\n" not in head_of_it.replace(b"\r\n", b"")
        assert b"\r" not in head_of_it.replace(b"\r\n", b"")
