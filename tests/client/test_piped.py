"""How the end of a pipe reaches a program in a terminal, without either."""

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.client.attach.typed_input import REPEAT_S, PipeInput


@given(st.lists(st.binary(min_size=1)), st.booleans())
def test_what_is_piped_in_is_typed_as_it_is(pieces: list[bytes], is_shared: bool) -> None:
    piped = PipeInput(is_shared=is_shared)
    assert [piped.feed(piece, 0.0) for piece in pieces] == pieces
    assert not piped.has_ended


def test_the_end_is_a_key_which_a_line_that_has_begun_needs_more_than_once() -> None:
    for before, end in ((b"", b"\x04"), (b"a\nb\n", b"\x04"), (b"a\nb", b"\x04\x04\n\x04")):
        piped = PipeInput(is_shared=False)
        if before:
            piped.feed(before, 0.0)
        assert piped.feed(b"", 0.0) == end
        assert piped.has_ended


def test_it_is_said_again_each_second() -> None:
    piped = PipeInput(is_shared=False)
    piped.feed(b"", 10.0)
    assert piped.end_due_at == 10.0 + REPEAT_S
    assert piped.repeat_end(10.5) == b""
    assert piped.repeat_end(11.0) == b"\x04"
    assert piped.end_due_at == 11.0 + REPEAT_S
    assert piped.repeat_end(11.5) == b""


def test_a_terminal_that_stays_is_not_told() -> None:
    piped = PipeInput(is_shared=True)
    assert piped.feed(b"within a line", 0.0) == b"within a line"
    assert piped.feed(b"", 0.0) == b""
    assert piped.has_ended
    assert piped.repeat_end(0.0) is None
