"""The field as W3C Trace Context has it; what is not of that form begins a trace of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.trace import TraceContext
from stagedoor.wire.http.fields import MAX_TRACEPARENT_CHARS, parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_caller_s_trace_is_taken_on() -> None:
    assert parse_traceparent(f"00-{TRACE}-{SPAN}-01") == TraceContext(TRACE, SPAN, True)
    assert parse_traceparent(f"00-{TRACE}-{SPAN}-00") == TraceContext(TRACE, SPAN, False)
    assert parse_traceparent(f"cc-{TRACE}-{SPAN}-03-what-will-be") == TraceContext(
        TRACE, SPAN, True
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        TRACE,
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01\n",
        f"cc-{TRACE}-{SPAN}-01-{'x' * MAX_TRACEPARENT_CHARS}",
    ],
)
def test_what_is_no_trace_context_is_none(text: str) -> None:
    assert parse_traceparent(text) is None


@given(st.text(alphabet="0123456789abcdef-F\x1b \n", max_size=80))
def test_what_is_taken_can_stand_in_a_log(text: str) -> None:
    context = parse_traceparent(text)
    if context is not None:
        assert len(context.trace_id) == 32
        assert set(context.trace_id + context.span_id) <= set("0123456789abcdef")
