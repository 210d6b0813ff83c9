"""Shortcuts that a browser keeps for itself, by real X key events: those of DevTools bypass them."""

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from acceptance.chromium import BrowserError, Tab, chromium, find_chromium
from acceptance.firefox import NEEDED, x_screen
from stagedoor.holder.tmux import format_defaults, make_command
from tests.fixtures.gateway import Gateway
from tests.ssh import newest
from tests.web.browser.conftest import hides, ready, run, shows

pytestmark = [
    pytest.mark.webshell(5),
    pytest.mark.skipif(
        find_chromium() is None or any(shutil.which(name) is None for name in NEEDED),
        reason="as root: apt-get install chromium xvfb xdotool",
    ),
]


KITTY = (
    ("shift+Return", "^[[13;2u"),
    ("ctrl+i", "^[[105;5u"),
    ("Escape", "^[[27u"),
    ("ctrl+shift+a", "^[[97;6u"),
    ("alt+Left", "^[[1;3D"),
    ("F1", "^[[P"),
)
"""Keys, and what `cat -v` shows of them by kitty's protocol (flag 1)."""


def key(screen: str, keys: str) -> None:
    subprocess.run(
        ["xdotool", "key", "--clearmodifiers", keys],
        env={**os.environ, "DISPLAY": screen},
        check=True,
    )


def focus(screen: str) -> None:
    """Click into the middle: without a window manager no window gets the focus."""
    subprocess.run(
        ["xdotool", "mousemove", "500", "400", "click", "1"],
        env={**os.environ, "DISPLAY": screen},
        check=True,
    )


@pytest.fixture(scope="module")
def screen() -> Iterator[str]:
    with x_screen() as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPLAY", name)
        yield name


@contextmanager
def opened(gateway: Gateway, folder: Path, screen: str, *, app: bool) -> Iterator[Tab]:
    """Open a whole Chromium at a terminal, which has the keys: in a tab, or in an app's window."""
    base = f"http://127.0.0.1:{gateway.port('web')}"
    link = gateway.command("web-link", "dev", "--app", "app01", "--url", base).stdout.strip()
    how = (f"--app={link}",) if app else (link,)
    options = (*how, "--window-position=0,0", "--ozone-platform=x11")
    with chromium(folder, *options, headless=False) as browser:
        tab = browser.attach(f"{base}/link")
        tab.until("document.querySelector('#link button')?.disabled === false")
        tab.ask("document.querySelector('#link button').click()")
        ready(tab)
        focus(screen)
        yield tab
        tab.close()


@pytest.fixture(scope="module")
def whole_tab(
    gateway: Gateway, screen: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tab]:
    """Chromium with its tabs and menus, which keep some keys; the last test closes the page."""
    with opened(gateway, tmp_path_factory.mktemp("whole"), screen, app=False) as tab:
        yield tab


@pytest.fixture
def tab(whole_tab: Tab, gateway: Gateway) -> Tab:
    """A page with a terminal of its own: in that of the test before, `cat` may go on."""
    address = f"http://127.0.0.1:{gateway.port('web')}/app/app01?terminal=t{os.urandom(4).hex()}"
    whole_tab.open(address)
    ready(whole_tab)
    whole_tab.dialogs.clear()
    return whole_tab


def watch_keys(tab: Tab) -> None:
    run(tab, "stty raw -echo; echo re''ady; cat -v")
    shows(tab, "ready")


def gone(tab: Tab) -> bool:
    """Return whether the page closes within a while."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            tab.ask("1")
        except (BrowserError, ConnectionClosed):
            return True
        time.sleep(0.1)
    return False


def test_in_an_app_window_ctrl_w_t_and_n_reach_the_terminal(
    gateway: Gateway, screen: str, tmp_path: Path
) -> None:
    with opened(gateway, tmp_path / "p", screen, app=True) as tab:
        watch_keys(tab)
        for keys, shown in (("ctrl+w", "^W"), ("ctrl+t", "^T"), ("ctrl+n", "^N")):
            key(screen, keys)
            shows(tab, shown)


def test_a_program_that_asks_for_kitty_s_keys_tells_them_apart(tab: Tab, screen: str) -> None:
    run(tab, "printf '\\033[>1u'; stty raw -echo; echo re''ady; cat -v")
    shows(tab, "ready")
    for keys, shown in KITTY:
        key(screen, keys)
        shows(tab, shown)


UNCHANGED = (
    ("ctrl+c", "^C"),
    ("ctrl+shift+minus", "^_"),
    ("ctrl+slash", "^_"),
    ("ctrl+space", "^@"),
    ("alt+b", "^[b"),
    ("ctrl+Left", "^[[1;5D"),
    ("shift+a", "A"),
)
EXTENDED = (
    ("shift+Return", "^[[13;2u"),
    ("ctrl+Return", "^[[13;5u"),
    ("ctrl+semicolon", "^[[59;5u"),
)
PLAIN = (("shift+Return", "^M"), ("ctrl+Return", "^M"))
"""Keys, and what `cat -v` shows of them under tmux with our defaults: each time, since 3.5a to a program
that asks for them, and otherwise."""


def cat_in_tmux(tmux: str, folder: Path, *, asks: bool) -> str:
    """Return the line that shows keys in a tmux with our defaults, to a program that `asks` for theirs."""
    configuration, script = folder / "tmux.conf", folder / "keys"
    configuration.write_text(format_defaults(described=False))
    ask = "printf '\\033[>4;1m'; " if asks else ""
    script.write_text(f"{ask}stty raw -echo; printf ready; exec cat -v")
    _, *options = make_command("keys", str(configuration))
    return shlex.join([tmux, "-S", f"{folder}/s", *options, f"sh {script}"])


def find_tmux(which: str) -> str:
    """Return the tmux of this machine (`own`), or that of Debian 13."""
    try:
        tmux = shutil.which("tmux") if which == "own" else str(newest.tmux())
    except newest.MissingError as error:
        pytest.skip(str(error))
    return tmux or pytest.skip("as root: apt-get install tmux")


@pytest.mark.parametrize(("which", "asks"), [("3.5", True), ("3.5", False), ("own", True)])
def test_tmux_hands_on_the_keys_that_a_program_asks_for(
    tab: Tab, screen: str, tmp_path: Path, which: str, asks: bool
) -> None:
    tmux = find_tmux(which)
    version = subprocess.run([tmux, "-V"], capture_output=True, text=True, check=True).stdout
    run(tab, cat_in_tmux(tmux, tmp_path, asks=asks))
    line = "ready"
    shows(tab, line)
    hands_on = asks and not version.startswith("tmux 3.3")
    for pressed, shown in (*UNCHANGED, *(EXTENDED if hands_on else PLAIN)):
        key(screen, pressed)
        line += shown
        shows(tab, line)


VIM = (
    "vim -u NONE -i NONE -N --cmd 'set keyprotocol=xterm:kitty' --cmd 'let &term=&term'"
    " -c 'inoremap <S-CR> [shift-enter]' -c 'inoremap <C-I> [ctrl-i]' -c startinsert"
)


@pytest.mark.skipif(shutil.which("vim") is None, reason="as root: apt-get install vim")
def test_vim_asks_for_them_and_leaves_the_shell_s_keys_as_they_were(tab: Tab, screen: str) -> None:
    run(tab, VIM)
    shows(tab, "-- INSERT --")
    for keys, shown in (("shift+Return", "[shift-enter]"), ("ctrl+i", "[ctrl-i]")):
        key(screen, keys)
        shows(tab, shown)
    key(screen, "Escape")
    hides(tab, "-- INSERT --")
    run(tab, ":q!")
    shows(tab, "startinsert")
    run(tab, "cat")
    key(screen, "ctrl+c")
    shows(tab, "^C\n#")  # what is typed before this prompt can be lost
    tab.type("echo sti''ll")
    key(screen, "shift+Return")
    shows(tab, "still")


def test_in_a_tab_the_chord_sends_what_the_browser_would_take(tab: Tab, screen: str) -> None:
    watch_keys(tab)
    for keys, shown in (("alt+shift+w", "^W"), ("alt+shift+t", "^T"), ("alt+shift+n", "^N")):
        key(screen, keys)
        shows(tab, shown)


def test_in_a_tab_ctrl_w_closes_it_and_is_asked_about_though_nothing_runs(
    tab: Tab, screen: str
) -> None:
    run(tab, "echo re''ady")
    shows(tab, "ready")
    key(screen, "ctrl+w")
    assert gone(tab)
    assert tab.dialogs == ["beforeunload"]
