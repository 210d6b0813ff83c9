"""Every page in Chinese: nothing of it stays English, and times are the user's."""

import json
import re
from collections.abc import Callable, Iterator

import pytest

from acceptance.chromium import Tab
from stagedoor.wire.language.chinese.console import CONSOLE
from stagedoor.wire.language.chinese.pages import PAGES as TEXTS
from stagedoor.wire.language.chinese.scripts import SCRIPTS
from tests.web.browser.looks import keep
from tests.web.browser.states import PAGES
from tests.web.browser.test_accessibility import gateway

__all__ = ["gateway"]

SHOWN = """(() => {
  const skipped = 'script, style, noscript, code, kbd, pre, .xterm, [lang]:not(html), template, #keys';
  const shown = [document.title];
  const nodes = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_ALL);
  for (let node = nodes.currentNode; node !== null; node = nodes.nextNode()) {
    const element = node instanceof Element ? node : node.parentElement;
    if (element === null || element.closest(skipped) !== null) continue;
    if (node instanceof Text) shown.push(node.data.trim());
    else if (node instanceof Element)
      for (const name of ['title', 'aria-label', 'placeholder', 'alt', 'aria-valuetext'])
        shown.push((node.getAttribute(name) ?? '').trim());
  }
  return JSON.stringify(shown.filter((text) => text !== ''));
})()"""
"""The texts that a page shows or names, but for code, what a terminal shows, and another language's name."""
WORDS = re.compile(r"(?<!stagedoor )(?<!:)\b(?!stagedoor)[a-z]{3,} [a-z]{2,}\b")
"""Two English words in a row that are no command and no subject, such as `group:sre`."""


def ask_for_chinese(tab: Tab) -> None:
    tab.call("Network.enable")
    tab.call("Network.setExtraHTTPHeaders", headers={"Accept-Language": "zh-CN,zh;q=0.9"})


@pytest.fixture(autouse=True)
def chinese(tab: Tab) -> Iterator[None]:
    ask_for_chinese(tab)
    yield
    tab.ask("localStorage.clear()")


def english(tab: Tab) -> list[str]:
    """Return the texts of the page that are English."""
    shown: list[str] = json.loads(tab.ask(SHOWN))
    texts = {**TEXTS, **CONSOLE, **SCRIPTS}
    known = {text for text, chinese in texts.items() if text != chinese}
    known -= {"laptop", "enter"}  # the comment of a key there, and a permission
    return [text for text in shown if text in known or WORDS.search(text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.__name__.removeprefix("at_"))
def test_nothing_of_a_page_stays_english(
    tab: Tab, base: str, page: Callable[[Tab, str], None]
) -> None:
    page(tab, base)
    assert tab.ask("document.documentElement.lang") == "zh-CN"
    keep(tab, f"zh-cn-{page.__name__}")
    assert english(tab) == []


def test_times_are_the_user_s_with_24_hours_and_iso_on_hover(tab: Tab, base: str) -> None:
    tab.call("Emulation.setTimezoneOverride", timezoneId="Asia/Shanghai")
    try:
        PAGES[3](tab, base)
        tab.open(f"{base}/account")
        tab.until("document.querySelector('time[title]') !== null")
        shown, hover = json.loads(
            tab.ask(
                "(t => JSON.stringify([t.textContent, t.title]))(document.querySelector('time'))"
            )
        )
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", shown)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+08:00", hover)
    finally:
        tab.call("Emulation.setTimezoneOverride", timezoneId="")
