"""The two holders show a newcomer the same, whatever a program has written before."""

import random
import sys
from pathlib import Path

import pytest

from tests.fixtures.terminal import Place
from tests.holder.conftest import kill_programs_of

_PIECES = (
    b"\x1b", b"\x1b[", b"\x1b]", b"\x1bP", b"\x1b\\", b"\x07", b"\x05", b"\x1bc", b"\x1b=", b"\x1b>",
    b"\x1bZ", b"\x1b[!p", b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?2004;1;12h", b"\x1b[?25l", b"\x1b[?7l",
    b"\x1b[?25;7h", b"\x1b[4 q", b"\x1b[0 q", b"\x1b[>4;2m", b"\x1b[>4m", b"\x1b[>m", b"\x1b[>1u",
    b"\x1b[<u", b"\x1b[<3u", b"\x1b[>;5u", b"\x1b[=5u", b"\x1b[=6;2u", b"\x1b[=1;3u",
    b"\x1b[<40u", b"\x1b[6n", b"\x1b[>c", b"\x1b[?1$p", b"\x1b[>q",
    b"\x1b[>0:1q", b"\x1b[?u", b"\x1b[18t", b"\x1b[1 t", b"\x1b]0;title\x07", b"\x1b]8;;https://a.example\x07",
    b"\x1b]52;c;?\x1b\\", b"\x1b_G\x1b\\", b"\x1bPq#0\x1b\\", b"0", b"9;", b":1", b"<", b"?", b" ", b"$",
    b"!", b"p", b"q", b"h", b"l", b"m", b"u", b"\r\n", b"text", "é你😀".encode(), b"\x00", b"\xff",
    b"\x1bP0;1q", b"\x1bP$q", b"\x1b[?" + b"1;" * 40 + b"1000h", b"line\r\n" * 40,
)  # fmt: skip


def snapshot(holder: tuple[str, ...], folder: Path, shown: bytes) -> bytes:
    """Return what a newcomer is shown after a program has written this."""
    folder.mkdir(mode=0o700)
    (folder / "shown").write_bytes(shown)
    place = Place(folder, holder)
    try:
        with place.peer() as first:
            first.hello(f"stty raw -echo; printf @@; cat {folder}/shown; printf @@; exec sleep 600")
            first.until(lambda: first.seen == len(shown) + 4)
            first.detach()
        with place.peer() as newcomer:
            newcomer.hello()
            newcomer.catch_up()
            assert place.faults() == ""
            return newcomer.snapshot
    finally:
        kill_programs_of(folder)


@pytest.mark.parametrize("seed", range(6))
def test_a_newcomer_is_shown_the_same_by_both(hold: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    pieces = chance.choices(_PIECES, k=chance.choice((30, 300, 30_000)))
    shown = b"".join(pieces)
    ours = (sys.executable, "-m", "stagedoor.holder")
    assert snapshot((str(hold),), tmp_path / "kit", shown) == snapshot(
        ours, tmp_path / "python", shown
    )


def test_both_show_a_picture_again_and_ask_nothing(hold: Path, tmp_path: Path) -> None:
    picture, queries = b"\x1bP0;1;0q#1;2;100;0;0#1~~-~~\x1b\\", b"\x1bP$qm\x1b\\\x1bP+q544e\x1b\\"
    for name, holder in (
        ("kit", (str(hold),)),
        ("python", (sys.executable, "-m", "stagedoor.holder")),
    ):
        shown = snapshot(holder, tmp_path / name, b"before" + picture + queries + b"after")
        assert b"before" + picture + b"after" in shown
