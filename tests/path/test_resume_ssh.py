"""The real ssh over `stagedoor tunnel`, through a wire that is cut again and again: ssh notices nothing."""

import os
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from acceptance import features
from acceptance.clients import TUNNEL, ProxyClient, ProxyCommand
from acceptance.prompted import Prompted
from acceptance.verdict import need
from stagedoor.admin.sessions import list_entries
from stagedoor.demo.clients import DemoLogin, make_tunnel_command
from stagedoor.laptop.tunnel.onefile import build_tunnel_file
from stagedoor.model.event import EventKind
from stagedoor.model.units import HOUR_S, MIB
from stagedoor.store.journal import Filter
from stagedoor.store.sessions import list_sessions
from tests.net.test_ssh_agent import agent_with
from tests.pace import allow
from tests.path.conftest import GatewayEntry, here
from tests.path.processes import child_of, worker_of
from tests.path.wire_cut import CutWire, cutting
from tests.waiting import wait_until
from tests.web.mover import digest_of

BULK_BYTES = int(os.environ.get("STAGEDOOR_BULK_MIB", "12")) * MIB
SOON = ("reset", "half")
"""The modes of cuts that the client notices at once. A silence costs it ten seconds, so only a run of full
size has some."""
BULK_MODES = (*SOON, "silence") if BULK_BYTES > 12 * MIB else SOON
VIM_CUTS = int(os.environ.get("STAGEDOOR_VIM_CUTS", "20"))
VIM_MODES, VIM_AWAY_S = ((*SOON, "silence"), 120.0) if VIM_CUTS > 20 else (SOON, 0.1)
"""The longest time for which the network is away after a cut; most times are far shorter."""
SMALL = (features.control_master, features.rsync, features.tmux)
"""They move some ten thousand bytes."""
CAT = "echo in''side; cat"
"""It says `inside`, which the command itself does not contain, once it runs."""


def new_seed() -> int:
    seed = int(os.environ.get("STAGEDOOR_CUTS", random.randrange(1 << 30)))
    print(f"STAGEDOOR_CUTS={seed}")
    return seed


def in_one_file(login: DemoLogin) -> ProxyCommand:
    """Return the ProxyCommand of a laptop that has the client as one file."""
    file = login.folder / "tun.py"
    file.write_bytes(build_tunnel_file())
    return ProxyCommand(make_tunnel_command(replace(login, tunnel=(sys.executable, str(file)))))


@contextmanager
def open_terminal(
    entry: GatewayEntry, folder: Path, *options: str
) -> Iterator[tuple[CutWire, Prompted]]:
    """Yield a terminal in which `cat` runs, and its line, which the test cuts."""
    with cutting(entry.gateway.port(), 1, most=1 << 30) as wire:
        reach = entry.through(TUNNEL, folder, wire.port)
        argv = reach.argv("ssh", "-tt", *options, reach.host, CAT)
        with reach.start(argv, on_terminal=True) as terminal:
            terminal.expect("inside")
            yield wire, terminal


def silence_return(wire: CutWire) -> None:
    """Cut the line, and let the connection by which the client returns fall silent."""
    wire.is_silent = True
    wire.cut_all()
    wait_until(lambda: wire.silenced)
    wire.is_silent = False


ONE_FILE = ProxyClient("the tunnel's one file", None, None, in_one_file)


@pytest.mark.continuity(5)
@pytest.mark.parametrize("client", [TUNNEL, ONE_FILE], ids=["installed", "one file"])
def test_a_counter_counts_on_through_cuts(
    entry: GatewayEntry, tmp_path: Path, client: ProxyClient
) -> None:
    def drive() -> None:
        with cutting(entry.gateway.port(), new_seed(), most=4000) as wire:
            reach = entry.through(client, tmp_path, wire.port)
            done = reach.ssh("i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done; exit 7")
            assert done.code == 7, done.said
            assert done.stdout.split() == [str(number).encode() for number in range(3000)]
            assert wire.cuts >= 3

    here(drive)


@pytest.mark.continuity(12)
@pytest.mark.parametrize(
    "feature",
    [
        features.scp,
        features.scp_legacy,
        features.sftp,
        features.rsync,
        features.sshfs,
        features.control_master,
        features.tmux,
        features.git_clone,
        features.local_forward,
        features.remote_forward,
        features.dynamic_forward,
    ],
)
def test_what_developers_do_works_through_cuts(
    entry: GatewayEntry, tmp_path: Path, feature: features.Feature
) -> None:
    def drive() -> None:
        most = 1000 if feature in SMALL else 60_000
        with cutting(entry.gateway.port(), new_seed(), most) as wire:
            feature(entry.through(TUNNEL, tmp_path, wire.port), tmp_path)
            assert wire.cuts >= 3

    here(drive)


@pytest.mark.continuity(12)
def test_ten_sessions_of_a_control_master_go_on_through_20_cuts(
    entry: GatewayEntry, tmp_path: Path
) -> None:
    def drive() -> None:
        # A socket's path must be short (unix(7)).
        with (
            tempfile.TemporaryDirectory(prefix="sd-") as folder,
            cutting(entry.gateway.port(), 1, most=1 << 30) as wire,
            ExitStack() as stack,
        ):
            master = ("-S", Path(folder) / "master")
            reach = entry.through(TUNNEL, tmp_path, wire.port)
            stack.enter_context(reach.inside("-M", *master))
            argv = reach.argv("ssh", "-tt", *master, "-o", "ProxyCommand=false", reach.host, CAT)
            sessions = [stack.enter_context(reach.start(argv, on_terminal=True)) for _ in range(10)]
            for session in sessions:
                session.expect("inside")
            for number in range(20):
                wire.cut_all()
                for session in sessions:
                    session.type(f"cut {number}\r")
                for session in sessions:
                    session.expect(f"cut {number}\r\ncut {number}\r\n")
            assert wire.cuts == 20

    here(drive)


def write_bulk(path: Path) -> None:
    """Write `BULK_BYTES` random bytes."""
    chance = random.Random(4)
    with path.open("wb") as file:
        for _ in range(BULK_BYTES // MIB):
            file.write(chance.randbytes(MIB))


@pytest.mark.continuity(5)
def test_bulk_both_ways_at_once_arrives_whole_through_cuts(
    entry: GatewayEntry, tmp_path: Path
) -> None:
    sent, back = tmp_path / "sent", tmp_path / "back"
    write_bulk(sent)

    def drive() -> None:
        with cutting(entry.gateway.port(), new_seed(), most=BULK_BYTES // 6) as wire:
            reach = entry.through(TUNNEL, tmp_path, wire.port)
            done = reach.run(
                reach.argv("ssh", reach.host, "tee >(sha256sum >&2)"),
                stdin=sent, stdout=back, timeout_s=100,
            )  # fmt: skip
            assert done.code == 0, done.stderr
            assert digest_of(sent) in done.stderr
            assert digest_of(back) == digest_of(sent)
            assert wire.cuts >= 10

    here(drive)


@pytest.mark.continuity(5)
@pytest.mark.parametrize("is_up", [True, False], ids=["up", "down"])
def test_scp_arrives_whole_through_cuts(entry: GatewayEntry, tmp_path: Path, is_up: bool) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    write_bulk(source)

    def drive() -> None:
        most = min(BULK_BYTES // 10, 20 * MIB)
        with cutting(entry.gateway.port(), new_seed(), most, BULK_MODES) as wire:
            reach = entry.through(TUNNEL, tmp_path, wire.port)
            ends = (source, f"{reach.host}:{copy}") if is_up else (f"{reach.host}:{source}", copy)
            done = reach.run(reach.argv("scp", "-q", *ends), timeout_s=100 * BULK_BYTES / 12 / MIB)
            assert done.code == 0, done.said
            print(f"{wire.cuts} cuts")
            assert wire.cuts >= BULK_BYTES // most
            assert digest_of(copy) == digest_of(source)

    here(drive)


@pytest.mark.continuity(12)
def test_an_agent_is_forwarded_through_cuts(entry: GatewayEntry, tmp_path: Path) -> None:
    key = tmp_path / "forwarded"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)

    def drive() -> None:
        # A socket's path must be short (unix(7)).
        with (
            tempfile.TemporaryDirectory(prefix="sd-") as folder,
            agent_with(Path(folder), str(key)) as agent,
            cutting(entry.gateway.port(), new_seed(), most=8000) as wire,
        ):
            reach = entry.through(TUNNEL, tmp_path, wire.port)
            ask = "for i in $(seq 40); do ssh-add -L; done"
            env = {"SSH_AUTH_SOCK": str(agent)}
            done = reach.run(reach.argv("ssh", "-A", reach.host, ask), env=env)
            assert done.code == 0, done.said
            assert done.stdout == key.with_suffix(".pub").read_bytes() * 40
            assert wire.cuts >= 1

    here(drive)


@pytest.mark.continuity(5)
def test_a_connection_that_falls_silent_is_replaced(entry: GatewayEntry, tmp_path: Path) -> None:
    def drive() -> None:
        with cutting(entry.gateway.port(), 1, most=9000, modes=("silence",), cuts=1) as wire:
            reach = entry.through(TUNNEL, tmp_path, wire.port)
            typed = b"typed" * 40_000
            done = reach.ssh("cat; exit 7", stdin=typed)
            assert done.code == 7, done.said
            assert done.stdout == typed
            assert wire.cuts == 1

    here(drive)


@pytest.mark.continuity(5)
def test_a_return_that_falls_silent_is_tried_again(entry: GatewayEntry, tmp_path: Path) -> None:
    """The client waits ten seconds for the answer. Only the title shows it."""

    def drive() -> None:
        with open_terminal(entry, tmp_path) as (wire, terminal):
            silence_return(wire)
            terminal.expect("app01.ssh: reconnecting 3 s\x07")
            terminal.type("after\r")
            terminal.expect("after\r\nafter\r\n")
            assert wire.silenced == 1
            screen = terminal.kill().stdout
        titles = rb"\x1b\]2;app01\.ssh: reconnecting \d+ s\x07"
        rest = re.fullmatch(rb"(.*)\x1b\[22;2t(?:%b)+\x1b\[23;2t(.*)" % titles, screen, re.S)
        assert rest, screen
        assert rest.groups() == (b"inside\r\n", b"after\r\nafter\r\n")

    here(drive)


@pytest.mark.continuity(8)
def test_the_escape_of_ssh_ends_a_session_that_is_away(entry: GatewayEntry, tmp_path: Path) -> None:
    def drive() -> None:
        with open_terminal(entry, tmp_path) as (wire, terminal):
            client = child_of(terminal.pid, b"tunnel")
            silence_return(wire)
            terminal.type("\r~.")
            assert terminal.ends_within(allow(5))
            wait_until(lambda: not Path(f"/proc/{client}").exists(), what="the client runs")

    before = open_sessions(entry)
    here(drive)
    wait_until(lambda: open_sessions(entry) <= before, what="the session is still open")


def open_sessions(entry: GatewayEntry) -> set[str]:
    with entry.gateway.service() as service:
        return {session.id for session in list_sessions(service.database)}


def test_a_session_ends_with_its_ssh(entry: GatewayEntry, tmp_path: Path) -> None:
    """ssh hangs up on its ProxyCommand as it exits (SIGHUP), whatever is still on its way."""

    def drive() -> None:
        reach = entry.through(TUNNEL, tmp_path, entry.gateway.port())
        done = reach.ssh("true")
        assert done.code == 0, done.said

    before = open_sessions(entry)
    here(drive)
    wait_until(lambda: open_sessions(entry) <= before, what="the session is still open")


@pytest.mark.continuity(5)
def test_vim_through_cuts_has_the_same_screen_and_file(entry: GatewayEntry, tmp_path: Path) -> None:
    """tmux, in which ssh runs here, is the terminal: it draws what arrives."""
    text = tmp_path / "text"
    tmux = ["tmux", "-f", "/dev/null", "-S", tmp_path / "tmux"]

    def ask(*words: str) -> str:
        done = subprocess.run([*tmux, *words], check=True, capture_output=True, text=True)
        return done.stdout

    lines = [f"line {number}" for number in range(VIM_CUTS)]

    def drive() -> None:
        need("vim")
        need("tmux")
        seed = new_seed()
        chance = random.Random(seed)
        with cutting(entry.gateway.port(), seed, most=1 << 30) as wire:
            reach = entry.through(TUNNEL, tmp_path, wire.port)
            argv = reach.argv("ssh", "-tt", reach.host, f"vim -u NONE -i NONE -n {text}")
            ask("new-session", "-d", "-x", "80", "-y", "24", shlex.join(map(str, argv)))
            wait_until(lambda: "[New" in ask("capture-pane", "-p"), costly=True)
            ask("send-keys", "i")
            for number, line in enumerate(lines):
                accepted = wire.accepted
                wire.cut_next(chance.choice(VIM_MODES), chance.randrange(1, 100))
                ask("send-keys", line, "Enter")
                wait_until(lambda number=number: wire.cuts > number)
                wire.refuses = True
                time.sleep(VIM_AWAY_S * chance.random() ** 12)
                wire.refuses = False
                wait_until(lambda accepted=accepted: wire.accepted > accepted)
                wait_until(lambda line=line: line in ask("capture-pane", "-p"), costly=True)
            rows = [*lines, "", *["~"] * (22 - VIM_CUTS)][-23:]
            wait_until(
                lambda: ask("capture-pane", "-p").splitlines()[:-1] == rows,
                what="the same screen",
                costly=True,
            )
            ask("send-keys", "Escape", ":wq", "Enter")
            wait_until(lambda: text.exists(), costly=True)
            assert wire.cuts == VIM_CUTS

    try:
        here(drive)
    finally:
        subprocess.run([*tmux, "kill-server"], check=False, capture_output=True)
    assert text.read_text() == "".join(f"{line}\n" for line in lines) + "\n"


@pytest.mark.continuity(7)
def test_a_client_that_was_stopped_comes_back_from_another_address(
    entry: GatewayEntry, tmp_path: Path
) -> None:
    """A laptop that sleeps sends nothing, and its network is another one when it wakes."""

    def drive() -> None:
        with open_terminal(entry, tmp_path) as (wire, terminal):
            client = child_of(terminal.pid, b"tunnel")
            os.kill(client, signal.SIGSTOP)
            terminal.type("asleep\r")
            wire.cut_all()
            wire.source = "127.0.0.9"
            woken_at = time.monotonic()
            os.kill(client, signal.SIGCONT)
            terminal.expect("asleep\r\nasleep\r\n")
            check_return(woken_at)
        with entry.gateway.service() as service:
            *_, last = list_entries(service, Filter(kinds=(EventKind.SESSION_RESUMED,)))
        assert str(last.event.source).startswith("127.0.0.9:")

    here(drive)


@pytest.mark.continuity(17)
def test_keep_alives_of_ssh_do_not_end_a_session_that_is_away(
    entry: GatewayEntry, tmp_path: Path
) -> None:
    """ssh asks each second here. By the file that we write it gives up after eight hours."""
    seen = subprocess.run(
        ["ssh", "-G", "-F", entry.base_config, "app01.ssh"],
        capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    options = dict(line.split(" ", 1) for line in seen.splitlines() if " " in line)
    count = int(options["serveralivecountmax"])
    assert int(options["serveraliveinterval"]) * count >= 8 * HOUR_S

    def drive() -> None:
        keep = ("-o", "ServerAliveInterval=1", "-o", f"ServerAliveCountMax={count}")
        with open_terminal(entry, tmp_path, *keep) as (wire, terminal):
            wire.refuses = True
            wire.cut_all()
            wait_until(lambda: wire.refused >= 4, what="it did not try again")
            wire.refuses = False
            terminal.type("after\r")
            terminal.expect("after")

    here(drive)


@pytest.mark.continuity(17)
def test_sshd_of_the_kit_asks_for_as_long() -> None:
    source = (Path(__file__).parents[2] / "deploy/kit/source/sshd.c").read_text()
    interval, count = (
        int(re.findall(rf'"ClientAlive{name} (\d+)\\n"', source)[0])
        for name in ("Interval", "CountMax")
    )
    assert interval * count >= 8 * HOUR_S


def check_return(since: float) -> None:
    """Print how long a return took, and check that it was soon. The goal is 2 s on a quiet machine."""
    took_s = time.monotonic() - since
    print(f"back after {took_s:.2f} s")
    assert took_s < allow(5)


@pytest.mark.continuity(6)
def test_ssh_goes_on_by_another_worker_when_its_own_is_killed(
    entry: GatewayEntry, tmp_path: Path
) -> None:
    def drive() -> None:
        with open_terminal(entry, tmp_path) as (wire, terminal):
            killed_at = time.monotonic()
            os.kill(worker_of(entry.gateway, wire.last_source), signal.SIGKILL)
            terminal.type("after\r")
            terminal.expect("after\r\nafter\r\n")
            check_return(killed_at)
            assert wire.accepted > 1

    here(drive)
    wait_until(lambda: len(entry.gateway.worker_pids()) == 2, what="the next worker")
