"""The `traceparent` field of a request (W3C Trace Context, level 1, §3.2), which any client may send."""

import re

from stagedoor.model.trace import TraceContext

MAX_CHARS = 512
"""The limit on a field; later versions may be longer than version 00."""
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


def parse_traceparent(text: str) -> TraceContext | None:
    """Parse the field. Return None if it is invalid: then the login begins its own trace (§4.3)."""
    match = _FORM.fullmatch(text) if len(text) <= MAX_CHARS else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if (
        version == "ff"
        or (version == "00" and more)
        or not (int(trace_id, 16) and int(span_id, 16))
    ):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & 1))
