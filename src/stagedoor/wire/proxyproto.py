"""The PROXY protocol's header, versions 1 and 2: the client that a load balancer announces.

Source: "The PROXY protocol, versions 1 & 2" (HAProxy, doc/proxy-protocol.txt), cited as PP §. The
listener decides whether a load balancer is trusted.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.source import Source

MAX_V1_BYTES = 107
"""The longest line of version 1 (PP §2.1), including its CRLF."""
MAX_V2_BYTES = 16 + 4096
"""Addresses take 36 bytes; the rest is for extensions (TLVs), of which certificates are the largest."""

_V1 = b"PROXY "
_V2 = b"\r\n\r\n\x00\r\nQUIT\n"


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A parsed header. `source` is the announced downstream.

    `source` is None if the load balancer speaks for itself (a health check) or knows no address: then
    the socket's own peer is the source. `consumed` is the header's length in bytes; all bytes after it
    belong to the next protocol.
    """

    source: Source | None
    consumed: int


def parse_proxy_header(received: bytes) -> ProxyHeader | Denial | None:
    """Parse the header at the start of `received`, all bytes that have arrived so far.

    Return None if more are needed, but never more than MAX_V2_BYTES in all. Return a Denial
    (BAD_REQUEST) as soon as the bytes decide it.
    """
    if received.startswith(_V2):
        return _parse_v2(received)
    if received.startswith(_V1):
        return _parse_v1(received)
    if _V1.startswith(received) or _V2.startswith(received):
        return None
    return _make_denial(
        "there is none; the settings name this source as a load balancer that sends one"
    )


def _parse_v1(received: bytes) -> ProxyHeader | Denial | None:
    end = received.find(b"\n", 0, MAX_V1_BYTES)
    if end < 0:
        return None if len(received) < MAX_V1_BYTES else _make_denial("the line is too long")
    consumed = end + 1
    line = received[:end]
    if not line.endswith(b"\r") or not line.isascii():
        return _make_denial("the line does not end in CRLF, or is not ASCII")
    fields = line[:-1].decode("ascii").split(" ")
    if fields[1] == "UNKNOWN":
        # PP §2.1: ignore anything up to the CRLF, and use the socket's own addresses.
        return ProxyHeader(None, consumed)
    if len(fields) != 6 or fields[1] not in ("TCP4", "TCP6"):
        return _make_denial("the line is not 'PROXY TCP4|TCP6 source destination port port'")
    _, family, source, destination, source_port, destination_port = fields
    address_type = IPv4Address if family == "TCP4" else IPv6Address
    try:
        address_type(destination)
        announced = str(address_type(source))
    except ValueError:
        return _make_denial(f"an address in it is no {family} address")
    if "%" in source or "%" in destination:
        return _make_denial("an address in it has a zone")
    port = _v1_port(source_port)
    if port is None or _v1_port(destination_port) is None:
        return _make_denial("a port in it is not a number from 0 to 65535")
    return ProxyHeader(Source.of(announced, port), consumed)


def _v1_port(text: str) -> int | None:
    # PP §2.1: decimal, no leading zeros; isdecimal() is safe because the line is ASCII.
    if not text.isdecimal() or len(text) > 5 or (text[0] == "0" and text != "0"):
        return None
    port = int(text)
    return port if port <= 65535 else None


def _parse_v2(received: bytes) -> ProxyHeader | Denial | None:
    # PP §2.2: signature (12), version and command (1), family and protocol (1), length (2).
    if len(received) > 12 and received[12] not in (0x20, 0x21):
        return _make_denial("its version is not 2, or its command neither LOCAL nor PROXY")
    if len(received) < 16:
        return None
    family, length = received[13], int.from_bytes(received[14:16], "big")
    consumed = 16 + length
    if consumed > MAX_V2_BYTES:
        return _make_denial(f"it is longer than {MAX_V2_BYTES} bytes")
    local = received[12] == 0x20 or family == 0x00
    if not local:
        # AF_UNIX has no source for a network rule, and UDP carries no CONNECT.
        if family not in (0x11, 0x21):
            return _make_denial("it announces something other than TCP over IPv4 or IPv6")
        if length < (12 if family == 0x11 else 36):
            return _make_denial("it is too short for its addresses")
    if len(received) < consumed:
        return None
    if local:
        # PP §2.2: LOCAL and UNSPEC: ignore the addresses, use the socket's own.
        return ProxyHeader(None, consumed)
    address: IPv4Address | IPv6Address
    if family == 0x11:
        address = IPv4Address(received[16:20])
        (port,) = struct.unpack_from("!H", received, 24)
    else:
        address = IPv6Address(received[16:32])
        (port,) = struct.unpack_from("!H", received, 48)
    return ProxyHeader(Source.of(str(address), port), consumed)


def _make_denial(why: str) -> Denial:
    return Denial(Reason.BAD_REQUEST, f"the load balancer's PROXY header is wrong: {why}")
