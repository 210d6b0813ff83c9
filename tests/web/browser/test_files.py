"""Files in the WebShell as a person moves them: the real page in a real Chromium, real tmux."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import stagedoor.shells.local
from acceptance.chromium import Tab
from tests import forks
from tests.waiting import wait_until
from tests.web.browser.conftest import run, shows, terminal
from tests.web.browser.test_page import away
from tests.web.mover import MIB, content, digest_of
from tests.web.relay import CuttingRelay

GET = Path(stagedoor.shells.local.__file__).with_name("bin") / "stagedoor-get"
ASKED = (
    "performance.getEntriesByType('resource').filter(e => e.name.includes('/api/files/')).length"
)
ROWS = "[...document.querySelectorAll('#transfers li')].map(row => row.textContent)"
# What a person would choose in the system's dialogue: a file of the page's own disk, written as any.
SAVES = """
window.saved = async () => {
  const root = await navigator.storage.getDirectory();
  const file = await (await root.getFileHandle('f')).getFile();
  const hash = await crypto.subtle.digest('SHA-256', await file.arrayBuffer());
  return [...new Uint8Array(hash)].map(b => b.toString(16).padStart(2, '0')).join('');
};
window.showSaveFilePicker = async options => {
  window.suggested = options.suggestedName;
  return (await navigator.storage.getDirectory()).getFileHandle('f', {create: true});
};
"""


def drop(tab: Tab, *files: Path) -> None:
    """Drag files from the desktop onto the terminal."""
    data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
    for step in ("dragEnter", "dragOver", "drop"):
        tab.call("Input.dispatchDragEvent", type=step, x=300, y=300, data=data)


def choose(tab: Tab, *files: Path) -> None:
    """By the menu's dialogue, which is the browser's own."""
    document = tab.call("DOM.getDocument")["root"]["nodeId"]
    node = tab.call("DOM.querySelector", nodeId=document, selector="#pick")["nodeId"]
    tab.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])


def send_to(tab: Tab, folder: Path | None) -> None:
    """Say where to, and confirm with Enter."""
    tab.until("!document.getElementById('send').hidden")
    tab.until("document.activeElement.id === 'folder'")
    if folder is not None:
        tab.ask(f"document.getElementById('folder').value = {json.dumps(str(folder))}")
    tab.enter()


def row(tab: Tab, text: str, bound_s: float = 60) -> str:
    """The line of the list that holds `text`, once it is there."""
    return str(tab.until(f"{ROWS}.find(text => text.includes({json.dumps(text)}))", bound_s))


def made(file: Path, size: int) -> Path:
    with file.open("wb") as out:
        for piece in content(size):
            out.write(piece)
    return file


def test_dropped_files_go_where_it_was_shown_that_they_would(
    tab: Tab, base: str, tmp_path: Path
) -> None:
    terminal(tab, base, "drop")
    (tmp_path / "to").mkdir()
    one, two = made(tmp_path / "one.bin", 3 * MIB), made(tmp_path / "zwei ü.txt", 11)
    choose(tab, made(tmp_path / "three", 7))
    tab.until("document.querySelector('#send label').textContent.includes('three (7 B)')")
    drop(tab, one, two)  # they are added
    tab.until("document.querySelector('#send label').textContent.includes('3 files (3.1 MB)')")
    tab.until("document.getElementById('folder').value !== ''")
    assert tab.ask("document.getElementById('folder').value") == str(forks.home())
    assert tab.ask(ROWS) == [], "nothing is sent before it is confirmed"
    send_to(tab, tmp_path / "to")
    row(tab, "three is in")
    row(tab, "one.bin is in")
    row(tab, "zwei ü.txt is in")
    tab.until("document.getElementById('files-said').textContent.includes('zwei ü.txt is in')")
    assert digest_of(tmp_path / "to" / "one.bin") == digest_of(one)
    assert (tmp_path / "to" / "zwei ü.txt").read_bytes() == two.read_bytes()
    # The same once more replaces nothing, and says so.
    drop(tab, two)
    send_to(tab, tmp_path / "to")
    row(tab, "as zwei ü (1).txt")
    assert not tab.trouble


HELD_BACK = """
window.asked = []; window.really = fetch;
window.fetch = (...all) => all[1]?.method !== "POST" ? really(...all) : new Promise(go => asked.push(() => {
  const answer = really(...all), read = answer.then(found => found.clone().text());
  go(answer);
  return read;
})); 0
"""
"""The script that holds what the page asks by POST in `asked`, until it is called."""


def test_a_late_answer_leaves_the_folder_that_was_typed(
    tab: Tab, base: str, tmp_path: Path
) -> None:
    """The shell is asked for the target, and files that are added meanwhile ask no more."""
    terminal(tab, base, "late")
    (tmp_path / "to").mkdir()
    tab.ask(HELD_BACK)
    choose(tab, made(tmp_path / "first", 7))
    tab.until("asked.length === 1")
    drop(tab, made(tmp_path / "second", 11))
    tab.until("document.querySelector('#send label').textContent.includes('2 files (18 B)')")
    tab.ask("asked.shift()(); 0")
    tab.until("!document.getElementById('send').hidden || asked.length > 1")
    tab.until("document.activeElement.id === 'folder'")
    to = json.dumps(str(tmp_path / "to"))
    tab.ask(f"document.getElementById('folder').value = {to}")
    tab.ask(
        "window.fetch = really;"
        "Promise.all(asked.splice(0).map(answer => answer()))"
        ".then(() => setTimeout(() => setTimeout(() => { window.allSaid = true; }))); 0"
    )
    tab.until("window.allSaid")
    tab.enter()
    row(tab, "first is in")
    row(tab, "second is in")
    assert (tmp_path / "to/first").stat().st_size == 7
    assert (tmp_path / "to/second").stat().st_size == 11
    assert not tab.trouble


def test_the_menu_is_reached_and_left_by_keys(tab: Tab, base: str, tmp_path: Path) -> None:
    terminal(tab, base, "menu")
    tab.ask("document.getElementById('files-menu').focus()")
    tab.enter()
    tab.until("document.activeElement.id === 'fetch-path'")
    assert tab.ask("document.getElementById('files-menu').ariaExpanded") == "true"
    (tmp_path / "to").mkdir()
    choose(tab, made(tmp_path / "by-menu", 10))
    tab.until("document.getElementById('folder').value !== ''")
    tab.ask(f"document.getElementById('folder').value = {json.dumps(str(tmp_path / 'to'))}")
    # What is chosen then is sent as well, and to the same folder.
    choose(tab, made(tmp_path / "and-another", 10))
    tab.until("document.querySelector('#send label').textContent.includes('2 files (20 B)')")
    send_to(tab, None)
    row(tab, "by-menu is in")
    row(tab, "and-another is in")
    assert sorted(file.name for file in (tmp_path / "to").iterdir()) == ["and-another", "by-menu"]
    tab.until("document.activeElement.className.includes('xterm')")
    tab.ask("document.getElementById('upload').focus()")
    tab.press("Escape", "Escape", 27)
    tab.until("document.getElementById('files').hidden")


def test_a_folder_of_the_terminal_is_proposed_when_the_shell_tells_it(
    tab: Tab, base: str, tmp_path: Path
) -> None:
    terminal(tab, base, "osc7")
    (tmp_path / "here ü").mkdir()
    hinted = str(tmp_path / "here ü").replace("ü", "%c3%bc").replace(" ", "%20")
    run(tab, f"printf '\\033]7;%s\\a' file://host{hinted}; echo to''ld")
    shows(tab, "told")
    drop(tab, made(tmp_path / "f", 5))
    tab.until(f"document.getElementById('folder').value === {json.dumps(str(tmp_path / 'here ü'))}")
    send_to(tab, None)
    row(tab, "f is in")
    assert (tmp_path / "here ü" / "f").stat().st_size == 5


def test_progress_is_shown_and_what_is_cancelled_leaves_nothing(
    tab: Tab, base: str, tmp_path: Path
) -> None:
    tab.call("Network.enable")
    terminal(tab, base, "cancel")
    (tmp_path / "to").mkdir()
    large = made(tmp_path / "large", 64 * MIB)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1}
    tab.call("Network.emulateNetworkConditions", **slow, uploadThroughput=2 * MIB)
    drop(tab, large)
    send_to(tab, tmp_path / "to")
    tab.until("document.querySelector('#transfers progress')?.value > 1000000")
    assert tab.ask("document.querySelector('#transfers progress').max") == large.stat().st_size
    assert "of 67 MB" in row(tab, "Upload of large")
    wait_until(lambda: list((tmp_path / "to").iterdir()))
    tab.ask("document.querySelector('#transfers button').click()")
    row(tab, "Upload of large: cancelled")
    tab.call("Network.emulateNetworkConditions", **slow, uploadThroughput=-1)
    wait_until(lambda: not list((tmp_path / "to").iterdir()))


def test_what_cannot_be_done_is_said(tab: Tab, base: str, tmp_path: Path) -> None:
    terminal(tab, base, "cannot")
    drop(tab, made(tmp_path / "f", 5))
    send_to(tab, tmp_path / "nowhere")
    row(tab, f"there is no {tmp_path}/nowhere")
    tab.ask(f"document.getElementById('fetch-path').value = {json.dumps(str(tmp_path))}")
    tab.ask("document.getElementById('fetch').requestSubmit()")
    row(tab, "a folder: pack it")
    drop(tab, tmp_path)
    row(tab, "A folder cannot be uploaded")


def test_what_is_dropped_while_nobody_answers_is_not_lost_without_a_word(
    tab: Tab, base: str, tmp_path: Path
) -> None:
    tab.call("Network.enable")
    terminal(tab, base, "unheard")
    away(tab, offline=True)
    drop(tab, made(tmp_path / "unheard", 10))
    assert row(tab, "cannot be uploaded").startswith("unheard (10 B) cannot be uploaded: ")
    away(tab, offline=False)
    drop(tab, made(tmp_path / "heard", 7))  # and without the other, of which it was said
    tab.until("document.querySelector('#send label').textContent === 'Upload heard (7 B) into'")


def test_a_line_that_is_cut_is_gone_on_with_both_ways(tab: Tab, port: int, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    source = made(tmp_path / "source", 24 * MIB)
    with CuttingRelay(port, 5 * MIB, every_bytes_up=5 * MIB, armed=False) as relay:
        terminal(tab, f"http://127.0.0.1:{relay.port}", "cut")
        relay.armed = True
        drop(tab, source)
        send_to(tab, tmp_path / "to")
        row(tab, "source is in")
        assert relay.cuts_up > 2
        assert digest_of(tmp_path / "to" / "source") == digest_of(source)
        assert [path.name for path in (tmp_path / "to").iterdir()] == ["source"]
        os.utime(source, (1_700_000_000, 1_700_000_000))
        tab.ask(SAVES)
        tab.ask(f"document.getElementById('fetch-path').value = {json.dumps(str(source))}")
        before = relay.cuts_down
        tab.ask("document.getElementById('fetch').requestSubmit()", gesture=True)
        row(tab, "source is downloaded")
        assert relay.cuts_down - before > 2
        assert tab.ask("window.suggested") == "source"
        assert tab.ask("window.saved()") == digest_of(source)


@pytest.fixture
def downloads(tab: Tab, tmp_path: Path) -> Iterator[Path]:
    """Return the folder of the browser's own downloads; the page has no other way."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    tab.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    yield folder
    tab.call("Browser.setDownloadBehavior", behavior="default")


def size_of(file: Path) -> int:
    """Chromium keeps the name by an empty file, and then puts the whole one there."""
    return file.stat().st_size if file.exists() else 0


def arrived(file: Path, content: bytes) -> None:
    wait_until(lambda: size_of(file) == len(content))
    assert file.read_bytes() == content


def test_a_browser_without_a_picker_downloads_by_itself(
    tab: Tab, base: str, tmp_path: Path, downloads: Path
) -> None:
    terminal(tab, base, "browser")
    tab.ask("window.showSaveFilePicker = undefined")
    page = tmp_path / "page ü.html"
    page.write_text("<script>top.bad = 1</script>")
    tab.ask(f"document.getElementById('fetch-path').value = {json.dumps(str(page))}")
    tab.ask("document.getElementById('fetch').requestSubmit()")
    row(tab, "goes to the browser's downloads")
    arrived(downloads / "page ü.html", page.read_bytes())
    assert tab.ask("location.pathname") == "/app/app01", "the page is still there"
    assert tab.ask("window.bad") is None


def test_the_browsers_own_download_goes_on_after_a_cut(
    tab: Tab, port: int, tmp_path: Path, downloads: Path
) -> None:
    source = made(tmp_path / "source", 24 * MIB)
    os.utime(source, (1_700_000_000, 1_700_000_000))
    with CuttingRelay(port, 8 * MIB, most=1, armed=False) as relay:
        terminal(tab, f"http://127.0.0.1:{relay.port}", "own-cut")
        relay.armed = True
        tab.ask("window.showSaveFilePicker = undefined")
        tab.ask(f"document.getElementById('fetch-path').value = {json.dumps(str(source))}")
        tab.ask("document.getElementById('fetch').requestSubmit()")
        row(tab, "goes to the browser's downloads")
        wait_until(lambda: size_of(downloads / "source") == 24 * MIB)
        assert relay.cuts == 1
    assert digest_of(downloads / "source") == digest_of(source)


def test_a_program_offers_a_file_and_a_click_takes_it(
    tab: Tab, base: str, tmp_path: Path, downloads: Path
) -> None:
    terminal(tab, base, "offer")
    tab.ask("window.showSaveFilePicker = undefined")
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "re port.txt").write_bytes(b"offered")
    asked = tab.ask(ASKED)
    run(tab, f"cd '{tmp_path}/a b/../a b' && {GET} 're port.txt' missing; echo co''de=$?")
    shows(tab, "there is no missing")
    shows(tab, "code=1")
    assert "re port.txt" in row(tab, f"offers {tmp_path}/a b/re port.txt")
    assert tab.ask("document.activeElement.className").startswith("xterm"), "the focus stays"
    assert tab.ask(ASKED) == asked, "nothing is asked for before the click"
    tab.ask("document.querySelector('#transfers .offer button').click()")
    arrived(downloads / "re port.txt", b"offered")


def test_an_offer_passes_through_tmux_which_is_as_before_then(
    tab: Tab, base: str, tmp_path: Path
) -> None:
    terminal(tab, base, "tmux-offer")
    (tmp_path / "f").write_bytes(b"1")
    inner = ["tmux", "-S", str(tmp_path / "t"), "-f", "/dev/null"]
    run(tab, f"exec {' '.join(inner)} -u new -s s /bin/sh")
    try:
        wait_until(
            lambda: subprocess.run([*inner, "has-session"], capture_output=True).returncode == 0
        )
        run(tab, f"{GET} {tmp_path}/f; echo co''de=$?")
        shows(tab, "code=0")
        row(tab, f"offers {tmp_path}/f")
        through = [*inner, "show-options", "-Apqv", "-t", "s", "allow-passthrough"]
        place = subprocess.run(through, capture_output=True, text=True, check=True).stdout.strip()
        assert place in ("off", ""), "it lets nothing through any more"
        # What was asked of tmux did not stay in the line that is typed.
        run(tab, "echo st''ill")
        shows(tab, "still")
    finally:
        subprocess.run([*inner, "kill-server"], capture_output=True)


def offer_of(path: bytes) -> bytes:
    return b"\x1b]1337;StagedoorGet=" + path.hex().encode() + b"\x07"


def test_output_that_holds_offers_starts_nothing_and_cannot_pretend(
    tab: Tab, base: str, tmp_path: Path
) -> None:
    terminal(tab, base, "evil")
    asked = tab.ask(ASKED)
    evil = [
        b"/root/../etc/shadow", b"etc/shadow", b"/a\0b", b"/" + b"x" * 5000,
        b"/tmp/<img src=x onerror=window.bad=1>", b"/tmp/\xe2\x80\xaegnp.exe", b"/tmp/a\r\nb",
    ]  # fmt: skip
    flood = [b"/tmp/flood%d" % number for number in range(500)]
    bad = b"\x1b]1337;StagedoorGet=zz\x07\x1b]1337;StagedoorGet=\x07"
    long = b"\x1b]1337;StagedoorGet=" + b"2f" * 300_000 + b"\x07"
    (tmp_path / "evil").write_bytes(bad + long + b"".join(map(offer_of, evil + flood)))
    run(tab, f"cat {tmp_path}/evil; echo do''ne")
    shows(tab, "done")
    rows = tab.ask(ROWS)
    assert len(rows) == 4, "a flood is not shown"
    assert all("offers /tmp/" in text for text in rows)
    assert any("<img src=x" in text for text in rows)
    assert any("\\x202egnp.exe" in text for text in rows)
    assert tab.ask("document.querySelectorAll('#transfers img').length") == 0
    assert tab.ask("window.bad") is None
    assert tab.ask(ASKED) == asked, "nothing was asked for"
    run(tab, "echo st''ill")
    shows(tab, "still")


def test_a_large_file_does_not_live_in_the_page(tab: Tab, base: str, tmp_path: Path) -> None:
    terminal(tab, base, "large")
    (tmp_path / "to").mkdir()
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(64 * MIB)  # of zeroes, which take no room
    before = heap(tab)
    drop(tab, large)
    send_to(tab, tmp_path / "to")
    most = 0
    while not tab.ask(f"{ROWS}.some(text => text.includes('large is in'))"):
        most = max(most, heap(tab))
        time.sleep(0.02)
    assert (tmp_path / "to" / "large").stat().st_size == 64 * MIB
    assert most - before < 32 * MIB


def heap(tab: Tab) -> int:
    answer = tab.call("Runtime.getHeapUsage")
    return int(answer["usedSize"] + answer.get("backingStorageSize", 0))


WRONG = "document.querySelectorAll('#transfers .wrong')"
NAMES = "[...document.querySelectorAll('#browse li button')].map(e => e.textContent)"


def test_a_file_is_found_in_the_folder_of_the_shell_and_downloaded(
    tab: Tab, base: str, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "found.bin").write_bytes(b"x" * 1000)
    terminal(tab, base, "browse")
    tab.ask(SAVES)
    run(tab, f"printf '\\033]7;file://h%s\\a' {tmp_path}; echo wh''ere")
    shows(tab, "where")
    tab.ask("document.getElementById('files-menu').click()")
    tab.until(f"{NAMES}.join() === '../,sub/'")
    tab.ask("[...document.querySelectorAll('#browse li button')][1].click()")
    tab.until(f"{NAMES}.join() === '../,found.bin'")
    for name in ("nothere", "neither"):
        tab.ask(f"document.getElementById('fetch-path').value = {json.dumps(str(tmp_path / name))}")
        tab.ask("document.getElementById('fetch').requestSubmit()")
        row(tab, f"there is no {tmp_path / name}")
    assert tab.ask(f"{WRONG}.length") == 1, "the one before has gone"
    tab.ask("[...document.querySelectorAll('#browse li button')][1].click()", gesture=True)
    tab.until("window.suggested === 'found.bin'")
    tab.until(f"{ROWS}.some(row => row.includes('found.bin is downloaded'))")
    assert tab.ask("saved()") == digest_of(tmp_path / "sub" / "found.bin")
    assert tab.ask(f"{WRONG}.length") == 0
