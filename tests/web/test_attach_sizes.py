"""`stagedoor attach` where the terminal has the size of another person's window."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from stagedoor.wire.terminal.frames import Mode, Resize, Size
from tests.fixtures.terminal import WebTerminal, ticket
from tests.web.outer import MODES_OFF, Outer, attach_command, modes, outer

PROGRAM = (
    "draw() { printf '\\033[2J\\033[HIT=%s.' \"$(stty size)\"; }; trap draw WINCH; "
    "printf '\\033[?1049h\\033[?1000h'; draw; while :; do sleep 0.1; done"
)
"""A full-screen program, with the mouse, that shows the size in which it draws."""
LARGE, SMALL = Size(200, 50), Size(60, 20)


@contextmanager
def joined(port: int, name: str, size: Size, mode: Mode = Mode.MIRROR) -> Iterator[WebTerminal]:
    """Another person at the terminal, in a window of that size."""
    with closing(WebTerminal(port).hello(ticket(port), terminal=name, mode=mode)) as client:
        client.send(Resize(size))
        yield client


def started(screen: Outer, folder: Path, port: int, name: str) -> None:
    screen.start(attach_command(folder, port, "app01", "--name", name, "--", "sh", "-c", PROGRAM))
    screen.shows("IT=40 120.")


def test_a_window_that_is_too_small_says_so_until_a_key_fits_the_terminal_to_it(
    port: int, tmp_path: Path
) -> None:
    with outer(tmp_path) as screen:
        started(screen, tmp_path, port, "tight")
        with joined(port, "tight", LARGE) as other:
            covered = screen.shows("This terminal is 200 by 50 now")
            assert "Your window is 120 by 40, too small to show it." in covered
            assert "IT=" not in covered
            assert screen.flag("mouse_any_flag") == "0", "its clicks would be typed blindly"
            # The other window shrinks: all of it has a place here.
            other.send(Resize(SMALL))
            assert "too small" not in screen.shows("IT=20 60.")
            assert screen.flag("mouse_any_flag") == "1"
            other.send(Resize(LARGE))
            screen.shows("too small")
            screen.type("never")
            assert "too small" not in screen.shows("IT=40 120.")
            assert "never" not in screen.screen(), "the key did nothing but that"
            # The program ends while it is covered.
            other.send(Resize(LARGE))
            screen.shows("too small")
            other.type(b"\x03")
            screen.shows("exit=")
        assert modes(screen) == MODES_OFF


def test_who_watches_in_a_small_window_may_see_it_cut_off(port: int, tmp_path: Path) -> None:
    with outer(tmp_path) as screen:
        started(screen, tmp_path, port, "looked")
        with joined(port, "looked", LARGE):
            screen.shows("too small")
            screen.run(attach_command(tmp_path, port, "app01", "--name", "looked", "--watch"))
            screen.shows("Enlarge it, or press any key")
            screen.type("x")
            assert "too small" not in screen.shows("IT=50 200.")
            assert screen.flag("wrap_flag") == "0"
            screen.type("\r~.")
            screen.shows("detached from looked")
        assert modes(screen) == MODES_OFF
        assert screen.flag("wrap_flag") == "1"
