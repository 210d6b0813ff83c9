"""The WebShell's acceptance list, in the terminal: `stagedoor attach` in a real one.

Numbers are those of the list; the same in a browser is in `tests/web/browser/test_acceptance.py`.
Item 1 is in `test_acceptance_screens.py`, 13 in the browser's, more of all of them in `test_attach.py`.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest

from stagedoor.client.attach.dialling import ConnectionWatch
from stagedoor.listeners.limits import ClientLimits
from stagedoor.wire.terminal.frames import MAX_FRAME_BYTES, Detach
from tests.fixtures.gateway import PASSWORD, Gateway, open_gateway
from tests.fixtures.people import PlainBrowser
from tests.fixtures.terminal import Console, WebTerminal, console, ticket
from tests.fixtures.worker import open_limited
from tests.waiting import wait_until
from tests.web.conftest import SETTINGS
from tests.web.flood import LONG_S, flood, flood_bounds
from tests.web.outer import MODES_OFF, Outer, attach_command, modes, outer
from tests.web.processes import ARENA_KIB, blocked, pids_of, resident_kib
from tests.web.relay import CuttingRelay

CUTS = 100
ENDS = int(os.environ.get("STAGEDOOR_ENDS", "10"))


def inner_tmux(folder: Path) -> str:
    return f"tmux -u -S {folder / 'inner'} -f /dev/null"


def in_mouse_mode(screen: Outer, folder: Path, port: int, name: str) -> None:
    """tmux with the mouse, by attach, in the outer terminal."""
    screen.start(
        attach_command(
            folder, port, "app01", "--name", name, "--", "sh", "-c",
            f"exec {inner_tmux(folder)} new-session -s x \\; set -g mouse on",
        )
    )  # fmt: skip
    screen.shows("[x]")
    wait_until(lambda: screen.flag("mouse_any_flag") == "1")
    assert screen.flag("alternate_on") == "1"


@pytest.mark.webshell(3)
@pytest.mark.parametrize("lost", ["the program", "the holder"])
def test_3_what_dies_in_the_shell_leaves_the_outer_terminal_as_it_was(
    port: int, tmp_path: Path, lost: str
) -> None:
    with outer(tmp_path) as screen:
        name = f"dies-{lost[4:]}"
        in_mouse_mode(screen, tmp_path, port, name)
        if lost == "the program":
            pid = subprocess.run(
                f"{inner_tmux(tmp_path)} display -p '#{{pid}}'", shell=True, capture_output=True
            ).stdout
            os.kill(int(pid), signal.SIGKILL)
        else:
            for process_id in pids_of(f"stagedoor.holder attach {name}"):
                os.kill(process_id, signal.SIGKILL)
        screen.shows("exit=")
        assert modes(screen) == MODES_OFF
    subprocess.run(f"{inner_tmux(tmp_path)} kill-server", shell=True, capture_output=True)


@pytest.mark.webshell(3)
def test_3_so_does_a_gateway_that_is_gone_for_good(tmp_path: Path) -> None:
    with open_gateway(tmp_path, SETTINGS, "app01") as gateway, outer(tmp_path) as screen:
        in_mouse_mode(screen, tmp_path, gateway.port("web"), "gone")
        kill_whole(gateway)
        wait_until(lambda: "lost:" in (tmp_path / "attach.log").read_text())
        screen.type("\r~.")
        screen.shows("detached from gone of app01")
        screen.shows("exit=0")
        assert modes(screen) == MODES_OFF
    subprocess.run(f"{inner_tmux(tmp_path)} kill-server", shell=True, capture_output=True)


def kill_whole(gateway: Gateway) -> None:
    """The supervisor first, or it would start others."""
    workers = gateway.worker_pids()
    gateway.signal(signal.SIGKILL)
    for pid in workers:
        with suppress(ProcessLookupError):  # one that saw its supervisor go went by itself
            os.kill(pid, signal.SIGKILL)
    assert gateway.process is not None
    gateway.process.wait(30)
    gateway.wait_for(lambda line: line["event"] == "end of log")


HEX_OF_EACH = """
import os, sys, tty
tty.setraw(0)
os.write(1, b"ready")
while byte := os.read(0, 1):
    os.write(1, b"<%02x>" % byte[0])
    if byte == b"\\xff":
        break
"""


@pytest.mark.webshell(4)
def test_4_each_byte_and_each_control_key_arrives_before_the_next_is_pressed(
    port: int, tmp_path: Path
) -> None:
    command = attach_command(
        tmp_path, port, "app01", "--", sys.executable, "-c", HEX_OF_EACH
    )  # fmt: skip
    with console(command) as screen:
        at = screen.shows(b"ready")
        # Ctrl-@ to Ctrl-_ are the first 32 of them; none waits for another key, C-p too.
        for byte in range(256):
            screen.type(bytes([byte]))
            at = screen.shows(b"<%02x>" % byte, at)
        screen.process.wait(30)
        assert screen.shown.count(b"<") == 256


def with_token(gateway: Gateway, folder: Path) -> None:
    """A token, which costs less than a password to check a hundred times."""
    (folder / "token").touch(mode=0o600)
    (folder / "token").write_text(gateway.token())


def cut_in_both_directions(
    folder: Path,
    relay: CuttingRelay,
    show: int,
    type_: int,
    halfway: Callable[[], object] = lambda: None,
) -> None:
    """So many bytes are shown and typed, through a line that is cut all the while; the second half is
    typed once `halfway` has returned."""
    chance = random.Random(23)
    shown = chance.randbytes(show // 2).hex().encode()
    typed = chance.randbytes(type_ // 2).hex().encode()
    (folder / "shown").write_bytes(shown)
    taken = folder / "taken"
    process = subprocess.Popen(
        attach_command(
            folder, relay.port, "app01", "--", "sh", "-c",
            f"stty raw -echo; printf ready; cat {folder / 'shown'} & "
            f"head -c {len(typed)} >{taken}; wait; printf done",
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    stdin = process.stdin
    assert process.stdout.read(5) == b"ready"

    def feed() -> None:
        stdin.write(typed[: type_ // 2])
        stdin.flush()
        halfway()
        stdin.write(typed[type_ // 2 :])
        stdin.flush()

    feeding = threading.Thread(target=feed)
    feeding.start()
    output = process.stdout.read(len(shown) + 4)
    feeding.join(60)
    stdin.close()
    rest = process.stdout.read()
    process.stdout.close()
    assert process.wait(60) == 0
    assert rest == b""
    assert hashlib.sha256(output).digest() == hashlib.sha256(shown + b"done").digest()
    assert hashlib.sha256(taken.read_bytes()).digest() == hashlib.sha256(typed).digest()


@pytest.mark.webshell(6)
@pytest.mark.timeout(900)
def test_6_cut_at_a_hundred_random_offsets_in_both_directions(
    gateway: Gateway, port: int, tmp_path: Path
) -> None:
    with_token(gateway, tmp_path)
    # A frame has up to 64 KiB, and one has to get through before the next cut, or nothing goes on.
    every = 2 * MAX_FRAME_BYTES + 8192
    with CuttingRelay(port, every, every_bytes_up=every, most=CUTS) as relay:
        cut_in_both_directions(tmp_path, relay, 11_000_000, 7_000_000)
        assert relay.cuts >= CUTS
        assert min(relay.cuts_up, relay.cuts_down) > CUTS // 10, (relay.cuts_up, relay.cuts_down)


@pytest.mark.webshell(6)
@pytest.mark.timeout(600)
def test_6_a_gateway_that_is_killed_and_started_again_in_the_middle_of_a_cat(
    tmp_path: Path,
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    with open_gateway(tmp_path, SETTINGS, "app01") as gateway:
        with_token(gateway, files)
        with CuttingRelay(gateway.port("web")) as relay:
            taken, whole = files / "taken", 600_000
            killed = threading.Event()

            def size() -> int:
                return taken.stat().st_size if taken.exists() else 0

            def kill_and_start() -> None:
                for _ in range(3):
                    before = size()
                    # In the middle: bytes go both ways right now.
                    wait_until(lambda: size() > before or size() >= whole)  # noqa: B023
                    if size() >= whole:
                        return
                    kill_whole(gateway)
                    killed.set()
                    gateway.lines.clear()
                    gateway.start()
                    relay.to_port = gateway.port("web")

            killing = threading.Thread(target=kill_and_start)
            killing.start()
            # However slow the killer is: not all has been typed before they have come.
            cut_in_both_directions(files, relay, 5_000_000, whole, lambda: killed.wait(60))
            killing.join(60)
            assert killed.is_set()


@pytest.mark.webshell(7)
def test_7_a_stopped_client_blocks_the_producer_and_neither_gateway_nor_holder_grows(
    gateway: Gateway, port: int, tmp_path: Path
) -> None:
    last = 1_500_000  # 12 MB, of which 8 are read before
    process = subprocess.Popen(
        attach_command(
            tmp_path, port, "app01", "--name", "held", "--", "sh", "-c",
            f"echo $$ >{tmp_path / 'pid'}; exec seq {last}",
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    digest = hashlib.sha256(process.stdout.read(8_000_000))
    both = [*gateway.worker_pids(), *pids_of("stagedoor.holder attach held")]
    assert len(both) >= 2
    before = resident_kib(both)
    process.send_signal(signal.SIGSTOP)
    producer = int((tmp_path / "pid").read_text())
    blocked(producer)
    grown = resident_kib(both) - before
    assert grown < len(both) * ARENA_KIB + 1024, f"{grown} KiB"
    process.send_signal(signal.SIGCONT)
    while data := process.stdout.read(1 << 20):
        digest.update(data)
    process.communicate(timeout=60)
    expected = hashlib.sha256()
    for start in range(1, last + 1, 10_000):
        expected.update("".join(f"{n}\r\n" for n in range(start, start + 10_000)).encode())
    assert digest.digest() == expected.digest()


@pytest.mark.webshell(8)
@pytest.mark.timeout(LONG_S)
def test_8_a_flood_does_not_disconnect_however_often_a_ping_comes(tmp_path: Path) -> None:
    seconds, ping_s = flood_bounds()
    with open_limited(tmp_path, SETTINGS, ClientLimits(ping_s=ping_s), "app01") as gateway:
        received = flood(tmp_path, gateway.port("web"), seconds)
        log = tmp_path / "attach.log"
        assert not log.exists() or "lost:" not in log.read_text()
        done = gateway.wait_for(lambda line: line["event"] == "session" and "sent" in line)
        assert done["received"] == received, "one session, and all of it"


@pytest.mark.webshell(9)
def test_9_a_bracketed_paste_of_a_megabyte_in_a_terminal(port: int, tmp_path: Path) -> None:
    text = b"\x1b[200~" + os.urandom(524_288).hex().encode() + b"\x1b[201~"
    taken = tmp_path / "taken"
    command = attach_command(
        tmp_path, port, "app01", "--", "sh", "-c",
        f"stty raw -echo; printf '\\033[?2004hready'; head -c {len(text)} >{taken}; printf done",
    )  # fmt: skip
    with console(command) as screen:
        at = screen.shows(b"ready")
        screen.type(text)
        screen.shows(b"done", at)
        screen.process.wait(30)
    assert taken.read_bytes() == text


@pytest.mark.webshell(10)
def test_10_the_first_size_and_that_after_two_hundred_changes(port: int, tmp_path: Path) -> None:
    with console(attach_command(tmp_path, port, "app01", "--", "stty", "size"), 131, 43) as screen:
        screen.shows(b"43 131\r\n")
    chance = random.Random(5)
    with console(attach_command(tmp_path, port, "app01", "--shell", "--name", "resized")) as screen:
        screen.type(b"echo re''ady\r")
        at = screen.shows(b"ready\r\n")
        for _ in range(200):
            screen.resize(chance.randrange(20, 300), chance.randrange(5, 100))
        screen.resize(97, 31)
        # A client that asks does so behind the last change, in the order of the line.
        wait_until(lambda: size_in_shell(screen, at) == b"31 97")
        screen.type(b"exit\r")
        screen.process.wait(30)


def size_in_shell(screen: Console, after: int) -> bytes:
    number = len(screen.shown)
    screen.type(b"echo [$(stty size)]%d.\r" % number)
    end = screen.shows(b"]%d.\r" % number, screen.shows(b"]%d.\r" % number, after))
    return screen.shown[:end].rpartition(b"]")[0].rpartition(b"[")[2]


@pytest.mark.webshell(11)
def test_11_what_tmux_copies_reaches_the_clipboard_of_the_outer_terminal(
    port: int, tmp_path: Path
) -> None:
    text = "kopie é你好😀"
    with outer(tmp_path) as screen:
        screen.start(["true"])
        screen.tmux("set", "-g", "set-clipboard", "on")
        screen.run(attach_command(tmp_path, port, "app01", "--name", "copy"))
        screen.shows("[copy]")
        screen.line(f"clear; printf '%s\\n' '{text}'; printf en''d")
        screen.shows("\nend")
        # Copy-mode, to the first row, the whole of it: as a person does with the keys of emacs. What
        # follows too fast tmux takes for a paste, and while it draws again it hands on no copy.
        screen.keys("C-b", "[")
        screen.shows("[0/0]")
        screen.keys("M-<")
        wait_until(lambda: (screen.flag("cursor_y"), screen.flag("cursor_x")) == ("0", "0"))
        screen.keys("C-Space", "C-e")
        wait_until(lambda: screen.flag("cursor_x") == "13")
        screen.keys("M-w")
        wait_until(lambda: screen.tmux("show-buffer", check=False).rstrip("\n") == text)
        screen.line("exit")
        screen.shows("exit=0")


@pytest.mark.webshell(12)
def test_12_no_secret_is_in_a_url_or_in_a_log(gateway: Gateway, port: int) -> None:
    given = ticket(port)
    client = WebTerminal(port).hello(given, terminal="secret")
    client.type(b"echo typed-with-care\r")
    client.shows(b"typed-with-care")
    client.close()
    again = WebTerminal(port)
    again.hello(given, terminal="secret")
    assert again.welcome is None
    again.close()
    person = PlainBrowser(port)
    person.sign_in()
    base = f"http://127.0.0.1:{port}"
    link = gateway.command("web-link", "dev", "--url", base).stdout.strip()
    address, _, linked = link.partition("#")
    person.post("/link", secret=linked)
    at = len(gateway.lines)
    person.sign_in(secret="wrong-but-mine")
    gateway.wait_for_denial(after=at)
    said = json.dumps(gateway.lines) + json.dumps(gateway.audit())
    cookie = person.cookie.partition("=")[2]
    assert len(cookie) > 20
    assert len(linked) > 20
    for secret in (PASSWORD, given, cookie, linked, "typed-with-care", "wrong-but-mine"):
        assert secret not in said
    assert linked not in address


@pytest.mark.webshell(14)
def test_14_what_ends_at_once_has_shown_all_each_time(port: int) -> None:
    """Under one name: the next is let in, and not to the one that has just ended.

    It costs 0.2 s of the processor each time. The 200 of the list are STAGEDOOR_ENDS=200.
    """
    for at in range(ENDS):
        client = WebTerminal(port).hello(ticket(port), f"printf x{at}", terminal="brief")
        client.until(lambda client=client: client.exit)
        assert (bytes(client.snapshot + client.output), client.gaps) == (b"x%d" % at, [])
        client.send(Detach())
        client.close()


@pytest.mark.webshell(15)
def test_15_a_gateway_that_ignores_sigint_has_shells_that_do_not(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # what it starts has that from us
    try:
        gateway = Gateway(tmp_path, SETTINGS)
        gateway.add_user("dev", "app01")
        gateway.start()
    finally:
        signal.signal(signal.SIGINT, before)
    with gateway:
        command = attach_command(tmp_path, gateway.port("web"), "app01", "--shell")
        with console(command) as screen:
            screen.type(b"echo re''ady; sleep 301.5; echo af''ter\r")
            at = screen.shows(b"ready\r\n")
            wait_until(lambda: pids_of("301.5", program="sleep"))
            screen.type(b"\x03")
            screen.type(b"echo stop''ped=$?\r")
            screen.shows(b"stopped=130\r\n", at)
            screen.type(b"exit\r")
            screen.process.wait(30)


def test_a_terminal_that_is_held_for_long_is_not_taken_for_a_line_that_was_cut() -> None:
    notes: list[str] = []

    def reach() -> NoReturn:
        raise AssertionError("nobody is dialled")

    line = ConnectionWatch(reach, notes.append, notes.append)
    line.note_answer(100.0)
    now = 100.0 + 3600  # Ctrl-S, or a closed lid
    assert line.tick(now), "asked first"
    for _ in range(7):
        now += 1
        assert not line.tick(now), "asked once"
    assert line.done_fd is None
    line.note_answer(now)
    assert notes[-1] == ""
    now += 3600
    assert line.tick(now)
    now += 3600  # and again, just after it has asked
    assert not line.tick(now)
    assert line.done_fd is None
    assert notes[-1] == ""


def test_a_line_that_falls_silent_is_said_and_another_takes_its_place(
    port: int, tmp_path: Path
) -> None:
    """Takes the 8 s after which another line is tried."""
    with CuttingRelay(port) as relay:
        command = attach_command(tmp_path, relay.port, "app01", "--shell")
        with console(command) as screen:
            screen.type(b"stty -echo; echo re''ady\r")
            at = screen.shows(b"ready\r\n")
            relay.hold()
            screen.type(b"echo first=$((40+2))\r")
            at = screen.shows(b"\x1b]2;not answering for 2 s\x07", at)
            relay.release()
            at = screen.shows(b"first=42\r\n", at)
            screen.shows(b"\x1b[23;2t")
            relay.hold()
            screen.type(b"echo second=$((40+2))\r")
            at = screen.shows(b"\x1b]2;not answering for 8 s\x07", at)
            screen.type(b"echo third=$((40+2))\r")
            at = screen.shows(b"third=42\r\n", at)
            relay.release()  # what was held for the silent line reaches no client
            screen.type(b"echo la''st\r")
            screen.shows(b"last\r\n", at)
            shown = screen.shown
            assert [shown.count(b"%s=42" % word) for word in (b"first", b"second", b"third")] == [
                1
            ] * 3
            screen.type(b"exit\r")
            screen.process.wait(30)
