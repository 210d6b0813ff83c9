"""Terminals of the WebShell in a container: held where an image has nothing, and counted as what stays."""

import hashlib
from pathlib import Path

import pytest

from stagedoor.wire.terminal.frames import Size
from tests.fixtures.terminal import Place
from tests.kit.conftest import Make
from tests.kit.container import ROOT_CAPABILITIES, Container
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(600)  # the first makes the images, and others wait for them

IMAGES = ("busybox", "debian-12", "debian-13", "musl", "distroless", "nothing")


def terminals(container: Container) -> Place:
    """They are come to as the gateway does it: by ssh."""
    ssh = ("ssh", *container.ssh_options(), "app01.ssh", "/kit/bin/hold")
    return Place(container.file("/run/stagedoor/terminals"), ssh)


def environment(shown: bytes) -> dict[str, str]:
    lines = shown.decode().replace("\r\n", "\n").split("\n")
    return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.mark.parametrize("image", IMAGES)
def test_a_terminal_stays_in_every_image(make: Make, image: str) -> None:
    place = terminals(make(image).start())
    with place.peer() as peer:
        peer.hello(size=Size(101, 37)).type(b"here=sti''ll; stty size\r")
        peer.shows(b"37 101")
        peer.process.kill()
    with place.peer() as again:
        again.hello().type(b'echo "$here"-there\r')
        again.shows(b"still-there")
        assert b"37 101" in again.snapshot
    assert place.faults() == ""


@pytest.mark.parametrize("image", ["busybox", "debian-12", "nothing"])
def test_tmux_is_the_kits_own_and_is_there_when_one_returns(make: Make, image: str) -> None:
    place = terminals(make(image).start())
    with place.peer() as peer:
        ask = b"echo ${TMUX:+in}side-$TERM-$(tmux show -Av mouse)-$(tmux show -Asv escape-time)\r"
        peer.hello("tmux").type(ask)
        peer.until(lambda: b"inside-tmux-256color-on-10" in peer.output)
        peer.process.kill()
    with place.peer() as again:
        again.hello("tmux")
        again.until(lambda: b"inside-tmux-256color" in again.output)  # drawn again


@pytest.mark.parametrize(
    "who",
    [
        {"uid": 1_000_660_000, "gid": 0},
        {"uid": 0, "gid": 0},
        {"uid": 0, "gid": 0, "capabilities": ROOT_CAPABILITIES, "read_only": False},
    ],
    ids=["any-uid", "root-without-capabilities", "root"],
)
def test_a_terminal_as_any_uid(make: Make, who: dict[str, object]) -> None:
    container = make(**who).start()
    with terminals(container).peer() as peer:
        peer.hello("id -u; stat -c %u $(tty)")
        peer.until(lambda: peer.exit)
        assert bytes(peer.output).split() == [str(who["uid"]).encode()] * 2
    folder = container.file("/run/stagedoor/terminals").stat()
    assert (folder.st_uid, folder.st_mode & 0o777) == (who["uid"], 0o700)


def test_a_command_has_the_environment_of_one_by_ssh(make: Make) -> None:
    container = make(environment={"APP_SECRET": "a b'c", "STAGEDOOR_TERMINALS": "/evil"}).start()
    by_ssh = environment(container.ssh("-tt", "env").stdout)
    with terminals(container).peer() as peer:
        peer.hello("env")
        peer.until(lambda: peer.exit)
        held = environment(bytes(peer.output))
    own = {"STAGEDOOR_TERMINAL": "main", "LANG": "C.UTF-8", "COLORTERM": "truecolor"}
    sides = ("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "TERM", *own)
    assert {name: held.pop(name) for name in own} == own
    assert set(by_ssh) | set(own) >= {"SSH_TTY", "SSH_CLIENT", "APP_SECRET"}
    for name in sides:
        by_ssh.pop(name, None)
        held.pop(name, None)
    assert held == by_ssh


def test_a_prompt_has_the_environment_and_the_folder_of_one_by_ssh(make: Make) -> None:
    settings = {"STAGEDOOR_DIRECTORY": "/etc"}
    container = make("debian-12", environment={"A": "1"}, settings=settings).start()
    ask = b"echo :$USER:$SHELL:$LANG:$HOME:$A:$PWD:; echo $PATH | grep -c /kit/tools\r"
    with terminals(container).peer() as peer:
        peer.hello(term="screen-256color").type(ask)
        peer.shows(b":app:/usr/bin/bash:C.UTF-8:/:1:/etc:\r\n1\r\n")
        assert b"This is a shell of app01." in peer.output, "the words that a login is greeted with"


def test_a_terminal_is_counted_as_what_stays(make: Make) -> None:
    container = make().start()
    place = terminals(container)
    with place.peer() as peer:
        peer.hello().type(b"echo rea''dy\r")
        peer.shows(b"ready")
        wait_until(lambda: container.states[-1] == "stagedoor: busy sessions=1 tmux=1")
        peer.detach()
    wait_until(lambda: container.states[-1] == "stagedoor: busy sessions=0 tmux=1")
    with place.peer() as peer:
        peer.hello().type(b"exit\r")
        peer.until(lambda: peer.exit)
        peer.detach()
    wait_until(lambda: container.states[-1] == "stagedoor: idle")


def test_a_terminal_outlives_sigterm_and_shows_a_notice(make: Make) -> None:
    container = make(settings={"STAGEDOOR_GRACE_S": "600"}).start()
    with terminals(container).peer() as peer:
        peer.hello().type(b"echo rea''dy\r")
        peer.shows(b"ready")
        container.terminate()
        peer.shows(b"stagedoor: this shell is being stopped and ends in 10 min.")
        peer.type(b"echo still he''re\r")
        peer.shows(b"still here")
        assert container.exit_status() is None
        peer.type(b"exit\r")
        peer.until(lambda: peer.exit)
        peer.detach()
    assert container.wait() == 0


@pytest.mark.parametrize("typed", [True, False], ids=["told", "its command"])
@pytest.mark.parametrize("each", ["sleep 0.1", ":"], ids=["others", "itself"])
def test_what_runs_in_a_detached_terminal_has_the_grace_period_too(
    make: Make, typed: bool, each: str
) -> None:
    """Typed into a shell, and as the terminal's own command; what the shell does itself counts, and so does
    what has not quite begun: between two commands the terminal's foreground is the shell's own."""
    container = make(settings={"STAGEDOOR_GRACE_S": "600"}).start()
    loop = f"while [ ! -e /dev/shm/go ]; do {each}; done"
    go = f"echo rea''dy; {loop}; echo done >/dev/shm/done"
    with terminals(container).peer() as peer:
        peer.hello("" if typed else go)
        if typed:
            peer.type(go.encode() + b"\r")
        peer.shows(b"ready")
        peer.detach()
    wait_until(lambda: container.states[-1] == "stagedoor: busy sessions=0 tmux=1")
    container.terminate()
    wait_until(lambda: "1 terminals at work have 600 s left" in container.log)
    assert container.exit_status() is None
    container_shm(container, "go").touch()
    assert container.wait() == 0


@pytest.mark.parametrize("program", ["", "tmux", "tmux mouse"])
def test_a_prompt_in_a_detached_terminal_is_not_waited_for(make: Make, program: str) -> None:
    container = make(settings={"STAGEDOOR_GRACE_S": "600"}).start()
    with terminals(container).peer() as peer:
        peer.hello(program).type(b"echo rea''dy\r")
        peer.until(lambda: b"ready" in peer.output)
        peer.detach()
    wait_until(lambda: container.states[-1].startswith("stagedoor: busy sessions=0 "))
    container.terminate()
    assert container.wait() == 0


def test_what_runs_in_a_pane_of_a_detached_terminal_has_the_grace_period_too(make: Make) -> None:
    container = make(settings={"STAGEDOOR_GRACE_S": "600"}).start()
    loop = b"echo rea''dy; while [ ! -e /dev/shm/go ]; do sleep 0.1; done\r"
    with terminals(container).peer() as peer:
        peer.hello("tmux mouse").type(loop)
        peer.until(lambda: b"ready" in peer.output)
        peer.detach()
    wait_until(lambda: container.states[-1] == "stagedoor: busy sessions=0 tmux=2")
    container.terminate()
    wait_until(lambda: "1 terminals at work have 600 s left" in container.log)
    assert container.exit_status() is None
    container_shm(container, "go").touch()
    assert container.wait() == 0


def test_at_the_end_of_the_grace_period_a_held_program_is_hung_up(make: Make) -> None:
    container = make(settings={"STAGEDOOR_GRACE_S": "5"}).start()
    work = "while :; do sleep 0.1; done"
    with terminals(container).peer() as peer:
        peer.hello(f"trap 'echo hung up >/run/stagedoor/last; exit' HUP; echo rea''dy; {work}")
        peer.shows(b"ready")
        peer.detach()
    container.terminate()
    assert container.wait() == 0
    assert "the grace period is over: ending 0 sessions and 1 terminals" in container.log
    assert container.file("/run/stagedoor/last").read_text() == "hung up\n"


def test_a_cut_line_loses_nothing(make: Make, tmp_path: Path) -> None:
    container = make("debian-12").start()
    place = terminals(container)
    expected = b"".join(b"%07d\n" % number for number in range(100_000))
    command = "stty raw -echo; seq -f %07.0f 0 99999; printf end"
    output, attachment, seen = b"", "", 0
    for cut in (1000, 123_456, 500_000, len(expected) + 3):
        with place.peer() as peer:
            peer.hello(command, attachment=attachment, seen=seen)
            peer.until(lambda peer=peer, cut=cut: peer.seen >= cut)
            output, seen = output + bytes(peer.output), peer.seen
            assert peer.welcome is not None
            attachment = peer.welcome.attachment
            assert not peer.gaps
    assert hashlib.sha256(output).digest() == hashlib.sha256(expected + b"end").digest()


def test_the_app_cannot_say_where_terminals_are(make: Make) -> None:
    evil = {
        "STAGEDOOR_TERMINALS": "/dev/shm/evil",
        "XDG_RUNTIME_DIR": "/dev/shm",
        "LD_PRELOAD": "/x",
    }
    container = make(environment=evil).start()
    with terminals(container).peer() as peer:
        peer.hello()
        assert container.file("/run/stagedoor/terminals/main.terminal").exists()


def container_shm(container: Container, name: str) -> Path:
    return Path(f"/proc/{container.pid}/root/dev/shm/{name}")


def test_ending_a_terminal_ends_its_tmux(make: Make) -> None:
    container = make().start()
    place = terminals(container)
    with place.peer() as peer:
        peer.hello("tmux").type(b"echo rea''dy\r")
        peer.until(lambda: b"ready" in peer.output)
        ended = place.start("end", "main")
        _, stderr = ended.communicate(timeout=60)
        assert (ended.returncode, stderr) == (0, b"")
        peer.until(lambda: peer.exit)
    wait_until(lambda: container.states[-1] == "stagedoor: idle")
