"""Recordings played in a real Chromium."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from acceptance.chromium import Tab
from stagedoor.model.permission import Permission
from tests.fixtures.gateway import Gateway
from tests.web.browser.conftest import click, hides, shows, sign_in
from tests.web.conftest import SETTINGS
from tests.web.mover import MIB

SHORT = (
    (0.0, "o", "one\r\n"),
    (0.5, "i", "x"),
    (1.0, "o", "two\r\n"),
    (400.0, "i", "y"),
    (400.5, "r", "100x30"),
    (401.0, "o", "three\r\n"),
    (402.0, "m", "the end is near"),
    (403.0, "o", "four\r\n\x1b]52;c;c3RvbGVu\x07\x1b]0;stolen\x07\x1b[c"),
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("replay"), SETTINGS) as found:
        found.add_user("dev", "app01")
        found.add_user("auditor")
        found.permit("everybody", "app01", Permission.RECORD)
        found.permit("user:auditor", "*", Permission.REPLAY)
        folder = found.data_dir / "recordings"
        folder.mkdir(mode=0o700)
        write(folder / "0short.1.cast", SHORT)
        write(folder / "0late.1.cast", [(3.0, "i", "x"), (4.5, "o", "only now"), (65.0, "o", "x")])
        (folder / "0sealed.1.cast.age").write_bytes(b"age-encryption.org/v1\n")
        (folder / "0broken.1.cast").write_text("nonsense\n")
        yield found.start()


def write(file: Path, events: Sequence[tuple[float, str, str]]) -> None:
    with file.open("w") as out:
        out.write('{"version": 2, "width": 80, "height": 24, "timestamp": 1700000000}\n')
        out.writelines(json.dumps(event) + "\n" for event in events)


@pytest.fixture
def inside(tab: Tab, base: str) -> Tab:
    """Signed in as one who may play recordings."""
    sign_in(tab, base, name="auditor")
    return tab


def opened(tab: Tab, base: str, name: str) -> Tab:
    tab.open(f"{base}/recordings/{name}")
    tab.until("document.body.dataset.ready === 'true'")
    return tab


def at(tab: Tab) -> float:
    return float(tab.ask("Number(document.getElementById('seek').value)"))


def key(tab: Tab, name: str, code: str = "", number: int = 0) -> None:
    tab.press(name, code or name, number, text=name if len(name) == 1 else "")


def test_from_the_home_page_to_the_end_of_a_recording(inside: Tab, base: str) -> None:
    tab = inside
    click(tab, "nav a[href='/recordings']")
    tab.until("location.pathname === '/recordings'")
    click(tab, "a[href$='0short.1']")
    tab.until("document.body.dataset.ready === 'true'")
    shows(tab, "one")
    assert "0:00 / 6:43" in str(tab.ask("document.getElementById('clock').textContent"))
    tab.ask("document.getElementById('speed').value = '8'")
    tab.ask("document.getElementById('speed').dispatchEvent(new Event('change'))")
    key(tab, " ", "Space", 32)
    tab.until("document.body.dataset.state === 'ended'")
    shows(tab, "four")
    assert tab.ask("document.title").startswith("unknown in"), (
        "a title of the recording is not the page's"
    )
    assert not tab.trouble
    # Its size was changed on the way.
    assert tab.ask("document.querySelectorAll('.xterm-rows > div').length") == 30


def test_the_first_frame_and_the_duration_are_there_at_once(inside: Tab, base: str) -> None:
    tab = inside
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    tab.open(f"{base}/recordings/0late.1")
    clock = "document.getElementById('clock').textContent"
    assert tab.ask(clock) == "0:00 / 1:05", "before any script runs"
    tab.call("Emulation.setScriptExecutionDisabled", value=False)
    opened(tab, base, "0late.1")
    shows(tab, "only now")
    assert tab.ask(clock) == "0:04 / 1:05"
    link = "document.querySelector('a.download')"
    assert tab.ask(f"{link}.href") == f"{base}/recordings/0late.1/cast"
    assert not tab.trouble


def test_all_of_its_screen_is_seen_at_any_size_of_the_window(inside: Tab, base: str) -> None:
    tab = opened(inside, base, "0short.1")
    drawn = "document.querySelector('#screen .xterm-screen')"
    for height in range(560, 700, 7):
        tab.resize((500, 1000, 1400)[height % 3], height)
        # The observer of its size has been called once a frame is drawn.
        tab.ask("new Promise(go => requestAnimationFrame(() => requestAnimationFrame(go)))")
        tab.until(f"innerHeight === {height}")
        tab.until(
            "(screen => screen.scrollHeight <= screen.clientHeight"
            f" && {drawn}.clientWidth <= screen.clientWidth)(document.getElementById('screen'))", 5
        )  # fmt: skip


def test_pauses_are_played_in_full_if_wished(inside: Tab, base: str) -> None:
    tab = opened(inside, base, "0short.1")
    tab.ask("document.getElementById('idle').click()")
    key(tab, "ArrowRight", number=39)
    tab.until("Number(document.getElementById('seek').value) >= 5")
    key(tab, " ", "Space", 32)
    tab.until("document.body.dataset.state === 'playing'")
    tab.until("Number(document.getElementById('seek').value) > 5.3")
    assert at(tab) < 60
    tab.ask("document.getElementById('idle').click()")
    tab.until("Number(document.getElementById('seek').value) >= 399")


def test_keys_go_back_and_forth_and_to_the_marks(inside: Tab, base: str) -> None:
    tab = opened(inside, base, "0short.1")
    tab.until("document.body.dataset.looked === 'true'")
    assert tab.ask("document.querySelectorAll('#marks i').length") == 3
    for _ in range(2):
        key(tab, "]", "BracketRight", 221)
    tab.until("Number(document.getElementById('seek').value) === 400")
    text = shows(tab, "two")
    assert "three" not in text
    key(tab, "]", "BracketRight", 221)
    tab.until("document.getElementById('said').textContent === 'the end is near'")
    shows(tab, "three")
    key(tab, "[", "BracketLeft", 219)
    tab.until("Number(document.getElementById('seek').value) === 400")
    key(tab, "ArrowLeft", number=37)
    tab.until("Number(document.getElementById('seek').value) === 395")
    key(tab, ">", "Period", 190)
    assert tab.ask("document.getElementById('speed').value") == "2"
    for _ in range(3):
        key(tab, "<", "Comma", 188)
    assert tab.ask("document.getElementById('speed').value") == "0.5"
    key(tab, "Home", number=36)
    tab.until("Number(document.getElementById('seek').value) === 0")
    hides(tab, "two")


def test_text_is_copied_and_a_recording_copies_nothing_by_itself(inside: Tab, base: str) -> None:
    tab = opened(inside, base, "0short.1")
    tab.ask(
        "window.copies = []; navigator.clipboard.writeText = async text => { window.copies.push(text); }"
    )
    key(tab, "End", number=35)
    shows(tab, "four")
    tab.ask("document.getElementById('copy').click()")
    tab.until("window.copies.length > 0")
    [copied] = tab.ask("window.copies")
    assert copied.split() == ["one", "two", "three", "four"]


def test_a_damaged_one_and_a_sealed_one_say_what_they_are(inside: Tab, base: str) -> None:
    inside.open(f"{base}/recordings/0broken.1")
    inside.until("document.getElementById('said').textContent.includes('damaged')")
    inside.open(f"{base}/recordings/0sealed.1")
    alert = str(inside.ask("document.querySelector('[role=alert]').textContent"))
    assert "--identity" in alert
    assert inside.ask("document.querySelector('script[src*=replay]')") is None, "nothing to play"


def test_signed_out_meanwhile_it_says_so(inside: Tab, base: str, gateway: Gateway) -> None:
    write(
        gateway.data_dir / "recordings" / "0long.1.cast",
        [(float(n), "o", "x" * 100_000) for n in range(120)],
    )
    tab = opened(inside, base, "0long.1")
    tab.until("document.body.dataset.looked === 'true'")
    tab.call("Network.clearBrowserCookies")
    tab.ask("document.getElementById('seek').value = 60")
    tab.ask("document.getElementById('seek').dispatchEvent(new Event('input'))")
    tab.until("document.getElementById('said').textContent.includes('sign in again')")


@pytest.mark.timeout(300)
def test_forty_mebibytes_play_and_seek_in_less_memory(
    inside: Tab, base: str, gateway: Gateway
) -> None:
    file = gateway.data_dir / "recordings" / "0huge.1.cast"
    line = "".join(f"\x1b[3{n % 8}mline {n} of much output\x1b[m\r\n" for n in range(1000))
    size = len(json.dumps([1.0, "o", line]))
    count = 40 * MIB // size
    write(file, [(n / 10, "o", line) for n in range(count)] + [(count / 10, "o", "the very end")])
    assert file.stat().st_size > 39 * MIB
    tab = opened(inside, base, "0huge.1")
    # At once, though the whole of it is far from here.
    tab.until("!document.getElementById('clock').textContent.endsWith('0:00')")
    tab.until("document.body.dataset.looked === 'true'", 90)
    key(tab, "End", number=35)
    shows(tab, "the very end", 90)
    key(tab, "ArrowLeft", number=37)
    tab.until("document.body.dataset.state === 'paused'")
    hides(tab, "the very end")
    tab.call("HeapProfiler.enable")
    tab.call("HeapProfiler.collectGarbage")
    used = tab.call("Runtime.getHeapUsage")
    held = used["usedSize"] + used.get("backingStorageSize", 0)
    assert held < 32 * MIB, f"{held / MIB:.0f} MiB"
    file.unlink()


def test_text_of_a_chosen_size_is_moved_below_a_phone_s_window(inside: Tab, base: str) -> None:
    inside.resize(390, 700, phone=True)
    try:
        inside.open(f"{base}/recordings/0short.1")
        inside.until("document.body.dataset.ready === 'true'")
        inside.ask(
            "(field => { field.value = '16'; field.dispatchEvent(new Event('change')); })"
            "(document.getElementById('size'))"
        )
        inside.until("document.getElementById('screen').scrollWidth > 2 * 380")
        inside.ask("document.getElementById('screen').scrollLeft = 300")
        assert inside.ask("document.getElementById('screen').scrollLeft") == 300
        assert inside.ask("document.documentElement.scrollWidth") == 390, "the page stays as it is"
    finally:
        inside.call("Emulation.clearDeviceMetricsOverride")
