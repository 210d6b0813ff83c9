"""The PROXY header, as HAProxy's specification has it, and as an attacker may forge it."""

import socket
import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.source import Source
from stagedoor.wire.proxyproto import MAX_V1_BYTES, MAX_V2_BYTES, ProxyHeader, parse_proxy_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = (
    IPv4Address("192.0.2.7").packed
    + IPv4Address("192.0.2.1").packed
    + struct.pack("!HH", 56324, 443)
)
V6 = (
    IPv6Address("2001:db8::7").packed
    + IPv6Address("2001:db8::1").packed
    + struct.pack("!HH", 56324, 443)
)


def v2(command: int = 0x21, family: int = 0x11, rest: bytes = V4) -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(rest)) + rest


def drip(received: bytes) -> ProxyHeader | Denial | None:
    for end in range(len(received) + 1):
        outcome = parse_proxy_header(received[:end])
        if outcome is not None:
            return outcome
    return None


def accepted(received: bytes) -> ProxyHeader:
    """Whole, with a payload behind it, and byte by byte."""
    outcome = parse_proxy_header(received)
    assert isinstance(outcome, ProxyHeader), outcome
    assert outcome.consumed == len(received)
    assert parse_proxy_header(received + b"CONNECT app01.ssh:22 HTTP/1.0\r\n\r\n") == outcome
    assert drip(received) == outcome
    return outcome


def refused(received: bytes) -> str:
    outcome = parse_proxy_header(received)
    assert isinstance(outcome, Denial), outcome
    assert outcome.reason is Reason.BAD_REQUEST
    assert drip(received) == outcome
    return outcome.message


@pytest.mark.parametrize(
    ("line", "source"),
    [
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n", Source.of("192.0.2.7", 56324)),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n", Source.of("2001:db8::7", 1)),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 0 0\r\n", Source.of("192.0.2.7", 0)),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
    ],
)
def test_version_1_tells_the_source(line: bytes, source: Source | None) -> None:
    assert accepted(line).source == source


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 56324\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 443 \r\n",
        b"PROXY TCP4  192.0.2.7 192.0.2.1 56324 443\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 056324 443\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 0443 443\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 00\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 65536 443\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 +1 443\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 1 4_3\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 \xd9\xa1 443\r\n",
        b"PROXY TCP4 127.1 192.0.2.1 1 443\r\n",
        b"PROXY TCP4 0177.0.0.1 192.0.2.1 1 443\r\n",
        b"PROXY TCP4 2001:db8::7 192.0.2.1 1 443\r\n",
        b"PROXY TCP6 192.0.2.7 192.0.2.1 1 443\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 443\r\n",
        b"PROXY TCP6 ::1 fe80::1%eth0 1 443\r\n",
        b"PROXY UDP4 192.0.2.7 192.0.2.1 1 443\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY \r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 1 443\r\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 1 443\x00\r\n",
    ],
)
def test_a_version_1_line_that_is_not_plain_is_refused(line: bytes) -> None:
    refused(line)


def test_version_1_ends_within_107_bytes() -> None:
    line = b"PROXY UNKNOWN " + b"x" * (MAX_V1_BYTES - 16) + b"\r\n"
    assert accepted(line).consumed == MAX_V1_BYTES == 107
    refused(line[:14] + b"x" + line[14:])
    assert parse_proxy_header(line[:106].replace(b"\r", b"x")) is None


@pytest.mark.line(14)
@pytest.mark.parametrize(
    ("header", "source"),
    [
        (v2(), Source.of("192.0.2.7", 56324)),
        (v2(family=0x21, rest=V6), Source.of("2001:db8::7", 56324)),
        (
            v2(rest=V4 + b"\x04\x00\x03abc\x03\x00\x04\x00\x00\x00\x00"),
            Source.of("192.0.2.7", 56324),
        ),
        (
            v2(family=0x21, rest=IPv6Address("::ffff:192.0.2.7").packed + V6[16:]),
            Source.of("192.0.2.7", 56324),
        ),
        (v2(command=0x20), None),
        (v2(command=0x20, family=0x00, rest=b""), None),
        (v2(command=0x20, family=0x31, rest=b"x" * 216), None),
        (v2(family=0x00, rest=b"ignored"), None),
        (v2(rest=V4 + b"t" * (MAX_V2_BYTES - 28)), Source.of("192.0.2.7", 56324)),
    ],
)
def test_version_2_tells_the_source_and_leaves_what_is_fused_behind_it(
    header: bytes, source: Source | None
) -> None:
    assert accepted(header).source == source


@pytest.mark.parametrize(
    "header",
    [
        v2(command=0x11),
        v2(command=0x31),
        v2(command=0x22),
        v2(family=0x12),
        v2(family=0x22, rest=V6),
        v2(family=0x31, rest=b"/sock".ljust(216, b"\x00")),
        v2(family=0x10),
        v2(family=0x41),
        v2(family=0xFF),
        v2(rest=V4[:-1]),
        v2(rest=b""),
        v2(family=0x21, rest=V4),
        v2(rest=V4 + b"t" * (MAX_V2_BYTES - 27)),
        v2(command=0x20, rest=b"t" * 65535),
    ],
)
def test_a_version_2_header_that_names_no_tcp_source_is_refused(header: bytes) -> None:
    refused(header)


@pytest.mark.parametrize(
    "received",
    [
        b"CONNECT app01.ssh:22 HTTP/1.0\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"\x16\x03",
        b"\r\n\r\nX",
        b"PROXX",
    ],
)
def test_a_missing_header_is_noticed_at_once(received: bytes) -> None:
    assert "there is none" in refused(received)


def test_nothing_yet_is_not_an_error() -> None:
    assert parse_proxy_header(b"") is None
    assert parse_proxy_header(SIGNATURE) is None
    assert parse_proxy_header(b"PROXY ") is None


ANY = st.one_of(
    st.binary(max_size=120),
    st.binary(max_size=120).map(lambda b: b"PROXY " + b),
    st.binary(max_size=120).map(lambda b: SIGNATURE + b),
    st.builds(v2, st.sampled_from([0x20, 0x21]), st.integers(0, 255), st.binary(max_size=300)),
    st.text("PROXY TCP46UNKNOWN0123456789abcdef:.\r\n ", max_size=110).map(
        lambda t: b"PROXY " + t.encode()
    ),
)


@settings(deadline=None, max_examples=100)
@given(ANY)
def test_any_bytes_whole_or_one_by_one_give_the_same_header_or_refusal(received: bytes) -> None:
    outcome = parse_proxy_header(received)
    assert drip(received) == outcome
    if isinstance(outcome, ProxyHeader):
        assert 0 < outcome.consumed <= min(len(received), MAX_V2_BYTES)
    elif isinstance(outcome, Denial):
        assert outcome.reason is Reason.BAD_REQUEST
        assert outcome.message.isprintable()
    else:
        assert len(received) < MAX_V2_BYTES


@settings(deadline=None)
@given(st.ip_addresses(), st.integers(0, 65535), st.binary(max_size=64))
def test_every_source_is_read_as_it_was_written_in_both_versions(
    address: IPv4Address | IPv6Address, port: int, payload: bytes
) -> None:
    expected = Source.of(str(address), port)
    family = "TCP4" if address.version == 4 else "TCP6"
    line = f"PROXY {family} {address} {address} {port} 443\r\n".encode()
    assert parse_proxy_header(line + payload) == ProxyHeader(expected, len(line))
    packed = socket.inet_pton(
        socket.AF_INET if address.version == 4 else socket.AF_INET6, str(address)
    )
    header = v2(
        family=0x11 if address.version == 4 else 0x21,
        rest=packed * 2 + struct.pack("!HH", port, 443),
    )
    assert parse_proxy_header(header + payload) == ProxyHeader(expected, len(header))
