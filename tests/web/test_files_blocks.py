"""Reads of one file from a shell, whatever it says of itself and however little it gives at once."""

from typing import cast

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.listeners.web.files.fields import FilesError
from stagedoor.listeners.web.files.transfer import (
    AHEAD_BYTES,
    MAX_ANSWERS_PER_BLOCK,
    MIN_REQUEST_BYTES,
    read_blocks,
)


class File:
    """`content` in answers of at most `piece` bytes; counts what it is asked."""

    def __init__(self, content: bytes, piece: int) -> None:
        self.content = content
        self.piece = piece
        self.asked: list[int] = []

    async def read(self, size: int, at: int) -> bytes:
        self.asked.append(size)
        return self.content[at : at + min(size, self.piece)]


async def read(file: File, limit: int, start: int, end: int | None) -> bytes:
    pieces = read_blocks(cast(asyncssh.SFTPClientFile, file), limit, start, end)
    return b"".join([piece async for piece in pieces])


@pytest.mark.parametrize("limit", [0, 1, 1 << 62])
async def test_a_shell_that_gives_a_byte_each_time_is_not_asked_for_ever(limit: int) -> None:
    file = File(bytes(8 * AHEAD_BYTES), 1)
    with pytest.raises(FilesError, match="in pieces of 1 bytes"):
        await read(file, limit, 0, len(file.content))
    assert len(file.asked) <= AHEAD_BYTES // MIN_REQUEST_BYTES * MAX_ANSWERS_PER_BLOCK


async def test_a_shell_that_says_it_gives_one_byte_is_asked_for_more() -> None:
    file = File(bytes(AHEAD_BYTES), AHEAD_BYTES)
    assert await read(file, 1, 0, AHEAD_BYTES) == file.content
    assert set(file.asked) == {MIN_REQUEST_BYTES}


CONTENT = bytes(range(251)) * 2000


@given(
    st.integers(0, 1 << 20),
    st.integers(2048, 300_000),
    st.integers(0, len(CONTENT)),
    st.one_of(st.none(), st.integers(0, len(CONTENT))),
)
async def test_answers_of_a_few_kilobytes_are_put_together(
    limit: int, piece: int, start: int, length: int | None
) -> None:
    end = None if length is None else min(start + length, len(CONTENT))
    assert await read(File(CONTENT, piece), limit, start, end) == CONTENT[start:end]


async def test_a_file_that_became_shorter_is_said_to_be() -> None:
    with pytest.raises(FilesError, match="became shorter"):
        await read(File(CONTENT, 4096), 0, 0, len(CONTENT) + 1)
