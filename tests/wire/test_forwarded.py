"""The client that spoke to the proxy: every form that proxies write is read, and nothing else."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.source import Source
from stagedoor.wire.http.fields import parse_last_forwarded

READ = {
    "203.0.113.9": Source.of("203.0.113.9", 0),
    "203.0.113.9:4711": Source.of("203.0.113.9", 4711),
    "2001:db8::1": Source.of("2001:db8::1", 0),
    "[2001:db8::1]": Source.of("2001:db8::1", 0),
    "[2001:db8::1]:443": Source.of("2001:db8::1", 443),
    "::ffff:203.0.113.9": Source.of("203.0.113.9", 0),
    "10.0.0.1, \t203.0.113.9 ": Source.of("203.0.113.9", 0),
    "unknown, 203.0.113.9": Source.of("203.0.113.9", 0),
}
REFUSED = [
    "", " ", "unknown", "_hidden", "203.0.113.9,", "203.0.113", "203.0.113.256", "203.0.113.09",
    "203.0.113.9:", "203.0.113.9:70000", "203.0.113.9:+1", "203.0.113.9:4711:1", "[203.0.113.9]:1",
    "[2001:db8::1", "2001:db8::1]", "[2001:db8::1]443", "[]:1", "fe80::1%eth0", "[fe80::1%25eth0]:1",
    '"[2001:db8::1]"', "for=203.0.113.9", "localhost", "\u0661.2.3.4", "203.0.113.9\n", "0xcb007109",
]  # fmt: skip


@pytest.mark.parametrize("entry", READ)
def test_what_proxies_write_is_read(entry: str) -> None:
    assert parse_last_forwarded([entry]) == READ[entry]
    assert parse_last_forwarded(["198.51.100.1", entry]) == READ[entry], "the last line counts"


@pytest.mark.parametrize("entry", REFUSED)
def test_all_else_is_nobody(entry: str) -> None:
    assert parse_last_forwarded([entry]) is None
    assert parse_last_forwarded([f"10.0.0.1, {entry}"]) is None, "and not who was named before"


ADDRESSES = st.one_of(
    st.ip_addresses(v=4), st.ip_addresses(v=6).filter(lambda a: a.ipv4_mapped is None)
)


@given(ADDRESSES, st.one_of(st.none(), st.integers(0, 65535)), st.text(max_size=20))
def test_any_address_is_read_back_with_or_without_its_port(
    address: IPv4Address | IPv6Address, port: int | None, before: str
) -> None:
    host = f"[{address}]" if address.version == 6 and port is not None else str(address)
    entry = host if port is None else f"{host}:{port}"
    assert parse_last_forwarded([f"{before}, {entry}"]) == Source(address, port or 0)


@given(st.text())
def test_any_text_is_an_address_that_it_names_or_nobody(text: str) -> None:
    source = parse_last_forwarded([text])
    if source is not None:
        assert set(text.rpartition(",")[2].strip(" \t")) <= set("0123456789abcdefABCDEF:.[]")
