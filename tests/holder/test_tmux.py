"""tmux in a held terminal: what it takes our ends of the line for, and what it is set to."""

import shutil
from pathlib import Path

import pytest

from stagedoor.holder.tmux import FEATURES
from tests.fixtures.terminal import Place
from tests.ssh import newest
from tests.waiting import wait_until

SINCE_3_4 = {"hyperlinks"}
OPTIONS = (
    "escape-time",
    "focus-events",
    "history-limit",
    "set-clipboard",
    "mouse",
    "status-left-length",
    "default-terminal",
    "extended-keys",
)
OURS = "10 on 50000 on on 43 tmux-256color"


@pytest.fixture(params=["3.3", "3.5"])
def version(request: pytest.FixtureRequest, place: Place, tmp_path: Path) -> str:
    """This machine's tmux, which is 3.3 on Debian 12, and that of Debian 13."""
    tmux = shutil.which("tmux")
    if request.param != "3.3":
        try:
            tmux = str(newest.tmux())
        except newest.MissingError as error:
            pytest.skip(str(error))
    if tmux is None:
        pytest.skip("tmux is missing; apt install tmux")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "tmux").symlink_to(tmux)
    place.environment |= {
        "PATH": f"{programs}:{place.environment.get('PATH', '/usr/bin:/bin')}",
        "TMUX_TMPDIR": str(tmp_path),
    }
    return str(request.param)


def asked(place: Place, command: str, words: str = "tmux") -> list[str]:
    """Return what a command prints that is typed in the terminal's tmux, which ends with it."""
    answer = place.folder / "answer"
    with place.peer() as peer:
        peer.hello(words)
        ask = f"tmux display -p '#{{version}}' >{answer}; {command} >>{answer}; tmux kill-server\r"
        peer.type(ask.encode())
        peer.until(lambda: peer.exit)
    return answer.read_text().split()


def options() -> str:
    return "; ".join(f"tmux show -Av {option} || tmux show -Asv {option}" for option in OPTIONS)


def test_tmux_knows_all_that_our_ends_can_do(place: Place, version: str) -> None:
    found, features = asked(place, "tmux display -p '#{client_termfeatures}'")
    unknown = SINCE_3_4 if found.startswith("3.3") else set()
    assert set(FEATURES.split(",")) - set(features.split(",")) == unknown


@pytest.mark.parametrize("words", ["tmux", "tmux mouse"])
def test_tmux_has_our_defaults(place: Place, version: str, words: str) -> None:
    found, *values = asked(place, f"({options()})", words)
    assert values == [*OURS.split(), "off" if found.startswith("3.3") else "on"]


def test_what_the_persons_files_say_holds(place: Place, version: str, tmp_path: Path) -> None:
    configuration = tmp_path / "a folder"
    for number, file in enumerate(
        (".tmux.conf", ".config/tmux/tmux.conf", f"{configuration}/tmux/tmux.conf")
    ):
        path = place.folder / file  # the home folder; an absolute one stays as it is
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"set -g history-limit {number + 1}\nset -ag @read {number}\n")
    (place.folder / ".tmux.conf").write_text(
        "set -s escape-time 77\nset -s extended-keys off\nset -g mouse off\nset -g @read 0\n"
    )
    place.environment["XDG_CONFIG_HOME"] = str(configuration)
    said = asked(place, f"({options()}; tmux show -gv @read)")[1:]
    assert said == ["77", "on", "3", "on", "off", "43", "tmux-256color", "off", "012"]


def history(place: Place, name: str = "main") -> tuple[int, str]:
    process = place.start("history", name)
    stdout, stderr = process.communicate(timeout=30)
    assert (stderr == b"") == (process.returncode == 0), stderr
    return process.returncode, stdout.decode()


@pytest.mark.skipif(shutil.which("tmux") is None, reason="apt install tmux")
def test_the_history_of_a_tmux_is_printed_with_its_colours(place: Place, tmp_path: Path) -> None:
    place.environment["TMUX_TMPDIR"] = str(tmp_path)
    with place.peer() as peer:
        peer.hello("tmux")
        peer.type(b"clear; seq -f 'line %g.' 300; printf '\\033[31mred\\033[m end\\n'\r")
        wait_until(lambda: "\x1b[31mred\x1b[39m end" in history(place)[1])
        code, text = history(place)
        lines = [line.rstrip() for line in text.splitlines()]
        last = lines.index("line 300.")
        assert lines[last - 298 : last + 1] == [f"line {number}." for number in range(2, 301)]
        assert code == 0
        peer.acknowledges = False
        peer.type(b"tmux kill-server\r")
        peer.until(lambda: peer.exit)


def test_a_shell_without_tmux_has_no_history_to_print(place: Place) -> None:
    with place.peer() as peer:
        peer.hello()
        peer.type(b"echo he''re\r")
        peer.shows(b"here")
        assert history(place) == (0, "")
    assert history(place, "other") == (1, "")
