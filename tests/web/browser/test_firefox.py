"""The stories of the terminal's page in Firefox, by real X key events."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.firefox import FirefoxTab, find_firefox, firefox
from tests.fixtures.gateway import PASSWORD, Gateway, open_gateway
from tests.waiting import wait_until
from tests.web.browser.conftest import TERMINAL, ready, run, shows
from tests.web.browser.test_page import cell
from tests.web.conftest import SETTINGS

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(
        find_firefox() is None, reason="as root: apt-get install firefox-esr xvfb xdotool"
    ),
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = SETTINGS.replace("tmux = false\n", "")
    with open_gateway(tmp_path_factory.mktemp("firefox"), settings, "app01", "app02") as gateway:
        gateway.add_user("bob")
        yield gateway


@pytest.fixture
def base(gateway: Gateway) -> str:
    return f"http://127.0.0.1:{gateway.port('web')}"


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("profile") / "downloads"


@pytest.fixture(scope="module")
def fox(downloads: Path) -> Iterator[FirefoxTab]:
    downloads.parent.rmdir()
    with firefox(downloads.parent) as tab:
        yield tab


def sign_in(tab: FirefoxTab, name: str) -> None:
    tab.until("document.getElementById('name') !== null && document.readyState === 'complete'")
    tab.ask("document.getElementById('name').focus()")
    tab.type(name)
    tab.keys("Tab")
    tab.type(PASSWORD)
    tab.enter()


def terminal(tab: FirefoxTab, base: str, name: str, *, tmux: bool = False) -> None:
    """Open a terminal of that name by address; sign in by the form if the browser is not signed in."""
    tab.show()
    tab.open(f"{base}/sign-in" if tab.ask("location.origin") != base else f"{base}/")
    if tab.ask("location.pathname") == "/sign-in":
        sign_in(tab, "dev")
        tab.until("location.pathname === '/'")
    kept = json.dumps({"tmux": tmux})
    tab.ask(f"localStorage.setItem('stagedoor.settings', {json.dumps(kept)})")
    tab.open(f"{base}/app/app01?terminal={name}")
    ready(tab)


def test_a_line_is_typed_and_answered(fox: FirefoxTab, base: str) -> None:
    terminal(fox, base, "types")
    run(fox, 'echo "in=$((40+2))-$APP_NAME"')
    shows(fox, "in=42-app01")
    assert not fox.trouble


def test_the_keys_that_a_browser_would_take_arrive(fox: FirefoxTab, base: str) -> None:
    terminal(fox, base, "keys")
    run(fox, "stty raw -echo; echo re''ady; cat -v")
    shows(fox, "ready")
    for keys, shown in (
        ("ctrl+c", "^C"),
        ("ctrl+slash", "^_"),
        ("F1", "^[OP"),
        ("F5", "^[[15~"),
        ("alt+b", "^[b"),
        ("alt+Left", "^[[1;3D"),
        ("shift+Tab", "^[[Z"),
        ("alt+shift+w", "^W"),
        ("alt+shift+t", "^T"),
    ):
        fox.keys(keys)
        shows(fox, shown)


@pytest.mark.skipif(shutil.which("tmux") is None, reason="as root: apt-get install tmux")
def test_tmux_splits_and_keeps_its_panes(fox: FirefoxTab, base: str) -> None:
    terminal(fox, base, "tmux", tmux=True)
    shows(fox, "[tmux]")
    fox.keys("ctrl+b", "percent")
    shows(fox, "│")
    run(fox, "echo ri''ght")
    shows(fox, "right")


def test_the_shell_has_the_size_of_the_window(fox: FirefoxTab, base: str) -> None:
    terminal(fox, base, "size")
    rows = "document.querySelectorAll('.xterm-rows > div').length"
    before = int(fox.ask(rows))
    run(fox, "echo size=$(stty size | tr ' ' x)")
    shows(fox, f"size={before}x")
    fox.resize(900, 400)
    fox.until(f"{rows} < {before}")
    run(fox, "echo then=$(stty size | tr ' ' x)")
    shows(fox, f"then={fox.ask(rows)}x")
    fox.resize(1200, 700)


def test_what_is_selected_is_copied_and_pasted(fox: FirefoxTab, base: str) -> None:
    terminal(fox, base, "paste")
    run(fox, "clear; echo co''pied-text")
    shows(fox, "copied-text")
    x, y = cell(fox, "copied-text")
    fox.click(x, y, 2)
    fox.keys("ctrl+shift+c")
    run(fox, "cat > /dev/null")
    fox.keys("ctrl+shift+v")
    fox.until(f"{TERMINAL}.textContent.split('copied-text').length === 3")
    fox.keys("ctrl+c")


def test_files_go_up_and_down(fox: FirefoxTab, base: str, tmp_path: Path, downloads: Path) -> None:
    terminal(fox, base, "files")
    content = bytes(range(256)) * 4096
    (tmp_path / "up.bin").write_bytes(content)
    (tmp_path / "to").mkdir()
    fox.choose("#pick", tmp_path / "up.bin")
    fox.until("document.activeElement.id === 'folder'")
    fox.ask(f"document.getElementById('folder').value = {json.dumps(str(tmp_path / 'to'))}")
    fox.enter()
    fox.until("document.getElementById('files-said').textContent.includes('up.bin is in')")
    assert (tmp_path / "to/up.bin").read_bytes() == content
    fox.ask(
        f"document.getElementById('fetch-path').value = {json.dumps(str(tmp_path / 'to/up.bin'))}"
    )
    fox.ask("document.getElementById('fetch-path').focus()")
    fox.enter()
    down = downloads / "up.bin"
    wait_until(lambda: down.exists() and down.read_bytes() == content)


def test_a_shared_terminal_is_watched_by_the_one_who_has_the_link(
    fox: FirefoxTab, base: str
) -> None:
    terminal(fox, base, "shared")
    fox.ask("document.getElementById('share').click()")
    link = "[...document.querySelectorAll('#company button')].find(e => e.textContent === 'Make a link')"
    fox.until(f"{link} !== undefined")
    fox.ask(f"{link}.click()")
    address = str(fox.until("document.getElementById('share-link')?.value"))
    fox.ask("document.getElementById('company').close()")
    guest = fox.apart()
    try:
        guest.show()
        guest.open(address)
        guest.until("document.getElementById('open')?.hidden === false")
        guest.ask("document.getElementById('open').click()")
        guest.until("location.pathname === '/sign-in'")
        sign_in(guest, "bob")
        ready(guest)
        fox.show()
        run(fox, "echo se''en")
        guest.show()
        shows(guest, "seen")
        run(guest, "echo intr''uder")
        fox.show()
        run(fox, "echo af''ter")
        assert "intruder" not in shows(fox, "after")
    finally:
        guest.end()


def test_the_shortcuts_of_the_page(fox: FirefoxTab, base: str) -> None:
    terminal(fox, base, "shortcuts")
    run(fox, "echo need''le")
    shows(fox, "needle")
    fox.keys("ctrl+shift+f")
    fox.until("document.activeElement.id === 'find'")
    fox.type("needle")
    fox.until("document.querySelector('.xterm-find-result-decoration, .xterm-decoration') !== null")
    fox.keys("Escape")
    fox.until("document.getElementById('search').hidden")
    fox.keys("alt+shift+m")
    fox.until("!document.getElementById('settings').hidden")
    fox.keys("Escape")
    fox.until("document.getElementById('settings').hidden")
    fox.keys("alt+shift+p")
    fox.until("document.querySelector('dialog[open] input') !== null")
    fox.keys("Escape")
    fox.until("document.querySelector('dialog[open]') === null")
