"""The transcript says what our codec says, both ways. The TypeScript client's tests read the same file."""

import json

import pytest

from stagedoor.wire.terminal.codec import decode, encode
from stagedoor.wire.terminal.frames import TerminalError
from tests.wire.frames_transcript import BROKEN, FILE, FRAMES, text


def test_the_transcript_is_what_we_write() -> None:
    assert FILE.read_text(encoding="utf-8") == text(), "python -m tests.wire.frames_transcript"


def test_what_stands_in_it_is_read_as_what_it_says() -> None:
    kept = json.loads(FILE.read_text(encoding="utf-8"))
    assert [decode(bytes.fromhex(kept_frame["hex"])) for kept_frame in kept["frames"]] == list(
        FRAMES
    )
    assert [encode(frame).hex() for frame in FRAMES] == [
        kept_frame["hex"] for kept_frame in kept["frames"]
    ]


@pytest.mark.parametrize("data", BROKEN, ids=lambda data: data[:12].hex() or "empty")
def test_what_is_broken_is_refused(data: bytes) -> None:
    with pytest.raises(TerminalError):
        decode(data)
