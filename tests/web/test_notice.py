"""A shell of an older version of its app, on the pages: what the gateway knows of it is shown as text."""

from pathlib import Path

from stagedoor.listeners.web.pages import markup
from stagedoor.listeners.web.pages.assets import Assets

NOTICE = "app01 changed to shop:2; <b>this</b> shell still runs shop:1"
SHOWN = "app01 changed to shop:2; &lt;b&gt;this&lt;/b&gt; shell still runs shop:1"


def place(tmp_path: Path) -> markup.PagePath:
    return markup.PagePath("", Assets(tmp_path))


def home(tmp_path: Path, notice: str | None) -> str:
    app = markup.AppRow("app01", "app01.ssh", "ready", "/app/app01", "ssh app01.ssh", notice=notice)
    return markup.render_home(place(tmp_path), markup.PageUser("dev", False), [app], [], [])


def test_the_page_of_the_apps_says_it(tmp_path: Path) -> None:
    page = home(tmp_path, NOTICE)
    assert f'<p class="notice">{SHOWN}</p>' in page
    assert "notice" not in home(tmp_path, None)


def test_a_terminal_says_it_beside_the_apps_name(tmp_path: Path) -> None:
    said = markup.render_terminal(place(tmp_path), "app01", "n", "dev", notice=NOTICE)
    assert f'title="{SHOWN}">Older version</span>' in said
    assert "Older version" not in markup.render_terminal(place(tmp_path), "app01", "n", "dev")


def test_a_terminal_s_page_says_whether_its_app_exists(tmp_path: Path) -> None:
    """Without one its script offers the list of apps, and not to open the terminal again."""
    page = markup.render_terminal(place(tmp_path), "app99", "n", "dev", is_known=False)
    assert 'data-known="no"' in page
    assert 'data-known="yes"' in markup.render_terminal(place(tmp_path), "app01", "n", "dev")
