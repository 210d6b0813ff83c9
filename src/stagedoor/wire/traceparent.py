"""The `traceparent` field of a request (W3C Trace Context, level 1, §3.2), which anybody may have written."""

import re

from stagedoor.model.trace import TraceContext

MAX_CHARS = 512
"""A later version may have more than ours."""
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


def parse_traceparent(text: str) -> TraceContext | None:
    """None for what is no trace context: then the login begins a trace of its own (§4.3)."""
    found = _FORM.fullmatch(text) if len(text) <= MAX_CHARS else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if (
        version == "ff"
        or (version == "00" and more)
        or not (int(trace_id, 16) and int(span_id, 16))
    ):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & 1))
