"""Real terminals, held by real processes: what stays when its clients have gone."""

import hashlib
import os
import random
import signal
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from stagedoor.holder.folder import connect, end_all
from stagedoor.holder.state import KEEP_BYTES, WINDOW_BYTES
from stagedoor.wire.terminal.frames import (
    MAX_DATA_BYTES,
    Ack,
    Detach,
    Exit,
    Gap,
    In,
    Mode,
    Notice,
    NoticeKind,
    Resize,
    Size,
)
from tests.fixtures.terminal import HeldTerminal, Place
from tests.waiting import wait_until


def holder_of(place: Place) -> int:
    """Return the pid of the process that holds the terminal `main`."""
    connection = connect(place.folder / "main.terminal")
    assert connection is not None, "nobody holds it"
    with connection:
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", peer)[0])


def resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_a_shell_runs_what_is_typed_and_its_exit_code_comes_back(place: Place) -> None:
    with place.peer() as peer:
        peer.hello()
        peer.type(b"echo $((40+2)); exit 7\r")
        peer.until(lambda: peer.exit)
        assert peer.exit == Exit(7)
        assert b"\r\n42\r\n" in peer.text
        assert peer.received == peer.typed
        peer.detach()
    wait_until(lambda: not list(place.folder.glob("*.terminal")))


def test_a_program_that_was_ended_by_a_signal_says_which(place: Place) -> None:
    with place.peer() as peer:
        peer.hello("kill -TERM $$")
        peer.until(lambda: peer.exit)
        assert peer.exit == Exit(128 + signal.SIGTERM, "TERM")


def test_a_signal_without_a_name_ends_it_with_a_number_alone(place: Place) -> None:
    with place.peer() as peer:
        peer.hello("kill -40 $$")
        peer.until(lambda: peer.exit)
        assert peer.exit == Exit(128 + 40)


def test_a_pong_says_whether_a_job_has_the_foreground(place: Place) -> None:
    """The program that was started there is none, nor is what runs in the background or is stopped."""
    place.environment["SHELL"] = "/bin/bash"
    with place.peer() as peer:

        def busy() -> bool:
            peer.catch_up()
            return peer.busy

        peer.hello().type(b"sleep 1000 & echo at=$((40+2))\r")
        peer.shows(b"at=42")
        assert not busy()
        for end, at in ((b"\x1a", b"43"), (b"\x03", b"44")):
            peer.type(b"sh -c 'echo at=$((1+%s)); exec sleep 1000'\r" % at)
            peer.shows(b"at=%d" % (int(at) + 1))  # sooner a key may reach no process
            assert busy()
            peer.type(end)
            wait_until(lambda: not busy())
        peer.type(b"kill -KILL %1 %2; exec true\r")
        peer.until(lambda: peer.exit)
        assert not busy()


def test_backspace_takes_a_whole_character(place: Place, tmp_path: Path) -> None:
    with place.peer() as peer:
        peer.hello(f"printf ready; head -n 1 >{tmp_path}/line; printf done")
        peer.shows(b"ready")
        peer.type("a你é\x7f\x7fb\n".encode())
        peer.shows(b"done")
    assert (tmp_path / "line").read_bytes() == b"ab\n"


def test_the_terminal_stays_when_all_have_gone_and_is_the_same_for_one_who_returns(
    place: Place,
) -> None:
    with place.peer() as peer:
        peer.hello().type(b"here=still; echo marked\r")
        peer.shows(b"\nmarked")
        peer.detach()
    with place.peer() as again:
        again.hello().type(b"echo $here\r")
        again.shows(b"\nstill")
        assert b"marked" in again.snapshot


def test_it_outlives_whoever_brought_it_even_when_that_is_killed(place: Place) -> None:
    with place.peer(start_new_session=True) as peer:
        peer.hello().type(b"echo pid=$$\r")
        peer.shows(b"\npid=")
        os.killpg(peer.process.pid, signal.SIGKILL)
        peer.until(lambda: peer.ended)
    with place.peer() as again:
        again.hello().catch_up()
        shown = again.snapshot.replace(b"# ", b"").replace(b"$ ", b"")
        assert b"\npid=" in shown, again.snapshot


@pytest.mark.parametrize("seed", range(2))
def test_a_line_cut_at_any_offset_loses_and_repeats_nothing_either_way(
    place: Place, tmp_path: Path, seed: int
) -> None:
    """Twenty cuts each; both directions are compared whole, by their hashes."""
    chance = random.Random(seed)
    shown = chance.randbytes(1_500_000).hex().encode()
    (tmp_path / "shown").write_bytes(shown)
    typed = chance.randbytes(100_000).hex().encode()
    taken = tmp_path / "taken"
    command = (
        f"stty raw -echo; printf ready; cat {tmp_path / 'shown'} & "
        f"head -c {len(typed)} >{taken}; wait; printf done"
    )
    output, attachment, seen, sent = b"", "", 0, 0
    expected = b"ready" + shown + b"done"
    cuts = sorted(chance.sample(range(5, len(shown)), 20))
    for cut in [*cuts, len(expected)]:
        with place.peer() as peer:
            peer.hello(command, attachment=attachment, seen=seen)
            assert peer.welcome is not None
            attachment, sent = peer.welcome.attachment, peer.welcome.in_at
            peer.received = sent
            if not output:
                peer.shows(b"ready")  # before that, the terminal echoes
            while seen + len(peer.output) < cut:
                if sent < len(typed) and sent - peer.received < MAX_DATA_BYTES:
                    piece = typed[sent : sent + chance.randrange(1, 9000)]
                    peer.send(In(sent, piece))
                    sent += len(piece)
                peer.read(0.01)
            output += bytes(peer.output)
            seen = peer.seen
            assert not peer.gaps
    assert hashlib.sha256(output).digest() == hashlib.sha256(expected).digest()
    assert hashlib.sha256(taken.read_bytes()).digest() == hashlib.sha256(typed).digest()


def test_one_who_stops_reading_under_yes_blocks_the_producer_and_nothing_grows(
    place: Place,
) -> None:
    with place.peer() as peer:
        peer.hello("yes | head -c 3000000; printf end")
        peer.until(lambda: peer.seen > 1_000_000)  # its buffers are as large by then as they become
        before = resident_kib(holder_of(place))
        peer.acknowledges = False
        stopped_at = peer.seen
        peer.until(lambda: peer.seen - stopped_at > WINDOW_BYTES // 2)
        peer.read(0.5)
        assert peer.seen - stopped_at <= WINDOW_BYTES + MAX_DATA_BYTES
        assert resident_kib(holder_of(place)) - before < 1024
        peer.acknowledges = True
        peer.send(Resize(Size(81, 24)))
        peer.send(Ack(peer.seen))
        peer.shows(b"end")
        assert bytes(peer.output).replace(b"\r", b"") == b"y\n" * 1_500_000 + b"end"


def test_output_without_a_client_is_kept_up_to_a_bound_and_then_reported_as_a_gap(
    place: Place, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    with place.peer() as peer:
        peer.hello(
            f"printf ready; cat {go} >/dev/null; yes | head -c 4000000; touch {tmp_path}/done; sleep 600"
        )
        peer.shows(b"ready")
        assert peer.welcome is not None
        attachment, seen = peer.welcome.attachment, peer.seen
        peer.detach()
    go.write_bytes(b"x")
    wait_until(lambda: (tmp_path / "done").exists())
    with place.peer() as again:
        again.hello(attachment=attachment, seen=seen)
        again.until(lambda: again.gaps)
        assert again.gaps[0].start == seen
        assert again.gaps[0].end - seen > KEEP_BYTES
        # What the holder has not read yet when they come follows what it shows them.
        again.until(lambda: again.snapshot and (again.snapshot + again.output).endswith(b"y\r\n"))
    assert isinstance(again.gaps[0], Gap)


def test_the_first_window_size_is_right_and_two_hundred_resizes_settle(place: Place) -> None:
    with place.peer() as peer:
        peer.hello(size=Size(132, 43)).type(b"stty size\r")
        peer.shows(b"\n43 132\r\n")
        for step in range(200):
            peer.send(Resize(Size(40 + step, 10 + step % 50)))
        peer.send(Resize(Size(101, 33)))
        peer.type(b"stty size\r")
        peer.shows(b"\n33 101\r\n")


def test_two_who_mirror_see_the_same_and_one_who_watches_types_nothing(place: Place) -> None:
    with place.peer() as one, place.peer() as two, place.peer() as watcher:
        one.hello().type(b"echo from-one\r")
        one.shows(b"\nfrom-one")
        two.hello().type(b"echo from-two\r")
        watcher.hello(mode=Mode.WATCH)
        for peer in (one, two):
            peer.shows(b"\nfrom-two")
        watcher.type(b"echo from-watcher\r")
        one.type(b"echo last\r")
        for peer in (one, two, watcher):
            peer.shows(b"\nlast")
        assert b"from-watcher" not in one.output


def test_one_who_takes_over_sends_the_other_away_with_a_word(place: Place) -> None:
    with place.peer() as one, place.peer() as two:
        one.hello()
        two.hello(mode=Mode.TAKE_OVER, owner="user:alice")
        one.until(lambda: one.ended)
        assert one.notices == [Notice(NoticeKind.TAKEN_OVER, "taken over by alice")]
        two.type(b"echo mine\r")
        two.shows(b"\nmine")


def test_every_byte_that_can_be_typed_arrives_as_it_is(place: Place, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    data = bytes(range(256)) * 8
    with place.peer() as peer:
        peer.hello(f"stty raw -echo; printf ready; head -c {len(data)} >{taken}; printf done")
        peer.shows(b"ready")
        peer.type(data)
        peer.shows(b"done")
    assert taken.read_bytes() == data


def test_a_holder_started_with_signals_ignored_gives_the_program_its_own(place: Place) -> None:
    """The parent process may ignore SIGINT (nohup, a shell's `&`), and that is inherited."""

    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})

    with place.peer(preexec_fn=ignore) as peer:
        peer.hello("printf started; exec sleep 600")
        peer.shows(b"started")
        peer.type(b"\x03")
        peer.until(lambda: peer.exit)
        assert peer.exit == Exit(128 + signal.SIGINT, "INT")


def test_term_and_lang_are_the_visitors_where_they_are_known_here(place: Place) -> None:
    show = b'echo "$TERM:$LANG:$COLORTERM:$STAGEDOOR_TERMINAL:"\r'
    with place.peer() as peer:
        peer.hello(term="screen-256color", lang="de_DE.UTF-8").type(show)
        peer.shows(b"\nscreen-256color:de_DE.UTF-8:truecolor:main:")
    with place.peer("other") as peer:
        peer.hello(term="../../etc/passwd", lang="POSIX").type(show)
        peer.shows(b"\nxterm-256color:C.UTF-8:truecolor:other:")


def test_what_is_no_frame_is_refused_with_a_notice_and_hurts_no_other_client(place: Place) -> None:
    with place.peer() as one, place.peer() as attacker:
        one.hello()
        assert attacker.process.stdin is not None
        attacker.process.stdin.write(b"GET / HTTP/1.1\r\n\r\n")
        attacker.process.stdin.flush()
        attacker.until(lambda: attacker.ended)
        assert [notice.kind for notice in attacker.notices] == [NoticeKind.FAULT]
        one.type(b"echo well\r")
        one.shows(b"\nwell")


def test_what_was_left_in_the_background_does_not_keep_the_end_back(place: Place) -> None:
    with place.peer() as peer:
        peer.hello("(trap '' HUP; exec yes) & exit 4")
        peer.until(lambda: peer.exit)
        assert peer.exit == Exit(4)


def test_a_holder_that_gets_no_hello_ends(place: Place) -> None:
    socket = place.folder / "main.terminal"
    with place.peer():
        wait_until((place.folder / "main.faults").exists)  # the holder itself makes it
    wait_until(lambda: not socket.exists())


def test_twelve_who_come_at_once_find_one_terminal(place: Place) -> None:
    peers = [HeldTerminal(place, place.start("attach", "main"), "main") for _ in range(12)]
    try:
        for peer in peers:
            peer.hello()
        peers[0].type(b"echo pid=$$\r")
        for peer in peers:
            peer.shows(b"\npid=")
        assert len({peer.text.partition(b"\npid=")[2].split()[0] for peer in peers}) == 1
    finally:
        for peer in peers:
            peer.process.kill()
            peer.process.communicate()


@pytest.mark.parametrize("command", ["tmux", "tmux mouse"])
def test_where_there_is_no_tmux_it_is_the_login_shell(
    place: Place, tmp_path: Path, command: str
) -> None:
    place.environment["PATH"] = str(tmp_path)
    with place.peer() as peer:
        peer.hello(command)
        peer.type(b"echo in=${TMUX-none}; exit\r")
        peer.until(lambda: peer.exit)
        assert b"in=none\r\n" in peer.text


@pytest.mark.parametrize("name", ["../evil", "", "UPPER", "a" * 41, "a/b", "-a", "a.b"])
def test_what_is_no_name_for_a_terminal_is_refused(place: Place, name: str) -> None:
    process = place.start("attach", name)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 1
    assert b"is not a name for a terminal" in stderr


def test_a_folder_that_others_can_enter_is_refused(place: Place) -> None:
    place.folder.chmod(0o755)
    process = place.start("attach", "main")
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 1
    assert b"is not private" in stderr


def test_a_socket_without_a_listener_is_replaced(place: Place) -> None:
    with place.peer() as peer:
        peer.hello()
        os.kill(holder_of(place), signal.SIGKILL)
        peer.until(lambda: peer.ended)

    def answers() -> bool:
        connection = connect(place.folder / "main.terminal")
        if connection is not None:
            connection.close()
        return connection is not None

    # Of a process that ends, a line may be closed before the socket at which it listens.
    wait_until(lambda: not answers())
    assert (place.folder / "main.terminal").exists()
    with place.peer() as again:
        again.hello().type(b"echo new\r")
        again.shows(b"\nnew")


def test_terminals_are_listed_by_name(place: Place) -> None:
    with place.peer("one") as one, place.peer("two") as two:
        one.hello()
        two.hello()
        (place.folder / "stale.terminal").touch()
        listed = subprocess.Popen.communicate(place.start("list"), timeout=20)[0]
        assert listed == b"one\ntwo\n"
        one.send(Detach())


def test_ending_all_ends_the_holder_and_what_runs_in_it(place: Place) -> None:
    with place.peer() as peer:
        peer.hello("echo pid=$$; exec sleep 600")
        peer.shows(b"pid=")
        held, runs = holder_of(place), int(peer.text.partition(b"pid=")[2].split()[0])
        end_all(place.folder)
        peer.until(lambda: peer.ended)
    for pid in (held, runs):
        wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists())
    assert not list(place.folder.glob("*.terminal"))
