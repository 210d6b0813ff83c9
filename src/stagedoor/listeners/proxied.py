"""A load balancer's PROXY header at the beginning of a connection: whom it speaks for."""

from stagedoor.model.denial import Denial
from stagedoor.model.source import Source
from stagedoor.model.units import KIB
from stagedoor.net import aio
from stagedoor.net.tcp import TcpStream
from stagedoor.wire.proxyproto import parse

READ_BYTES = 16 * KIB


async def read_proxy_header(stream: TcpStream) -> tuple[Source | None, bytes] | Denial | None:
    """The source that it names (None: the load balancer itself), and what follows the header.

    A Denial where it is none; None for a peer that left. Its time is the caller's. Raises OSError.
    """
    received = b""
    while more := await aio.read(stream, READ_BYTES):
        received += more
        header = parse(received)
        if isinstance(header, Denial):
            return header
        if header is not None:
            return header.source, received[header.consumed :]
    return None
