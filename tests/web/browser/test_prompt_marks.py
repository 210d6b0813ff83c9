"""Prompts that a shell marks, in a real Chromium."""

from collections.abc import Callable

from acceptance.chromium import Tab
from tests.web.browser.conftest import run, shows, terminal

MARKS = (
    r"f() { printf '\033]133;D;%s\a\033]133;A\a' $?; }; "
    r"PROMPT_COMMAND=f; PS1='$ '; PS0='\033]133;C\a'"
)
CTRL_SHIFT = 2 | 8


def prompts_are_marked(tab: Tab, up: Callable[[], None], down: Callable[[], None]) -> None:
    """Look at a terminal's prompts; `up` and `down` press the keys that lead to others."""
    run(tab, "exec bash --norc")
    run(tab, MARKS)
    run(tab, "echo fi''rst; seq 100; (exit 3)")
    shows(tab, "100\n$")
    run(tab, "seq 200")
    shows(tab, "200\n$")
    for _ in range(2):
        up()
    shows(tab, "first")
    tab.until("document.querySelector('.xterm-decoration.failed') !== null")
    assert tab.ask("document.querySelector('.xterm-decoration.failed').title") == "Exit code 3"
    down()
    shows(tab, "seq 200")
    assert not tab.trouble


def test_a_failed_command_has_its_exit_code_and_keys_go_from_prompt_to_prompt(
    tab: Tab, base: str
) -> None:
    terminal(tab, base, "marks")
    prompts_are_marked(
        tab,
        lambda: tab.press("ArrowUp", "ArrowUp", 38, CTRL_SHIFT),
        lambda: tab.press("ArrowDown", "ArrowDown", 40, CTRL_SHIFT),
    )
