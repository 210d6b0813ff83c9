"""Two who are at one terminal: what each sees of the other, in windows of different size."""

import os
from pathlib import Path

import pytest

from acceptance.chromium import Tab
from stagedoor.wire.terminal.codec import encode
from stagedoor.wire.terminal.frames import In, Resize, Size
from tests.fixtures.terminal import Place
from tests.web.browser.conftest import Gateway, ready, run, screen, shows, sign_in, terminal
from tests.web.browser.test_page import phone
from tests.web.browser.test_sharing import ALL_IN, click

PEOPLE = "document.getElementById('people')"
NEWS = "document.getElementById('news')"
ROWS = "document.querySelectorAll('.xterm-rows > div').length"


def follows(second: Tab, base: str, name: str) -> None:
    """To a terminal where another person is."""
    sign_in(second, base)
    second.open(f"{base}/app/app01?terminal={name}")
    second.until("document.getElementById('dialog').open")


def test_who_joins_in_is_seen_heard_and_removed(tab: Tab, second: Tab, base: str) -> None:
    terminal(tab, base, "seen")
    tab.ask(
        "window.rung = 0; AudioContext = class extends AudioContext"
        " { constructor() { super(); window.rung += 1; } }"
    )
    follows(second, base, "seen")
    click(second, "Join in")
    ready(second)
    tab.until(f"{PEOPLE}.textContent === 'dev types' && !{PEOPLE}.hidden")
    tab.until(f"{NEWS}.textContent === 'dev types here now' && !{NEWS}.hidden")
    assert tab.ask("window.rung") == 1
    second.until(f"{PEOPLE}.textContent === 'dev types'")
    assert second.ask(f"{NEWS}.hidden"), "who was here before is no news"
    run(second, "echo ty''ped")
    tab.until(f"{PEOPLE}.title === 'dev types, typed last'")
    tab.ask(f"{PEOPLE}.click()")
    tab.until("document.querySelectorAll('#dialog li').length === 2")
    said = str(tab.ask("document.getElementById('dialog-body').textContent"))
    assert "dev (you)" in said
    assert "types since" in said
    click(tab, "Remove", "document.getElementById('dialog')")
    second.until("document.getElementById('status').dataset.state === 'over'")
    assert "dev has removed you" in str(second.ask("document.getElementById('status').textContent"))
    tab.until("document.querySelectorAll('#dialog li').length === 1")
    tab.until(f"{NEWS}.textContent === 'dev has left' && {PEOPLE}.textContent === 'Only you'")
    assert tab.ask("window.rung") == 1, "a departure makes no sound"
    assert not tab.trouble
    assert not second.trouble


def test_who_comes_by_ssh_is_seen_and_may_be_locked_out(
    tab: Tab, base: str, gateway: Gateway
) -> None:
    terminal(tab, base, "byssh")
    place = Place(gateway.data_dir / "shells/app01/terminals")
    with place.peer("byssh", verb="join") as bob:
        bob.hello(owner="user:bob")
        tab.until(f"{PEOPLE}.textContent === 'unverified ssh login as bob types'")
        tab.ask(f"{PEOPLE}.click()")
        tab.until("document.getElementById('lock') !== null")
        tab.ask("document.getElementById('lock').click()")
        assert bob.process.wait(60) == 0
        tab.until(
            f"{PEOPLE}.textContent === 'LockedOnly you' && document.getElementById('lock').checked"
        )


def test_the_one_who_has_locked_a_terminal_sees_it_and_unlocks_it(
    tab: Tab, second: Tab, base: str
) -> None:
    terminal(tab, base, "locked")
    tab.until(f"{PEOPLE}.textContent === 'Only you'")
    tab.ask(f"{PEOPLE}.click()")
    tab.until("document.getElementById('lock')?.checked === false")
    tab.ask("document.getElementById('lock').click()")
    tab.until(f"{PEOPLE}.textContent === 'LockedOnly you' && !{PEOPLE}.hidden")
    tab.ask("document.getElementById('dialog').close()")
    terminal(tab, base, "locked")  # loaded again
    tab.until(f"{PEOPLE}.textContent === 'LockedOnly you'")
    click(tab, "Terminals")
    tab.until("document.querySelector('#dialog li .locked')?.textContent === 'Locked'")
    tab.ask("document.getElementById('dialog').close()")
    click(tab, "Share…")
    tab.until("document.getElementById('share-locked') !== null")
    click(tab, "Unlock", "document.getElementById('share-locked')")
    tab.until(f"{PEOPLE}.textContent === 'Only you'")
    tab.ask("document.getElementById('dialog').close()")
    follows(second, base, "locked")
    click(second, "Join in")
    ready(second)
    assert not tab.trouble
    assert not second.trouble


def test_a_phone_s_bar_shows_the_lock_whole(tab: Tab, base: str) -> None:
    phone(tab)
    terminal(tab, base, "narrow")
    tab.until(f"{PEOPLE}.textContent === 'Only you'")
    assert tab.ask(f"{PEOPLE}.scrollWidth <= {PEOPLE}.clientWidth")
    tab.ask(f"{PEOPLE}.click()")
    tab.until("document.getElementById('lock')?.checked === false")
    tab.ask("document.getElementById('lock').click()")
    tab.until(f"{PEOPLE}.textContent === 'LockedOnly you'")
    assert tab.ask(f"{PEOPLE}.scrollWidth <= {PEOPLE}.clientWidth"), "nothing is cut"
    assert tab.ask(f"{PEOPLE}.querySelector('.locked').getBoundingClientRect().width > 0")
    assert "Only you are here" in str(tab.ask(f"{PEOPLE}.ariaLabel"))


def test_only_watching_is_the_first_answer_and_that_of_escape(
    tab: Tab, second: Tab, base: str
) -> None:
    terminal(tab, base, "asked")
    follows(second, base, "asked")
    # Nothing is answered yet: loaded again, the page asks again.
    second.ask("document.body.dataset.loaded = 'before'")
    second.call("Page.reload")
    second.until("!document.body.dataset.loaded && document.getElementById('dialog').open")
    assert second.ask("document.activeElement.textContent") == "Only watch"
    second.press("Escape", "Escape", 27)
    ready(second)
    assert second.ask("document.getElementById('guest').textContent") == "Only watching"
    tab.until(f"{PEOPLE}.textContent === 'dev watches'")


def test_each_sees_the_whole_terminal_in_the_size_that_it_has(
    tab: Tab, second: Tab, base: str
) -> None:
    terminal(tab, base, "sizes")
    run(tab, "echo fi''rst")
    shows(tab, "first")
    phone(second)
    follows(second, base, "sizes")
    click(second, "Join in")
    ready(second)
    for page in (tab, second):
        page.ask("window.grid = () => document.querySelectorAll('.xterm-rows > div').length")
    # It has the size of the phone, which came last. In the other window all of it is there.
    tab.until("document.getElementById('screen').classList.contains('beyond')")
    run(second, "stty size; echo on''e")
    shows(second, "one")
    rows = second.ask("window.grid()")
    tab.until(f"window.grid() === {rows}")
    shows(tab, "one")
    assert screen(tab) == screen(second)
    tab.until(ALL_IN)
    assert not second.ask("document.getElementById('screen').classList.contains('beyond')")
    # A person types in the larger window: it is theirs, and the phone shows all of it, smaller.
    run(tab, "clear; stty size; echo tw''o")
    shows(tab, "two")
    assert not tab.ask("document.getElementById('screen').classList.contains('beyond')")
    larger = tab.ask("window.grid()")
    second.until(f"window.grid() === {larger}")
    second.until("document.getElementById('screen').classList.contains('beyond')")
    second.until(ALL_IN)
    shows(second, "two")
    assert screen(tab) == screen(second)
    # The phone turns: that is nothing that is done in the terminal.
    second.resize(844, 390, scale=2, phone=True)
    second.until(ALL_IN)
    run(tab, "echo th''ree")
    shows(second, "three")
    assert tab.ask("window.grid()") == larger
    assert not tab.trouble
    assert not second.trouble


def test_of_a_full_screen_program_nothing_is_left_beyond_a_smaller_window(
    tab: Tab, second: Tab, base: str
) -> None:
    terminal(tab, base, "full")
    run(
        tab,
        "printf '\\033[?1049h'; printf 'x%.0s' $(seq 60); printf '\\nre%sdy' a; read -r nothing",
    )
    shows(tab, "ready")
    phone(second)
    follows(second, base, "full")
    click(second, "Join in")
    ready(second)
    tab.until("document.getElementById('screen').classList.contains('beyond')")
    tab.until(
        "[...document.querySelectorAll('.xterm-rows > div')]"
        ".every(row => row.scrollWidth <= row.clientWidth + 1)"
    )
    tab.until(ALL_IN)


@pytest.mark.parametrize("width", [650, 760, 1000])
def test_app_and_people_can_be_read_in_half_a_window(
    tab: Tab, second: Tab, base: str, width: int
) -> None:
    tab.resize(width, 600)
    terminal(tab, base, f"half{width}")
    follows(second, base, f"half{width}")
    click(second, "Join in")
    tab.until("document.querySelector('#people .person') !== null")
    for name in ("#app", "#people b"):
        assert tab.ask(
            f"(one => {{ const [box, bar] = [one, one.closest('#where, #people')]"
            ".map(each => each.getBoundingClientRect());"
            " return one.scrollWidth <= one.clientWidth + 1 && box.right <= bar.right + 1; })"
            f"(document.querySelector('{name}'))"
        ), name


HELD_BACK = """
window.due = [];
const [later, never] = [window.setTimeout, window.clearTimeout];
window.setTimeout = (act, ms, ...rest) => {
    if (ms !== 60) return later(act, ms, ...rest);
    window.due.push(act);
    return act;
};
window.clearTimeout = (timer) => {
    if (typeof timer !== "function") return never(timer);
    window.due = window.due.filter((each) => each !== timer);
};
"""
"""A page reports its new size a moment after it changed: now only when the test lets it."""


def test_who_typed_last_keeps_the_size_though_another_window_had_just_changed(
    tab: Tab, second: Tab, base: str, tmp_path: Path
) -> None:
    os.mkfifo(go := tmp_path / "go")
    terminal(tab, base, "turns")
    phone(second)
    follows(second, base, "turns")
    click(second, "Join in")
    ready(second)
    tab.until("document.getElementById('screen').classList.contains('beyond')")
    run(tab, "echo fi''rst")  # it has the size of this window now
    shows(second, "first")
    tab.ask(f"(() => {{ {HELD_BACK} }})()")
    width, height = tab.ask("[innerWidth, innerHeight]")
    tab.resize(width, height - 100)
    tab.until("window.due.length > 0")
    run(second, f"clear; cat {go}; stty size; echo on''e")
    tab.until("document.getElementById('screen').classList.contains('beyond')")
    tab.ask("window.due.splice(0).forEach((act) => act())")
    go.write_bytes(b"")
    shows(second, "one")
    assert not second.ask("document.getElementById('screen').classList.contains('beyond')")
    rows = second.ask(ROWS)
    assert f"{rows} " in screen(second)
    tab.until(f"{ROWS} === {rows}")


HELD_SENDS = """
const send = WebSocket.prototype.send;
window.held = [];
WebSocket.prototype.send = function (data) {
    if (data[0] !== IN && data[0] !== RESIZE) return send.call(this, data);
    window.held.push(() => send.call(this, data));
};
window.release = () => { WebSocket.prototype.send = send; window.held.splice(0).forEach((each) => each()); };
""".replace("IN", str(encode(In(0, b"x"))[0])).replace("RESIZE", str(encode(Resize(Size(1, 1)))[0]))
"""The script that holds what a page's user does until the test lets it arrive.

Its PINGs pass: a line without an answer for eight seconds is replaced, and what was held is lost with it.
"""


def test_two_who_type_at_the_same_time_both_see_the_size_that_the_terminal_has(
    tab: Tab, second: Tab, base: str
) -> None:
    beyond = "document.getElementById('screen').classList.contains('beyond')"
    terminal(tab, base, "crossing")
    phone(second)
    follows(second, base, "crossing")
    click(second, "Join in")
    ready(second)
    second.ask("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    tab.until(f"{ROWS} === {second.ask(ROWS)}")  # no other size of the phone is on its way
    run(tab, "echo fi''rst; cat")
    shows(second, "first")
    second.until(beyond)
    tab.ask(f"(() => {{ {HELD_SENDS} }})()")
    tab.type("x")
    tab.until("window.held.length > 0")
    second.ask(f"(() => {{ {HELD_BACK} }})()")
    second.ask("document.querySelector('.xterm-helper-textarea').focus()")
    second.type("y")
    tab.until(beyond)
    assert second.ask("window.due.length") == 0, "its size is told once, with what was typed"
    tab.ask("window.release()")
    second.until(beyond)
    tab.until(f"!{beyond}")
    assert tab.ask(ROWS) == second.ask(ROWS)
