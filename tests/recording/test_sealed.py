"""Recordings at rest: sealed for recipients, opened by their keys, and by no other key."""

from collections.abc import Callable
from pathlib import Path

import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.keys.age import AgeOpener, AgeSeal
from stagedoor.model.errors import StagedoorError
from stagedoor.recording.folder import list_stored
from stagedoor.recording.recorder import Recorder
from stagedoor.wire.terminal.asciicast import AsciicastReader
from tests.fixtures.laptop import new_key, public
from tests.recording.conftest import BOUND_S, HEADER, OPENED


def identity(folder: Path, name: str = "identity") -> tuple[str, Path]:
    """A recipient and the file with its key, as age-keygen writes it."""
    key = pyrage.x25519.Identity.generate()
    path = folder / name
    path.write_text(f"# created: now\n# public key: {key.to_public()}\n{key}\n")
    return str(key.to_public()), path


def opened(files: list[Path], *pieces: bytes) -> bytes:
    return b"".join(AgeOpener(files).open(pieces))


async def test_a_sealed_recording_shows_nothing_and_opens_piece_by_piece(
    tmp_path: Path, folder: Path, recorder_with: Callable[..., Recorder]
) -> None:
    recipient, key = identity(tmp_path)
    recorder = recorder_with(seal=AgeSeal([recipient]), sync_s=1000)
    recording = await recorder.begin(
        OPENED, 1, HEADER, on_room=lambda: None, on_failure=lambda why: None
    )
    recording.record_output(b"the secret")
    recorder.stop(BOUND_S)
    (found,) = list_stored(folder)
    assert found.suffix == ".age"
    content = found.path.read_bytes()
    assert b"secret" not in content
    assert content.count(b"BEGIN AGE") == 2, "the header, then what was shown"
    reader = AsciicastReader(AgeOpener([key]).open([content]))
    assert reader.header == HEADER
    assert [event.data for event in reader.read_events()] == ["the secret"]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.binary(max_size=500), max_size=4), st.integers(1, 400))
def test_pieces_open_however_they_are_split(
    tmp_path_factory: pytest.TempPathFactory, plain: list[bytes], size: int
) -> None:
    recipient, key = identity(tmp_path_factory.mktemp("k"))
    seal = AgeSeal([recipient])
    sealed = b"".join(map(seal.seal, plain))
    pieces = [sealed[at : at + size] for at in range(0, len(sealed), size)]
    assert opened([key], *pieces) == b"".join(plain)


def test_a_last_piece_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    recipient, key = identity(tmp_path)
    seal = AgeSeal([recipient])
    assert opened([key], seal.seal(b"whole"), seal.seal(b"cut")[:-5]) == b"whole"


def test_every_recipient_can_open_and_nobody_else(tmp_path: Path) -> None:
    first, first_key = identity(tmp_path, "first")
    second, second_key = identity(tmp_path, "second")
    _, stranger = identity(tmp_path, "stranger")
    sealed = AgeSeal([first, second]).seal(b"seen")
    assert opened([first_key], sealed) == opened([stranger, second_key], sealed) == b"seen"
    with pytest.raises(StagedoorError, match="--identity"):
        opened([stranger], sealed)


def test_an_openssh_key_is_a_recipient_too(tmp_path: Path) -> None:
    path = new_key(tmp_path / "id")
    sealed = AgeSeal([public(path)]).seal(b"seen")
    assert opened([path], sealed) == b"seen"


def test_a_piece_that_was_changed_is_told(tmp_path: Path) -> None:
    recipient, key = identity(tmp_path)
    seal = AgeSeal([recipient])
    lines = seal.seal(b"second" * 20).split(b"\n")
    middle = lines[-4]
    lines[-4] = (b"B" if middle[:1] == b"A" else b"A") + middle[1:]
    with pytest.raises(StagedoorError, match="piece 2"):
        opened([key], seal.seal(b"first"), b"\n".join(lines))


@pytest.mark.parametrize("what", [b"plain text\n", b"x" * 10_000, b"\x00" * 300])
def test_what_is_not_sealed_is_told_and_not_collected(tmp_path: Path, what: bytes) -> None:
    _, key = identity(tmp_path)
    with pytest.raises(StagedoorError, match="not a sealed recording"):
        opened([key], what)


@pytest.mark.parametrize("recipient", ["age1nonsense", "ssh-ed25519 AAAA", "alice", ""])
def test_what_is_no_recipient_is_refused_by_name(recipient: str) -> None:
    with pytest.raises(StagedoorError, match="is not an age recipient"):
        AgeSeal([recipient])


def test_no_word_of_a_key_is_in_an_error(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    path.write_text("AGE-SECRET-KEY-1NONSENSE\n")
    with pytest.raises(StagedoorError) as caught:
        AgeOpener([path])
    assert "NONSENSE" not in str(caught.value)
    with pytest.raises(StagedoorError, match="cannot read"):
        AgeOpener([tmp_path / "none"])
