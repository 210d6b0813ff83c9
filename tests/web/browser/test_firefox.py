"""The stories of the terminal and of the other pages in Firefox, by real X key events."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from acceptance.firefox import FirefoxTab, find_firefox, firefox
from stagedoor.admin.roles import add_role
from stagedoor.model.permission import Permission
from stagedoor.model.role import Role, RoleRule
from tests.fixtures.gateway import PASSWORD, Gateway
from tests.waiting import wait_until
from tests.web.browser.conftest import TERMINAL, ready, run, shows
from tests.web.browser.looks import AXE, LIGHT, PHONE, PROBLEMS, violations
from tests.web.browser.test_chinese import english
from tests.web.browser.test_local_echo import SLOW, draws_letters_at_once_and_no_password
from tests.web.browser.test_manners import stands_as_written
from tests.web.browser.test_page import cell
from tests.web.browser.test_prompt_marks import prompts_are_marked
from tests.web.browser.test_replay import write
from tests.web.browser.test_sharing import shared
from tests.web.browser.test_shortcuts import EXTENDED, KITTY, UNCHANGED, cat_in_tmux, find_tmux
from tests.web.conftest import SETTINGS

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(
        find_firefox() is None, reason="as root: apt-get install firefox-esr xvfb xdotool"
    ),
]


ACCOUNTS = '\n[accounts]\nself_service = ["tokens"]\n'
LOADED = "document.readyState === 'complete'"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("firefox"), SETTINGS + ACCOUNTS) as gateway:
        for name, *apps in (("dev", "app01", "app02"), ("bob",), ("chief",)):
            gateway.add_user(name, *apps)
        gateway.permit("user:dev", "*", Permission.REPLAY)
        with gateway.service() as service:
            add_role(service, RoleRule(0, "user:chief", Role.ADMINISTRATOR))
        (gateway.data_dir / "recordings").mkdir(mode=0o700)
        write(
            gateway.data_dir / "recordings/0short.1.cast", [(0.0, "o", "one"), (60.0, "o", "two")]
        )
        yield gateway.start()


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


@contextmanager
def person(fox: FirefoxTab, base: str, name: str, path: str = "/") -> Iterator[FirefoxTab]:
    """Open a page as a person who shares no cookies with the others."""
    tab = fox.apart()
    try:
        tab.show()
        tab.open(f"{base}{path}")
        sign_in(tab, name)
        tab.until(f"location.pathname === {json.dumps(path)} && {LOADED}")
        yield tab
    finally:
        tab.end()
        fox.show()


def focus(tab: FirefoxTab, selector: str) -> None:
    tab.until(f"document.querySelector({json.dumps(selector)}) !== null")
    tab.ask(f"document.querySelector({json.dumps(selector)}).focus()")


def terminal(tab: FirefoxTab, base: str, name: str) -> None:
    """Open a terminal of that name by address; sign in by the form if the browser is not signed in."""
    tab.show()
    tab.open(f"{base}/sign-in" if tab.ask("location.origin") != base else f"{base}/")
    if tab.ask("location.pathname") == "/sign-in":
        sign_in(tab, "dev")
        tab.until("location.pathname === '/'")
    tab.open(f"{base}/app/app01?terminal={name}")
    ready(tab)
    # The question before leaving a program that runs takes the keys from the window.
    tab.focus_window()


def test_a_terminal_is_typed_into_resized_and_copied_from(fox: FirefoxTab, base: str) -> None:
    terminal(fox, base, "types")
    run(fox, 'echo "in=$((40+2))-$APP_NAME"')
    shows(fox, "in=42-app01")
    stands_as_written(fox)
    rows = "document.querySelectorAll('.xterm-rows > div').length"
    before = int(fox.ask(rows))
    fox.resize(900, 400)
    fox.until(f"{rows} < {before}")
    run(fox, "echo then=$(stty size | tr ' ' x)")
    shows(fox, f"then={fox.ask(rows)}x")
    fox.resize(1200, 700)
    run(fox, "clear; echo co''pied-text")
    shows(fox, "copied-text")
    x, y = cell(fox, "copied-text")
    fox.click(x, y, 2)
    fox.keys("ctrl+shift+c")
    run(fox, "cat > /dev/null")
    fox.keys("ctrl+shift+v")
    fox.until(f"{TERMINAL}.textContent.split('copied-text').length === 3")
    fox.keys("ctrl+c")
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


def test_a_program_that_asks_for_kitty_s_keys_tells_them_apart(fox: FirefoxTab, base: str) -> None:
    terminal(fox, base, "kitty")
    run(fox, "printf '\\033[>1u'; stty raw -echo; echo re''ady; cat -v")
    shows(fox, "ready")
    for keys, shown in KITTY:
        fox.keys(keys)
        shows(fox, shown)


def test_tmux_hands_on_the_keys_that_a_program_asks_for(
    fox: FirefoxTab, base: str, tmp_path: Path
) -> None:
    terminal(fox, base, "extended")
    run(fox, cat_in_tmux(find_tmux("3.5"), tmp_path, asks=True))
    line = "ready"
    shows(fox, line)
    for keys, shown in (*UNCHANGED, *EXTENDED):
        fox.keys(keys)
        line += shown
        shows(fox, line)


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


def test_letters_are_drawn_before_their_echo_on_a_slow_line(fox: FirefoxTab, base: str) -> None:
    slow = fox.call("script.addPreloadScript", functionDeclaration=f"() => {{ {SLOW} }}")["script"]
    try:
        terminal(fox, base, "echo")
    finally:
        fox.call("script.removePreloadScript", script=slow)
    draws_letters_at_once_and_no_password(fox)


def test_keys_lead_from_prompt_to_prompt(fox: FirefoxTab, base: str) -> None:
    terminal(fox, base, "marks")
    prompts_are_marked(fox, lambda: fox.keys("ctrl+shift+Up"), lambda: fox.keys("ctrl+shift+Down"))


def test_a_tab_leads_back_to_its_terminal_and_a_narrow_bar_is_whole(
    fox: FirefoxTab, base: str
) -> None:
    terminal(fox, base, "left")
    run(fox, "echo st''ays")
    shows(fox, "stays")
    terminal(fox, base, "right")
    box = fox.ask(
        "(e => { const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })"
        "([...document.querySelectorAll('#tabs > a')].find(e => e.textContent === 'left'))"
    )
    fox.click(*box)
    fox.until("location.search === '?terminal=left'")
    ready(fox)
    shows(fox, "stays")
    fox.resize(PHONE, 640)
    assert json.loads(fox.ask(PROBLEMS)) == []
    fox.resize(1200, 700)


def test_a_terminal_is_shared_with_a_guest_and_locked(fox: FirefoxTab, base: str) -> None:
    terminal(fox, base, "shown")
    run(fox, "echo se''en")
    shows(fox, "seen")
    link = shared(fox)
    guest = fox.apart()
    try:
        guest.show()
        guest.open(link)
        guest.until("document.getElementById('open')?.hidden === false")
        focus(guest, "#open")
        guest.enter()
        sign_in(guest, "bob")
        guest.until("location.pathname === '/shared/terminal'")
        ready(guest)
        shows(guest, "seen")
        guest.focus_window()
        guest.type("never")
        fox.show()
        fox.ask("document.getElementById('dialog').close()")
        fox.until("document.getElementById('people').textContent === 'bob by link watches'")
        run(fox, "echo af''ter")
        assert "never" not in shows(fox, "after")
        focus(fox, "#people")
        fox.enter()
        focus(fox, "#lock")
        fox.keys("space")
        guest.until("document.getElementById('status').dataset.state === 'over'")
        fox.until("document.getElementById('people').textContent === 'LockedOnly you'")
        assert not fox.trouble
        assert not guest.trouble
    finally:
        guest.end()
        fox.show()


# The other pages.


def test_the_home_page_has_the_keys_that_firefox_would_take(fox: FirefoxTab, base: str) -> None:
    """Its quick find has the slash, and its search bar Ctrl K."""
    with person(fox, base, "dev") as tab:
        tab.until("!document.getElementById('go').hidden")
        tab.keys("question")
        tab.until("document.getElementById('shortcuts')?.open === true")
        tab.keys("Escape")
        tab.until("!document.getElementById('shortcuts').open")
        tab.keys("ctrl+k")
        tab.until("document.querySelectorAll('#palette [role=option]').length > 3")
        tab.keys("Escape", "slash")
        tab.until("document.activeElement.id === 'wanted'")
        tab.type("app 02")
        tab.until("document.querySelectorAll('#app-list > tr').length === 1")
        tab.keys("Down")
        tab.until("document.activeElement.closest('tr')?.dataset.name === 'app02'")
        tab.enter()
        tab.until("location.pathname === '/app/app02'")
        ready(tab)
        assert not tab.trouble


def test_an_administrator_proves_it_by_password_and_gives_a_role_by_keys(
    fox: FirefoxTab, base: str
) -> None:
    with person(fox, base, "chief", "/admin/rules") as tab:
        focus(tab, "section[aria-labelledby=roles] summary")
        tab.enter()
        focus(tab, "#o-subject")
        tab.type("user:bob")
        tab.enter()
        tab.until(f"location.pathname === '/admin/rules/role/preview' && {LOADED}")
        assert tab.ask("document.querySelector('main').textContent.includes('bob')")
        focus(tab, "main .note a")
        tab.enter()
        tab.until(f"document.activeElement.id === 'secret' && {LOADED}")
        tab.type(PASSWORD)
        tab.enter()
        tab.until(f"location.pathname === '/admin/rules/role/preview' && {LOADED}")
        focus(tab, "form[action$='/role/add'] button")
        tab.enter()
        tab.until(f"location.pathname === '/admin/rules' && {LOADED}")
        tab.until("document.querySelector('main').textContent.includes('user:bob')")


def test_a_recording_is_played_by_keys(fox: FirefoxTab, base: str) -> None:
    at = "Number(document.getElementById('seek').value)"
    with person(fox, base, "dev", "/recordings") as tab:
        focus(tab, "main a[href$='0short.1']")
        tab.enter()
        tab.until("document.body.dataset.ready === 'true'")
        shows(tab, "one")
        tab.keys("space")
        tab.until(f"{at} > 0")
        tab.keys("space", "Home", "Right")
        tab.until(f"{at} >= 5")
        tab.keys("End")
        shows(tab, "two")


def test_a_token_is_made_and_copied(fox: FirefoxTab, base: str) -> None:
    with person(fox, base, "dev", "/account") as tab:
        focus(tab, "#apps")
        tab.type("app01")
        tab.enter()
        tab.until(f"{LOADED} && document.getElementById('new-token') !== null")
        focus(tab, "button.copy")
        tab.enter()
        focus(tab, "#apps")
        tab.keys("ctrl+v")
        tab.until(
            "document.getElementById('apps').value === document.getElementById('new-token').textContent"
        )
        focus(tab, "form[action$='/tokens/revoke'] button")
        tab.enter()
        tab.until(
            f"{LOADED} && document.querySelector('form[action$=\"/tokens/revoke\"]') === null"
        )
        assert not tab.trouble


def test_a_page_of_the_console_can_be_read_in_chinese(fox: FirefoxTab, base: str) -> None:
    """At the width of a phone too, and by axe-core's rules for what Firefox draws."""
    with person(fox, base, "chief", "/account") as tab:
        focus(tab, "#tongue")
        tab.keys("End", "Tab")
        tab.enter()
        tab.until(f"{LOADED} && document.documentElement.lang === 'zh-CN'")
        try:
            tab.open(f"{base}/admin/rules")
            assert english(tab) == []
            assert not AXE.exists() or violations(tab, LIGHT) == []
            tab.resize(PHONE, 640)
            assert json.loads(tab.ask(PROBLEMS)) == []
        finally:
            tab.open(f"{base}/account")
            focus(tab, "#tongue")
            tab.keys("Home", "Tab")
            tab.enter()
            tab.until(f"{LOADED} && document.documentElement.lang === 'en'")
