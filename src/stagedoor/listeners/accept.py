"""The steps that a listener takes before its own protocol begins.

It reads the PROXY header, checks the source's network, and refuses clients that do not use TLS on a TLS port.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.farewell import REFUSAL_S
from stagedoor.model.source import Network, Source, find_source_network, is_within
from stagedoor.model.units import KIB
from stagedoor.net import aio
from stagedoor.net.tcp import TcpStream
from stagedoor.relay.ports import Stream
from stagedoor.wire.proxyproto import parse_proxy_header

READ_BYTES = 16 * KIB
TLS_HANDSHAKE = b"\x16"
"""The first byte of TLS: the content type of its first record (RFC 8446 §5.1)."""
LINGER_BYTES = 64 * KIB


@dataclass(frozen=True, slots=True)
class AcceptRules:
    """The networks from which connections are accepted, and the proxies in them.

    Connections from outside `networks` are refused. A connection from `proxy_protocol_from` must begin with a
    PROXY header, unless it is from a reverse proxy in `forwarded_from`, which names its client in
    X-Forwarded-For.
    """

    networks: tuple[Network, ...]
    proxy_protocol_from: tuple[Network, ...] = ()
    forwarded_from: tuple[Network, ...] = ()

    def is_reverse_proxy(self, peer: Source) -> bool:
        """Return whether X-Forwarded-For and X-Forwarded-Proto of `peer` are trusted."""
        return is_within(peer.address, self.forwarded_from)

    def is_proxy_header_required(self, peer: Source) -> bool:
        """Return whether `peer` must name its client in a PROXY header."""
        return is_within(peer.address, self.proxy_protocol_from) and not self.is_reverse_proxy(peer)

    def find_counted_source(self, source: Source) -> str:
        """Return the key under which connections from `source` are counted.

        A proxy carries many clients, so each of its connections counts on its own, by address and port.
        """
        speaks_for_many = self.is_reverse_proxy(source) or self.is_proxy_header_required(source)
        return str(source) if speaks_for_many else find_source_network(source.address)

    def check_source(self, source: Source) -> Denial | None:
        """Return the refusal for a source that is in none of the networks, or None."""
        if is_within(source.address, self.networks):
            return None
        return Denial.with_fix(
            Reason.SOURCE_NOT_ALLOWED,
            f"your address {source.address} is not in an allowed network",
            "an administrator adds one to listen.networks",
            "connect from another network, or ask an administrator",
        )


@dataclass(frozen=True, slots=True)
class Arrival:
    """A connection whose source is known.

    `is_proxied` is whether a PROXY header came first, even one that names no source (LOCAL, UNKNOWN).
    `received` are the bytes after the header.
    """

    source: Source
    received: bytes = b""
    is_proxied: bool = False


async def read_proxy_header(
    stream: TcpStream, peer: Source, rules: AcceptRules
) -> Arrival | Denial | None:
    """Read the PROXY header of a connection from `peer`, if the rules require one.

    Return a Denial if the header is wrong, and None if the peer left. The caller bounds the time and checks
    the source (`AcceptRules.check_source`). Raises OSError.
    """
    if not rules.is_proxy_header_required(peer):
        return Arrival(peer)
    received = b""
    while more := await aio.read(stream, READ_BYTES):
        received += more
        header = parse_proxy_header(received)
        if isinstance(header, Denial):
            return header
        if header is not None:
            return Arrival(header.source or peer, received[header.consumed :], is_proxied=True)
    return None


def check_tls(received: bytes) -> Denial | None:
    """Return the refusal for a client that does not speak TLS on a TLS port, or None."""
    if received.startswith(TLS_HANDSHAKE):
        return None
    return Denial(Reason.BAD_REQUEST, "this port expects TLS; put https:// before its address")


async def send_and_linger(stream: Stream, answer: bytes) -> None:
    """Send the last `answer`, and linger so that the client receives it (RFC 9112 §9.6). Raises OSError."""
    await aio.write_all(stream, answer)
    stream.shutdown_write()
    left = LINGER_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(REFUSAL_S):
            while left > 0 and (received := await aio.read(stream, READ_BYTES)):
                left -= len(received)
