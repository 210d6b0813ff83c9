"""The home page of a person with many apps: in line, filtered, by keyboard, in the person's own time."""

from collections.abc import Iterator

import pytest
from sqlalchemy import update

from acceptance.chromium import Tab
from stagedoor.admin.service import create_token
from stagedoor.model.target import Target
from stagedoor.store.schema import tokens
from tests.fixtures.gateway import Gateway, open_gateway
from tests.fixtures.terminal import WebTerminal, ticket
from tests.web.browser.conftest import become, click
from tests.web.browser.looks import keep
from tests.web.conftest import SETTINGS

WORDS = (
    *("api", "billing", "catalog", "docs"),
    *("events", "frontend-of-the-partner-portal", "gw", "image-resizer"),
)
APPS = [f"{WORDS[at % len(WORDS)]}-{at:03}" for at in range(40)]
STATIC = '\n[[shells.static]]\napp = "ssh-alone"\nhost = "10.0.0.9"\n'
ROWS = "[...document.querySelectorAll('#app-list > tr')]"
SEEN = f"{ROWS}.map(row => row.dataset.name)"
FOCUS = (
    "document.activeElement.closest('#app-list > tr')?.dataset.name ?? document.activeElement.id"
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    shells = "".join(f'\n[[shells.local]]\napp = "{app}"\n' for app in APPS)
    for environment in ("production", "production", "staging"):
        app = f"shop-{shells.count('shop-')}"
        shells += f'\n[[shells.local]]\napp = "{app}"\nenvironment = "{environment}"\n'
    with open_gateway(tmp_path_factory.mktemp("many"), SETTINGS + shells + STATIC, "*") as gateway:
        yield gateway


@pytest.fixture
def home(tab: Tab, base: str) -> Tab:
    become(tab, base)
    tab.open(f"{base}/")
    tab.until("!document.getElementById('filter').hidden")
    return tab


def key(tab: Tab, name: str, number: int) -> None:
    tab.press(name, "Slash" if name == "/" else name, number, text=name if len(name) == 1 else "")


@pytest.mark.parametrize("width", [1440, 390])
def test_columns_line_up_whatever_the_names(home: Tab, width: int) -> None:
    home.resize(width, 800)
    home.until(f"innerWidth === {width}")
    keep(home, f"many-apps-{width}")
    for column in (".name", ".state", ".act > a.button", ".act summary"):
        lefts = home.ask(
            f"[...new Set([...document.querySelectorAll('#app-list {column}')]"
            ".map(one => Math.round(one.getBoundingClientRect().left)))]"
        )
        assert len(lefts) == 1, (column, lefts)
    assert home.ask("document.documentElement.scrollWidth") <= width


def test_the_filter_finds_an_app_and_opens_it_without_a_mouse(home: Tab) -> None:
    key(home, "/", 191)
    assert home.ask(FOCUS) == "wanted"
    home.type("gw 0")
    home.until(f"{SEEN}.length === 5")
    assert home.ask("document.getElementById('matches').textContent").startswith("5 of ")
    assert all(name.startswith("gw-") for name in home.ask(SEEN))
    shown = home.ask(SEEN)
    key(home, "ArrowDown", 40)
    assert home.ask(FOCUS) == shown[0]
    key(home, "ArrowDown", 40)
    assert home.ask(FOCUS) == shown[1]
    key(home, "ArrowUp", 38)
    key(home, "ArrowUp", 38)
    assert home.ask(FOCUS) == "wanted"
    key(home, "Escape", 27)
    assert len(home.ask(SEEN)) == 20
    home.type("gw-038")
    home.enter()
    home.until("location.pathname === '/app/gw-038'")
    assert not home.trouble


def test_many_apps_take_few_steps_of_the_tab_key_and_little_room(home: Tab) -> None:
    home.resize(1440, 900)
    stops = "a[href], button, input, select, summary"
    count = home.ask(
        f"[...document.querySelectorAll('{stops}')]"
        ".filter(e => e.checkVisibility() && e.tabIndex >= 0 && !e.disabled).length"
    )
    assert count <= 60
    assert home.ask("document.documentElement.scrollHeight") <= 3 * 900
    home.ask("document.getElementById('all').click()")
    home.until(f"{ROWS}.length > 40")


def test_a_pinned_app_comes_first_in_this_browser(home: Tab, base: str) -> None:
    last = home.ask(SEEN)[-1]
    row = f"#app-list tr[data-name={last}]"
    click(home, f"{row} summary")
    click(home, f"{row} button.pin")
    home.until(f"{SEEN}[0] === '{last}'")
    home.open(f"{base}/")
    home.until(f"{SEEN}[0] === '{last}'")
    assert home.ask("document.querySelector('#app-list tr').classList.contains('pinned')")
    home.ask("localStorage.clear()")


def test_a_group_is_chosen_by_arrows_and_shows_its_apps_alone(home: Tab) -> None:
    chips = "[...document.querySelectorAll('#chips button')]"
    home.ask("[...document.querySelectorAll('#chips button')].find(e => e.tabIndex === 0).focus()")
    assert home.ask(f"{chips}.filter(e => e.tabIndex === 0).length") == 1
    for _ in range(5):  # those before it are there once something runs
        if home.ask("document.activeElement.textContent").startswith("production"):
            break
        key(home, "ArrowRight", 39)
    home.enter()
    home.until(
        "document.querySelector('#chips [aria-pressed=true]').textContent.startsWith('production')"
    )
    assert home.ask(f"{ROWS}.every(row => row.dataset.environment === 'production')")
    assert home.ask("document.activeElement.ariaPressed") == "true", "the focus stays"


@pytest.mark.parametrize("width", [360, 1440])
def test_no_name_is_broken_within_a_word(home: Tab, width: int) -> None:
    home.resize(width, 800)
    home.until(f"innerWidth === {width}")
    # A word that is wider than its line would make the line wider than its cell.
    names = "[...document.querySelectorAll('#app-list th.name > span')]"
    assert home.ask(f"{names}.every(e => getComputedStyle(e).overflowWrap === 'normal')")
    assert home.ask(
        f"{names}.every(e => e.parentElement.scrollWidth <= e.parentElement.clientWidth)"
    )


def test_where_a_terminal_can_only_be_refused_there_is_no_button(home: Tab) -> None:
    home.ask("document.getElementById('all').click()")
    row = "document.querySelector('tr[data-name=ssh-alone]')"
    assert home.ask(f"{row}.querySelector('a.button, button.terminals')") is None
    assert "Enter it by ssh" in home.ask(f"{row}.querySelector('.ssh-only').title")
    assert Target("ssh-alone").host_name in home.ask(f"{row}.querySelector('code').textContent")


def test_what_ssh_needs_first_is_a_command(home: Tab) -> None:
    said = home.ask("document.querySelector('.setup code').textContent")
    assert said.startswith("stagedoor ssh-config --gateway 127.0.0.1:")
    assert "--user dev --host-ca host_ca.pub --include" in said


def test_times_are_those_of_the_person(home: Tab, base: str, port: int) -> None:
    client = WebTerminal(port).hello(ticket(port), "true", terminal="once")
    client.until(lambda: client.exit is not None)
    client.close()
    home.call("Emulation.setTimezoneOverride", timezoneId="Asia/Kathmandu")
    home.open(f"{base}/")
    home.until("document.querySelector('[aria-labelledby=past] time')?.title.includes('+')")
    minutes = home.ask(
        "(time => (Date.parse(time.textContent.replace(' ', 'T') + 'Z')"
        " - Date.parse(time.dateTime.slice(0, 16) + 'Z')) / 60000)"
        "(document.querySelector('[aria-labelledby=past] time'))"
    )
    assert minutes == 5 * 60 + 45


def test_so_are_those_that_a_message_names(tab: Tab, base: str, gateway: Gateway) -> None:
    with gateway.changed() as service:
        token = create_token(service, "dev").text
        with service.change("test") as change:
            change.transaction.execute(update(tokens).values(expires_at=1_700_000_000.0))
    tab.call("Network.clearBrowserCookies")
    tab.call("Emulation.setTimezoneOverride", timezoneId="Asia/Kathmandu")
    tab.open(f"{base}/sign-in")
    for field, text in (("name", "dev"), ("secret", token)):
        tab.ask(f"document.getElementById('{field}').focus()")
        tab.type(text)
    tab.enter()
    tab.until("document.querySelector('[role=alert]') !== null")
    tab.until("document.readyState === 'complete'")
    said = tab.ask("document.querySelector('[role=alert]').textContent")
    assert "expired at 2023-11-15 03:58; " in said


def test_others_are_listed_and_put_away_again(home: Tab) -> None:
    row = "tr[data-name=app01]"
    click(home, f"{row} summary")
    click(home, f"{row} button.terminals")
    home.until(f"document.querySelector('{row} ul li') !== null")
    click(home, f"{row} button.terminals")
    home.until(f"document.querySelector('{row} ul') === null")
