"""`~` after Enter: what is for us, and what goes on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.client.attach.typed_input import Escape, Escapes


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (b"ls\r", [b"ls\r"]),
        (b"~.", [Escape.DETACH]),
        (b"ls\r~.", [b"ls\r", Escape.DETACH]),
        (b"ls\n~?", [b"ls\n", Escape.HELP]),
        (b"a~.", [b"a~."]),
        (b"\r~~.", [b"\r", b"~."]),
        (b"\r~x", [b"\r", b"~x"]),
        (b"\r~\r~.", [b"\r", b"~\r", Escape.DETACH]),
        (b"~?~?~.", [Escape.HELP, Escape.HELP, Escape.DETACH]),
        (b"\r~\x1a", [b"\r", Escape.SUSPEND]),
        (b"\x10\x17\x14\x0e", [b"\x10\x17\x14\x0e"]),
        (b"\x1b[200~~.\x1b[201~", [b"\x1b[200~~.\x1b[201~"]),
    ],
)
def test_what_is_for_us(typed: bytes, found: list[bytes | Escape]) -> None:
    def joined(each: list[bytes | Escape]) -> list[bytes | Escape]:
        out: list[bytes | Escape] = []
        for event in each:
            if isinstance(event, bytes) and out and isinstance(out[-1], bytes):
                out[-1] += event
            else:
                out.append(event)
        return out

    assert joined(Escapes().feed(typed)) == joined(found)
    slow = Escapes()
    dripped = [event for byte in typed for event in slow.feed(bytes([byte]))]
    assert joined(dripped) == joined(found)


@given(st.binary(max_size=80).map(lambda data: data.replace(b"~", b"-")))
def test_what_has_no_tilde_goes_on_as_it_is(data: bytes) -> None:
    assert b"".join(event for event in Escapes().feed(data) if isinstance(event, bytes)) == data


@given(st.binary(max_size=80))
def test_no_byte_that_is_not_for_us_is_lost(data: bytes) -> None:
    """A tilde may be held back at the end, until the next key says what it is."""
    typed = b"x" + data.replace(b"\r", b"").replace(b"\n", b"")
    assert Escapes().feed(typed) == [typed]
