"""The conversations as they stand in the file are those that are written here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.wire.terminal.codec import decode
from tests.wire.conversation import runs, unrun
from tests.wire.conversations import FILE, conversations, text


def test_the_file_is_what_we_tell() -> None:
    assert FILE.read_text(encoding="utf-8") == text(), "python -m tests.wire.conversations"


def test_each_has_a_name_of_its_own_and_somebody_to_replay_it() -> None:
    kept = conversations()
    assert len({conversation.name for conversation in kept}) == len(kept)
    assert all(set(conversation.sides) & {"client", "terminal", "gateway"} for conversation in kept)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_what_goes_either_way_is_a_frame(direction: str) -> None:
    for conversation in conversations():
        for step in conversation.steps:
            if direction in step and conversation.sides != ("gateway",):
                decode(unrun(step[direction]))


@given(st.lists(st.tuples(st.binary(max_size=3), st.integers(1, 60))))
def test_bytes_are_read_as_they_were_written(pieces: list[tuple[bytes, int]]) -> None:
    data = b"".join(piece * count for piece, count in pieces)
    assert unrun(runs(data)) == data
