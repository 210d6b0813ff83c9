"""A terminal that is ended: its program goes, and whoever is attached reads that it has."""

import shutil
from pathlib import Path

import pytest

from stagedoor.wire.terminal.frames import Exit
from tests.fixtures.terminal import Place
from tests.waiting import wait_until

pytestmark = pytest.mark.parametrize("place", ["python", "kit"], indirect=True)


def end(place: Place, name: str = "main") -> tuple[int, str]:
    process = place.start("end", name)
    _, stderr = process.communicate(timeout=30)
    return process.returncode, stderr.decode()


def test_a_client_that_is_attached_reads_the_end(place: Place) -> None:
    with place.peer() as peer:
        peer.hello()
        peer.type(b"echo here\r")
        peer.shows(b"\r\nhere")
        peer.acknowledges = False  # it may be over before that is read
        assert end(place) == (0, "")
        peer.until(lambda: peer.exit)
        assert peer.exit is not None
    assert not list(place.folder.glob("*.terminal"))


def test_a_program_that_does_not_listen_goes_too(place: Place) -> None:
    with place.peer() as peer:
        peer.hello("trap '' HUP TERM; printf rea''dy; while :; do sleep 1; done")
        peer.shows(b"ready")
        peer.acknowledges = False
        assert end(place)[0] == 0
        peer.until(lambda: peer.exit)
        assert peer.exit == Exit(128 + 9, "KILL")
    wait_until(lambda: not list(place.folder.glob("*.terminal")))


def test_one_without_a_client_ends_at_once(place: Place, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with place.peer() as peer:
        peer.hello()
        peer.type(f"echo $$ >{pid}.new; mv {pid}.new {pid}\r".encode())
        wait_until(pid.exists)
    assert end(place)[0] == 0
    # It has ended, and is there until a client has asked how.
    wait_until(lambda: not Path(f"/proc/{int(pid.read_text())}").exists())
    assert not list(place.folder.glob("*.terminal"))


@pytest.mark.skipif(shutil.which("tmux") is None, reason="there is no tmux")
def test_what_runs_in_its_tmux_ends_with_it(place: Place, tmp_path: Path) -> None:
    place.environment["TMUX_TMPDIR"] = str(tmp_path)
    pid = tmp_path / "pid"
    with place.peer() as peer:
        peer.hello("tmux")
        peer.type(f"echo $$ >{pid}.new; mv {pid}.new {pid}\r".encode())
        wait_until(pid.exists)
        peer.acknowledges = False
        assert end(place)[0] == 0
        wait_until(lambda: not Path(f"/proc/{int(pid.read_text())}").exists())
        peer.until(lambda: peer.exit)


@pytest.mark.parametrize("name", ["main", "../main", "", "-h"])
def test_what_is_not_there_is_not_ended(place: Place, name: str) -> None:
    code, why = end(place, name)
    assert code == 1
    assert "terminal" in why
    assert not list(place.folder.glob("*.terminal"))
