"""A tunnel as both of its ends see it, whichever way the bytes take."""

import contextlib
import errno
import socket
import ssl
import threading
from collections.abc import Callable

import pytest

from stagedoor.model.session import Counts, EndReason, SessionResult
from stagedoor.relay.limits import RelayLimits
from stagedoor.relay.ports import Stream
from tests.net.peers import PATIENCE_S, Peer
from tests.relay.harness import RelayHarness

LARGE = bytes(range(256)) * 16 * 1024  # 4 MiB: more than a pipe, a turn or a chunk holds


def test_bytes_arrive_both_ways_and_are_counted(harness: RelayHarness) -> None:
    run = harness.open()
    run.downstream.send(b"ls\n")
    assert run.upstream.read_exactly(3) == b"ls\n"
    run.upstream.send(b"bin etc\n")
    assert run.downstream.read_exactly(8) == b"bin etc\n"
    run.downstream.half_close()
    run.upstream.half_close()
    assert run.ended() == SessionResult(EndReason.CLOSED, Counts(sent=3, received=8))
    assert run.link.read_counts() == Counts(3, 8)


@pytest.mark.line(30)
@pytest.mark.parametrize("first", ["downstream", "upstream"])
def test_either_end_may_half_close_and_still_gets_late_data(
    harness: RelayHarness, first: str
) -> None:
    run = harness.open()
    closer, other = (
        (run.downstream, run.upstream) if first == "downstream" else (run.upstream, run.downstream)
    )
    closer.send(b"request")
    closer.half_close()
    assert other.read_to_end() == b"request"
    # Late data in the one direction that is left, and more than fits into any buffer.
    sender = threading.Thread(target=lambda: (other.send(b"late"), other.send(LARGE)))
    sender.start()
    assert closer.read_exactly(4) == b"late"
    assert closer.read_exactly(len(LARGE)) == LARGE
    sender.join()
    assert run.ends.empty(), "it is over only when both directions are"
    other.half_close()
    assert closer.read_to_end() == b""
    assert run.ended().end is EndReason.CLOSED


@pytest.mark.line(30)
def test_data_and_the_end_sent_together_arrive_whole(harness: RelayHarness) -> None:
    run = harness.open()
    sent = threading.Thread(
        target=lambda: (run.downstream.send(LARGE), run.downstream.half_close())
    )
    back = threading.Thread(target=lambda: (run.upstream.send(LARGE), run.upstream.half_close()))
    sent.start()
    back.start()
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(run.downstream.read_to_end()))
    reader.start()
    assert run.upstream.read_to_end() == LARGE
    for thread in (sent, back, reader):
        thread.join()
    assert received == [LARGE]
    assert run.ended() == SessionResult(EndReason.CLOSED, Counts(len(LARGE), len(LARGE)))


@pytest.mark.line(31)
@pytest.mark.parametrize(
    ("side", "end"),
    [("downstream", EndReason.DOWNSTREAM_RESET), ("upstream", EndReason.UPSTREAM_RESET)],
)
def test_a_reset_arrives_as_a_reset(harness: RelayHarness, side: str, end: EndReason) -> None:
    run = harness.open()
    run.downstream.send(b"x")
    run.upstream.read_exactly(1)
    here, there = (
        (run.downstream, run.upstream) if side == "downstream" else (run.upstream, run.downstream)
    )
    here.reset()
    with pytest.raises(ConnectionResetError):
        there.sock.recv(1)
    ended = run.ended()
    assert ended.end is end
    assert ended.detail.startswith(f"{side}: ")


@pytest.mark.line(31)
def test_what_came_before_a_reset_is_delivered_before_it(harness: RelayHarness) -> None:
    run = harness.open()
    run.downstream.send(b"hello")
    run.upstream.read_exactly(5)
    run.upstream.send(b"last words")
    run.upstream.reset()
    assert run.downstream.read_exactly(10) == b"last words"
    with pytest.raises(ConnectionResetError):
        run.downstream.read()
    assert run.ended().end is EndReason.UPSTREAM_RESET


@pytest.mark.line(31)
def test_a_reset_after_a_half_close_is_seen(
    harness: RelayHarness,
) -> None:
    run = harness.open()
    run.downstream.half_close()
    assert run.upstream.read() == b""
    run.downstream.reset()
    assert run.ended().end is EndReason.DOWNSTREAM_RESET
    # Past its peer's end recv(2) reports no error; the socket holds it all the same.
    number = run.upstream.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    assert number in {errno.ECONNRESET, errno.EPIPE}


def test_early_data_comes_first_once_and_in_order(harness: RelayHarness) -> None:
    early = LARGE + b"the rest of the early part"
    run = harness.open(early)
    threading.Thread(target=run.downstream.send, args=(b"then this",)).start()
    assert run.upstream.read_exactly(len(early)) == early
    assert run.upstream.read_exactly(9) == b"then this"
    run.downstream.half_close()
    run.upstream.half_close()
    assert run.ended() == SessionResult(EndReason.CLOSED, Counts(len(early) + 9, 0))


def test_a_tunnel_is_closed_from_outside_with_its_reason(harness: RelayHarness) -> None:
    run = harness.open()
    run.downstream.send(b"x")
    run.upstream.read_exactly(1)
    run.link.request_end(EndReason.REVOKED, "the grant was removed")
    assert run.ended() == SessionResult(EndReason.REVOKED, Counts(1, 0), "the grant was removed")
    for peer in (run.downstream, run.upstream):
        with pytest.raises(ConnectionResetError):
            peer.sock.recv(1)
    run.link.request_end(EndReason.EVICTED)  # too late: it stays as it ended
    other = harness.open()
    other.link.request_end(EndReason.EVICTED)
    assert other.ended().end is EndReason.EVICTED
    assert run.ends.empty()


def test_closing_the_relay_ends_every_tunnel_as_drained(harness: RelayHarness) -> None:
    runs = [harness.open() for _ in range(5)]
    assert harness.count_tunnels() == 5
    harness.relay.stop()
    assert [run.ended().end for run in runs] == [EndReason.DRAINED] * 5
    assert harness.count_tunnels() == 0
    late = harness.open()
    assert late.ended().end is EndReason.DRAINED
    assert all(stream.fileno() == -1 for stream in late.ours)


def test_a_holder_that_fails_takes_no_other_tunnel_with_it(
    harness: RelayHarness, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: SessionResult) -> None:
        raise RuntimeError("the holder's own fault")

    bad, good = harness.open(on_end=fail), harness.open()
    bad.downstream.reset()
    assert bad.ended().end is EndReason.DOWNSTREAM_RESET
    good.downstream.send(b"still here")
    assert good.upstream.read_exactly(10) == b"still here"
    assert "owner of a tunnel failed" in caplog.text


@pytest.mark.line(34)
@pytest.mark.parametrize(
    ("way", "end"),
    [
        ("both close", EndReason.CLOSED),
        ("downstream resets", EndReason.DOWNSTREAM_RESET),
        ("upstream resets", EndReason.UPSTREAM_RESET),
        ("from outside", EndReason.EVICTED),
        ("at once from outside", EndReason.EVICTED),
        ("idle", EndReason.IDLE),
        ("the relay closes", EndReason.DRAINED),
        ("gone before the start", None),
        ("blocked both ways, then reset", EndReason.DOWNSTREAM_RESET),
    ],
)
def test_the_slot_is_released_on_every_way_out(
    make_harness: Callable[..., RelayHarness], way: str, end: EndReason | None
) -> None:
    now = [0.0]
    limits = RelayLimits(idle_timeout_s=3600)
    harness = make_harness(limits=limits, clock=lambda: now[0])
    if way == "gone before the start":

        def gone(peer: Peer, _: Stream) -> None:
            peer.reset()

        run = harness.open(b"early", prepare=gone)
    else:
        run = harness.open()
    if way != "at once from outside" and end is not None:
        run.downstream.send(b"x")
        run.upstream.read_exactly(1)
        assert harness.count_tunnels() == 1
    match way:
        case "both close":
            run.downstream.half_close()
            run.upstream.half_close()
        case "downstream resets":
            run.downstream.reset()
        case "upstream resets":
            run.upstream.reset()
        case "from outside" | "at once from outside":
            run.link.request_end(EndReason.EVICTED)
        case "idle":
            harness.check_idle()
            now[0] += 2 * 3600
            harness.check_idle()  # sees that a byte moved since the start
            now[0] += 2 * 3600
            harness.check_idle()
        case "the relay closes":
            harness.relay.stop()
        case "blocked both ways, then reset":
            _fill(run.upstream)
            _fill(run.downstream)
            run.downstream.reset()
    ended = run.ended()
    if end is None:
        assert ended.end in {EndReason.DOWNSTREAM_RESET, EndReason.UPSTREAM_RESET}
    else:
        assert ended.end is end
    assert harness.count_tunnels() == 0
    assert [stream.fileno() for stream in run.ours] == [-1, -1]
    assert run.ends.empty()
    pipes = harness.relay._splice.pipes
    assert len(pipes._free) == pipes._open


def _fill(peer: Peer) -> None:
    """Send until nothing more is taken."""
    peer.sock.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        while True:
            peer.send(bytes(65536))
    peer.sock.settimeout(PATIENCE_S)


@pytest.mark.line(33)
def test_a_tunnel_with_keepalives_lives_a_day_and_an_idle_one_does_not(
    make_harness: Callable[..., RelayHarness],
) -> None:
    now = [1000.0]
    limits = RelayLimits(idle_timeout_s=3600)
    harness = make_harness(limits=limits, clock=lambda: now[0])
    busy, idle = harness.open(), harness.open()
    idle.downstream.send(b"x")
    idle.upstream.read_exactly(1)
    for _ in range(24 * 4):
        busy.downstream.send(b"k")
        assert busy.upstream.read_exactly(1) == b"k"
        now[0] += 15 * 60
        harness.check_idle()
    assert busy.ends.empty()
    assert idle.ended() == SessionResult(EndReason.IDLE, Counts(1, 0), "no byte moved for 3600 s")
    assert harness.count_tunnels() == 1


@pytest.mark.line(33)
def test_without_an_idle_timeout_a_silent_tunnel_lives_for_ever(
    make_harness: Callable[..., RelayHarness],
) -> None:
    now = [0.0]
    harness = make_harness(limits=RelayLimits(), clock=lambda: now[0])
    run = harness.open()
    now[0] += 365 * 24 * 3600
    harness.check_idle()
    run.downstream.send(b"good morning")
    assert run.upstream.read_exactly(12) == b"good morning"
    assert run.ends.empty()


@pytest.mark.line(33)
@pytest.mark.parametrize("state", ["silent", "in the middle of a transfer"])
@pytest.mark.parametrize(
    ("side", "end"),
    [("downstream", EndReason.DOWNSTREAM_LOST), ("upstream", EndReason.UPSTREAM_LOST)],
)
def test_a_peer_that_vanished_is_reaped_and_reported_as_lost(
    harness: RelayHarness, side: str, end: EndReason, state: str
) -> None:
    def short(_: Peer, stream: Stream) -> None:
        sock = socket.socket(fileno=stream.fileno())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000)
        sock.detach()

    run = harness.open(prepare=short)
    dead, other = (
        (run.downstream, run.upstream) if side == "downstream" else (run.upstream, run.downstream)
    )
    other.send(b"x")
    dead.read_exactly(1)
    dead.play_dead()
    if state != "silent":
        other.send(bytes(30000))
    ended = run.ended()
    assert ended.end is end
    with pytest.raises((ConnectionResetError, ssl.SSLError)):
        other.read()


def test_a_tunnel_that_is_just_being_started_is_not_idle(
    make_harness: Callable[..., RelayHarness],
) -> None:
    limits = RelayLimits(idle_timeout_s=3600)
    harness = make_harness(limits=limits, clock=lambda: 1_000_000.0)
    begun, go_on = threading.Event(), threading.Event()

    def hold(_: SessionResult) -> None:
        begun.set()
        go_on.wait(PATIENCE_S)

    harness.open(on_end=hold).link.request_end(EndReason.EVICTED)
    assert begun.wait(PATIENCE_S)
    # While the relay's thread is held, an idle check is requested, and then a tunnel is started.
    harness.relay._ask(harness.relay._end_idle)
    run = harness.open()
    go_on.set()
    run.downstream.send(b"x")
    assert run.upstream.read_exactly(1) == b"x"
    assert run.ends.empty()


def test_an_end_that_was_closed_before_the_start_harms_no_other_tunnel(
    harness: RelayHarness,
) -> None:
    other = harness.open()

    def close(_: Peer, stream: Stream) -> None:
        stream.close()

    run = harness.open(prepare=close)
    assert run.ended().end is EndReason.FAULT
    other.downstream.send(b"x")
    assert other.upstream.read_exactly(1) == b"x"
    assert harness.count_tunnels() == 1


def test_when_the_thread_itself_fails_no_tunnel_hangs(
    make_harness: Callable[..., RelayHarness], caplog: pytest.LogCaptureFixture
) -> None:
    broken = threading.Event()

    def clock() -> float:
        if broken.is_set() and threading.current_thread().name == "relay":
            raise RuntimeError("a broken clock")
        return 1.0

    harness = make_harness(limits=RelayLimits(idle_timeout_s=60), clock=clock)
    run = harness.open()
    broken.set()
    with contextlib.suppress(
        OSError
    ):  # it may fail before the byte is sent: then all is over already
        run.downstream.send(b"x")
    assert run.ended().end is EndReason.FAULT
    assert harness.open().ended().end is EndReason.DRAINED
    harness.relay.stop()
    assert "a broken clock" in caplog.text


@pytest.mark.parametrize("pipes", [0, 1])
def test_where_pipes_run_out_the_bytes_are_copied(
    make_harness: Callable[..., RelayHarness], pipes: int
) -> None:
    harness = make_harness(limits=RelayLimits(pipes=pipes))
    runs = [harness.open() for _ in range(4)]
    for run in runs:
        threading.Thread(target=run.downstream.send, args=(LARGE,)).start()
    for run in runs:
        assert run.upstream.read_exactly(len(LARGE)) == LARGE
