"""Fuzz target: the head of a CONNECT request, and the answer to it."""

import json

from stagedoor.model.denial import Denial, Reason
from stagedoor.wire.http.answer import encode_refusal
from stagedoor.wire.http.connect import HeadParser, Request
from stagedoor.wire.target import parse_target

DOCUMENTED = {Reason.BAD_REQUEST, Reason.HEADER_TOO_LARGE, Reason.CREDENTIAL_WRONG}
MAX_BYTES = 9000


def check(received: bytes) -> None:
    """Check that a head is a request or one documented refusal, the same whole and byte by byte."""
    outcome = HeadParser().feed(received)
    parser = HeadParser()
    start, ends = 0, [end for end in range(1, len(received)) if is_cut(received, end)]
    for end in [*ends, len(received)]:
        dripped = parser.feed(received[start:end])
        start = end
        if isinstance(dripped, Request):
            assert isinstance(outcome, Request)
            assert outcome.early == dripped.early + received[end:]
            for name in ("host", "port", "credential", "has_bare_line_feed"):
                assert getattr(dripped, name) == getattr(outcome, name), name
            break
        if dripped is not None:
            assert dripped == outcome
            break
    else:
        assert outcome is None
    if isinstance(outcome, Request):
        judged = parse_target(outcome.host, outcome.port)
        if isinstance(judged, Denial):
            answer_is_whole(judged)
    elif isinstance(outcome, Denial):
        assert outcome.reason in DOCUMENTED
        answer_is_whole(outcome)


def is_cut(received: bytes, end: int) -> bool:
    """Return whether the input is cut at this byte: at the start and each line end, elsewhere in steps.

    In the middle of a line nothing is decided, and to cut everywhere would leave few runs.
    """
    return end <= 64 or end % 61 == 0 or received[end - 1] in b"\r\n" or received[end] in b"\r\n"


def answer_is_whole(denial: Denial) -> None:
    assert denial.message.isascii(), json.dumps(denial.message)
    assert denial.message.isprintable(), json.dumps(denial.message)
    head, end, body = encode_refusal(denial).partition(b"\r\n\r\n")
    assert end
    assert body.count(b"\n") == 1
    assert f"\r\nContent-Length: {len(body)}\r\n".encode() in head
    assert head.count(b"\n") == head.count(b"\r\n") == head.count(b"\r")
