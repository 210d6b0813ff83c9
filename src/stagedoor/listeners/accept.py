"""What every listener does with a connection before its protocol begins: the PROXY header, the networks that
may come in, the first byte of TLS, and a refusal in plain HTTP.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.source import Network, Source, source_network, within
from stagedoor.model.units import KIB
from stagedoor.net import aio
from stagedoor.net.tcp import TcpStream
from stagedoor.relay.ports import Stream
from stagedoor.wire.proxyproto import parse

READ_BYTES = 16 * KIB
TLS_HANDSHAKE = b"\x16"
"""The first byte of TLS: the content type of its first record (RFC 8446 §5.1)."""
LINGER_S = 1.0
"""How long a refused client may take to read why, before the connection is cut."""
LINGER_BYTES = 64 * KIB


@dataclass(frozen=True, slots=True)
class AcceptRules:
    """Which sources are answered, and who speaks for others.

    Only `networks` are answered. A connection from `proxy_protocol_from` has to begin with a PROXY header,
    unless it is from a reverse proxy in `forwarded_from`, which names its client in X-Forwarded-For.
    """

    networks: tuple[Network, ...]
    proxy_protocol_from: tuple[Network, ...] = ()
    forwarded_from: tuple[Network, ...] = ()

    def is_reverse_proxy(self, peer: Source) -> bool:
        """Return whether X-Forwarded-For and X-Forwarded-Proto of `peer` are believed."""
        return within(peer.address, self.forwarded_from)

    def wants_proxy_header(self, peer: Source) -> bool:
        """Return whether `peer` has to say in a PROXY header for whom it speaks."""
        return within(peer.address, self.proxy_protocol_from) and not self.is_reverse_proxy(peer)

    def counted_as(self, source: Source) -> str:
        """Return the source whose connections this one is counted with.

        A peer that speaks for many clients is not counted as one.
        """
        speaks_for_many = self.is_reverse_proxy(source) or self.wants_proxy_header(source)
        return str(source) if speaks_for_many else source_network(source.address)

    def outsider(self, source: Source) -> Denial | None:
        """Return the refusal for a source in none of the networks, else None."""
        if within(source.address, self.networks):
            return None
        return Denial.with_mend(
            Reason.SOURCE_NOT_ALLOWED,
            f"your address {source.address} is in none of the networks that may come in",
            "an administrator adds one to listen.networks",
            "come from another network, or ask an administrator",
        )


@dataclass(frozen=True, slots=True)
class Arrival:
    """A connection whose source is known. `received` is what came behind the PROXY header (`is_proxied`)."""

    source: Source
    received: bytes = b""
    is_proxied: bool = False


async def arrive(stream: TcpStream, peer: Source, rules: AcceptRules) -> Arrival | Denial | None:
    """Read the PROXY header of a connection from `peer`, where one has to come.

    Return a Denial for anything else, and None if the peer left. The caller bounds the time and judges the
    source (`AcceptRules.outsider`). Raises OSError.
    """
    if not rules.wants_proxy_header(peer):
        return Arrival(peer)
    received = b""
    while more := await aio.read(stream, READ_BYTES):
        received += more
        header = parse(received)
        if isinstance(header, Denial):
            return header
        if header is not None:
            return Arrival(header.source or peer, received[header.consumed :], is_proxied=True)
    return None


def not_tls(received: bytes) -> Denial | None:
    """Return the refusal for a client whose first bytes, on a port that speaks TLS, are not TLS."""
    if received.startswith(TLS_HANDSHAKE):
        return None
    return Denial(Reason.BAD_REQUEST, "this port speaks TLS; write https:// before its address")


async def say_and_linger(stream: Stream, answer: bytes) -> None:
    """Send the last `answer` so that it arrives: RFC 9112 §9.6 on lingering. Raises OSError."""
    await aio.write_all(stream, answer)
    stream.shutdown_write()
    left = LINGER_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while left > 0 and (received := await aio.read(stream, READ_BYTES)):
                left -= len(received)
