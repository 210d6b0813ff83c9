"""Fuzz target: the PROXY header, versions 1 and 2."""

from stagedoor.model.denial import Denial, Reason
from stagedoor.wire.proxyproto import MAX_V2_BYTES, ProxyHeader, parse_proxy_header

MAX_BYTES = MAX_V2_BYTES + 100


def check(received: bytes) -> None:
    """Check that bytes are a header or one documented refusal, the same whole and byte by byte."""
    outcome = parse_proxy_header(received)
    # Byte by byte where things are decided (version 1 ends at 107), and then in steps.
    ends = [*range(min(len(received), 120)), *range(120, len(received), 97), len(received)]
    dripped: ProxyHeader | Denial | None = None
    for end in ends:
        dripped = parse_proxy_header(received[:end])
        if dripped is not None:
            break
    assert dripped == outcome
    if isinstance(outcome, ProxyHeader):
        assert 0 < outcome.consumed <= min(len(received), MAX_V2_BYTES)
        assert parse_proxy_header(received[: outcome.consumed]) == outcome
        assert parse_proxy_header(received[: outcome.consumed - 1]) is None
        if outcome.source is not None:
            assert 0 <= outcome.source.port <= 65535
    elif isinstance(outcome, Denial):
        assert outcome.reason is Reason.BAD_REQUEST
        assert outcome.message.isprintable()
    else:
        assert len(received) < MAX_V2_BYTES
