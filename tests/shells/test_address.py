"""Which addresses a shell may have (lines 19 to 22 of the CONNECT conformance list)."""

from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.shell import Shell
from stagedoor.model.target import Target
from stagedoor.shells.address import filter_addresses

APP = Target("app01")
PLAIN = Shell(APP, "db.example", 22)
OURS = Shell(APP, "127.0.0.1", 40022, started_by_us=True)

METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "fd00:ec2::254",
    "fd20:ce::254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
]
IN_DISGUISE = ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1"]
NO_PLACE = ["0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1"]
LOOPBACK = ["127.0.0.1", "127.1.2.3", "::1"]
SPECIAL = ["169.254.1.1", "fe80::1", "fe80::1%eth0", "64:ff9b::7f00:1", "64:ff9b:1::1",
           "2002:7f00:1::", "2001:0:1::1", "fec0::1"]  # fmt: skip


def allowed(address: str, shell: Shell = PLAIN) -> bool:
    return bool(filter_addresses([ip_address(address)], shell))


@pytest.mark.line(21)
@pytest.mark.parametrize("address", METADATA + IN_DISGUISE + NO_PLACE + LOOPBACK + SPECIAL)
def test_a_name_that_resolves_to_a_forbidden_address_leads_nowhere(address: str) -> None:
    assert not allowed(address)


@pytest.mark.parametrize("address", ["10.1.2.3", "192.168.1.1", "203.0.113.9", "2001:db8::1",
                                     "fd12::1", "100.64.0.1", "2a00:1450::1"])  # fmt: skip
def test_where_shells_live_is_allowed(address: str) -> None:
    assert allowed(address)


def test_loopback_is_for_shells_that_we_started_only() -> None:
    assert all(allowed(address, OURS) for address in LOOPBACK)
    assert not any(allowed(a, OURS) for a in METADATA + IN_DISGUISE + NO_PLACE + SPECIAL)


def test_a_network_named_in_the_settings_opens_what_it_holds_and_nothing_else() -> None:
    named = Shell(APP, "h", 22, networks=(ip_network("127.0.0.1/32"), ip_network("fe80::/64")))
    assert allowed("127.0.0.1", named)
    assert allowed("fe80::1%eth0", named)
    assert not allowed("127.0.0.2", named)
    assert not allowed("169.254.1.1", named)


def test_not_even_the_widest_network_opens_metadata_or_a_disguise() -> None:
    wide = Shell(APP, "h", 22, networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))
    assert not any(allowed(address, wide) for address in METADATA + IN_DISGUISE + NO_PLACE)
    assert all(allowed(address, wide) for address in LOOPBACK + SPECIAL)


@pytest.mark.line(22)
def test_each_candidate_is_judged_and_order_is_kept() -> None:
    addresses = [ip_address(a) for a in ("10.0.0.2", "127.0.0.1", "2001:db8::1", "::1", "10.0.0.1")]
    passed = filter_addresses(addresses, PLAIN)
    assert [str(address) for address in passed] == ["10.0.0.2", "2001:db8::1", "10.0.0.1"]


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_passes_in_ipv6_clothes(address: IPv4Address) -> None:
    for prefix in ("::ffff:", "::", "::ffff:0:", "64:ff9b::"):
        assert not allowed(f"{prefix}{address}")
    packed = address.packed.hex()
    assert not allowed(f"2002:{packed[:4]}:{packed[4:]}::1")
