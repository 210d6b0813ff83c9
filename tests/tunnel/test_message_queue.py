"""The messages between a worker and the endpoint while one of them is busy."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from stagedoor.holder.folder import make_address
from stagedoor.net.tcp import TcpStream
from stagedoor.resume import requests
from stagedoor.resume.control import EndpointControl
from stagedoor.resume.endpoint import MAX_AWAY_OF_OWNER, ORPHAN_S, Endpoint
from stagedoor.resume.message_queue import STALE_S
from stagedoor.resume.messages import (
    CONTROL,
    GREETING,
    MAX_PACKET_BYTES,
    open_control_socket,
    receive,
    send,
)
from stagedoor.resume.pending import listen
from stagedoor.resume.requests import SessionRequest, StreamTicket
from stagedoor.wire.tunnel.frames import MAX_END_BYTES
from tests.tunnel.test_endpoint import KEY, Watched
from tests.waiting import BOUND_S

SESSIONS = 1000
OWNER = "alice app01.ssh"
TICKET = f"{'ab' * 32} s1 0 0 0.000"


class Peer:
    """An endpoint of which a test sends each message; or a worker."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock

    def say(self, line: str, *fds: int) -> None:
        send(self.sock, line, fds)

    def hear(self) -> list[str]:
        """Return the messages that have arrived."""
        lines = []
        with suppress(OSError):
            while line := receive(self.sock)[0]:
                lines.append(line)
        return lines

    async def hear_many(self, count: int) -> list[str]:
        lines: list[str] = []
        async with asyncio.timeout(BOUND_S):
            while len(lines) < count:
                lines += self.hear()
                await asyncio.sleep(0)
        return lines


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[tuple[EndpointControl, Peer]]:
    """Yield a worker's control, and the endpoint that it has greeted."""
    control = EndpointControl(tmp_path, 60.0)
    with listen(open_control_socket(), tmp_path / CONTROL) as listener:
        await control._connected(starts=False)
        sock, _ = listener.accept()
        with sock:
            endpoint = Peer(sock)
            endpoint.say(GREETING)
            assert await endpoint.hear_many(1) == [GREETING]
            yield control, endpoint
            control._hang_up()


async def resume_many(control: EndpointControl, endpoint: Peer, watcher: Watched) -> list[int]:
    """Resume sessions. Return their numbers."""
    numbers = []
    for attempt in range(SESSIONS):
        resumed = asyncio.create_task(control.resume(KEY, attempt, OWNER, watcher))
        number = (await endpoint.hear_many(1))[0].split(" ")[1]
        endpoint.say(f"ticket {number} {TICKET}")
        assert isinstance(await resumed, StreamTicket)
        numbers.append(int(number))
    return numbers


@pytest.mark.continuity(8)
async def test_all_sessions_that_a_revocation_ends_at_once_end(
    peer: tuple[EndpointControl, Peer],
) -> None:
    control, endpoint = peer
    numbers = await resume_many(control, endpoint, Watched())
    for number in numbers:
        control.set_limit(number, 1.0)
        control.end(number, "your grant was removed")
    wanted = [
        line
        for number in numbers
        for line in (f"limit {number} 1", f"end {number} your grant was removed")
    ]
    assert await endpoint.hear_many(2 * SESSIONS) == wanted
    control.set_limit(numbers[0], 2.0)
    assert endpoint.hear() == [f"limit {numbers[0]} 2"], "nothing waits any more"


async def test_a_worker_hangs_up_on_an_endpoint_that_reads_nothing(
    peer: tuple[EndpointControl, Peer],
) -> None:
    control, endpoint = peer
    watcher = Watched()
    asking = asyncio.create_task(control.resume(KEY, 1, OWNER, watcher))
    await endpoint.hear_many(1)
    endpoint.say(f"ticket 1 {TICKET}")
    await asking
    for _ in range(10_000):
        control.end(1, "x" * MAX_END_BYTES)
    assert watcher.news.get_nowait() == (1, "the endpoint of resumable tunnels has ended")


async def test_a_descriptor_does_not_wait_until_it_may_be_closed(
    peer: tuple[EndpointControl, Peer],
) -> None:
    """The caller opens a plain tunnel instead."""
    control, _ = peer
    for _ in range(SESSIONS):
        control._send("alive")
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(OSError, match="unavailable"):
        await control.open(KEY, SessionRequest("s1", OWNER, "-", 60.0), TcpStream(ours), Watched())


async def test_the_text_of_a_message_never_keeps_a_session_from_its_end(
    peer: tuple[EndpointControl, Peer],
) -> None:
    control, endpoint = peer
    asking = asyncio.create_task(control.resume(KEY, 1, OWNER, Watched()))
    await endpoint.hear_many(1)
    endpoint.say(f"ticket 1 {TICKET}")
    await asking
    control.end(1, "\udcff" + "\N{GREEK SMALL LETTER ALPHA}" * MAX_PACKET_BYTES)
    assert (await endpoint.hear_many(1))[0].startswith("end 1 \N{REPLACEMENT CHARACTER}α")


@pytest.mark.continuity(8)
@pytest.mark.parametrize("word", ["adopt", "open"])
async def test_a_session_whose_answer_is_late_is_given_back(
    peer: tuple[EndpointControl, Peer], monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """The endpoint carries out what was asked in time, and then no worker would judge the session."""
    control, endpoint = peer
    monkeypatch.setattr(requests, "ANSWER_TIMEOUT_S", 0.01)
    ours, theirs = socket.socketpair()
    session = SessionRequest("s1", OWNER, "-", 60.0)
    with ours, theirs:
        asking = (
            control.adopt("s1", Watched())
            if word == "adopt"
            else control.open(KEY, session, TcpStream(ours), Watched())
        )
        with pytest.raises(TimeoutError):
            await asking
    asked, undone = await endpoint.hear_many(2)
    assert asked.startswith(f"{word} 1 ")
    assert undone.startswith({"adopt": "leave 1", "open": "end 1 "}[word])


# The endpoint, whose worker is busy.


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    endpoint = Endpoint(tmp_path)
    yield endpoint
    for kept in tuple(endpoint._kept.values()):
        kept.session._drop_sshd()
    for worker in tuple(endpoint._workers):
        endpoint._drop_worker(worker)
    endpoint._control.close()
    endpoint._pending._listener.close()


@pytest.fixture
def worker(tmp_path: Path, endpoint: Endpoint) -> Iterator[Peer]:
    with open_control_socket() as sock, make_address(tmp_path / CONTROL) as address:
        sock.connect(address)
        worker = Peer(sock)
        ask(endpoint, worker, GREETING)
        assert worker.hear() == [GREETING]
        yield worker


def ask(endpoint: Endpoint, worker: Peer, line: str, *fds: int) -> None:
    worker.say(line, *fds)
    endpoint._poller.wait(0)
    endpoint._poller.wait(0)  # after that in which it was accepted


@pytest.fixture
def sshd() -> Iterator[int]:
    """Yield the descriptor of a connection, which can be that of many sessions."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours.fileno()


def open_many(
    endpoint: Endpoint, worker: Peer, sshd: int, count: int = SESSIONS, users: int = 1
) -> None:
    for number in range(count):
        owner = OWNER if users == 1 else f"user{number % users} app01.ssh"
        ask(endpoint, worker, f"open {number} {number:032x} s{number} 60 0 - {owner}", sshd)
        assert worker.hear()[0].startswith(f"ticket {number} ")


def test_a_busy_worker_hears_of_all_ends_once_it_reads(
    endpoint: Endpoint, worker: Peer, sshd: int
) -> None:
    open_many(endpoint, worker, sshd, users=100)
    endpoint._tidy(time.monotonic() + 61)
    assert (len(endpoint._kept), len(endpoint._workers)) == (0, 1)
    lines: list[str] = []
    while len(lines) < SESSIONS:
        arrived = worker.hear()
        assert arrived, "the worker was dropped"
        lines += arrived
        endpoint._poller.wait(0)
    assert [line.split(" ")[:3] for line in lines] == [
        ["over", str(number), "3"] for number in range(SESSIONS)
    ]


@pytest.mark.continuity(8)
def test_a_worker_that_never_reads_is_dropped(endpoint: Endpoint, worker: Peer, sshd: int) -> None:
    open_many(endpoint, worker, sshd, 1)
    (dropped,) = endpoint._workers
    for _ in range(2000):
        endpoint._send(dropped, "x" * MAX_PACKET_BYTES)
    assert endpoint._workers == []
    (kept,) = endpoint._kept.values()
    assert kept.worker is None


@pytest.mark.continuity(8)
def test_a_worker_for_which_messages_wait_too_long_is_dropped(
    endpoint: Endpoint, worker: Peer
) -> None:
    (dropped,) = endpoint._workers
    for _ in range(SESSIONS):
        endpoint._send(dropped, "x")
    endpoint._tidy(time.monotonic() + STALE_S - 1)
    assert endpoint._workers == [dropped]
    endpoint._tidy(time.monotonic() + STALE_S)
    assert endpoint._workers == []


def test_a_retired_endpoint_waits_for_a_worker_to_hear_of_the_ends(
    endpoint: Endpoint, worker: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (behind,) = endpoint._workers
    for _ in range(SESSIONS):
        endpoint._send(behind, "x")
    ask(endpoint, worker, "retire")
    heard: list[str] = []

    wait = endpoint._poller.wait

    def read_and_wait(timeout_s: float | None) -> None:
        heard.extend(worker.hear())
        wait(timeout_s)

    monkeypatch.setattr(endpoint._poller, "wait", read_and_wait)
    endpoint.run()
    heard += worker.hear()
    assert heard == ["x"] * SESSIONS


def test_an_orphan_that_is_given_back_still_ends_without_a_worker(
    endpoint: Endpoint, worker: Peer, sshd: int
) -> None:
    open_many(endpoint, worker, sshd, 1)
    (kept,) = endpoint._kept.values()
    kept.limit_s, kept.orphan_since = 9999.0, time.monotonic()
    kept.worker = None
    ask(endpoint, worker, "adopt 7 s0")
    ask(endpoint, worker, "leave 7")
    assert worker.hear() == ["adopted 7"]
    endpoint._tidy(time.monotonic() + ORPHAN_S)
    assert endpoint._kept == {}


def test_a_session_that_is_refused_takes_no_other_s_place(
    endpoint: Endpoint, worker: Peer, sshd: int
) -> None:
    open_many(endpoint, worker, sshd, MAX_AWAY_OF_OWNER)
    ask(endpoint, worker, f"open 99 {0:032x} s99 60 0 - {OWNER}", sshd)
    assert worker.hear() == ["gone 99 this session exists already"]
    ask(endpoint, worker, f"open 100 {100:032x} s100 60 0 - {OWNER}", sshd)
    over, ticket = worker.hear()
    assert over == "over 0 3 0 0 more than 64 sessions wait"
    assert ticket.startswith("ticket 100 ")


def test_a_session_that_ends_before_its_ticket_is_used_keeps_its_counts(
    endpoint: Endpoint, worker: Peer, sshd: int
) -> None:
    open_many(endpoint, worker, sshd, 1)
    (kept,) = endpoint._kept.values()
    kept.session.sent, kept.session.received = 5, 7
    ask(endpoint, worker, f"back 1 {0:032x} 1 {OWNER}")
    ask(endpoint, worker, "end 0 enough")
    worker.hear()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not endpoint._use_ticket(list(endpoint._tickets)[-1], ours)
    assert worker.hear() == ["over 1 1 5 7 the session has ended"]


def test_a_reason_is_cut_to_what_a_client_gets(endpoint: Endpoint, worker: Peer, sshd: int) -> None:
    open_many(endpoint, worker, sshd, 1)
    ask(endpoint, worker, "end 0 x" + "ä" * 2000)
    assert worker.hear() == ["over 0 2 0 0 x" + "ä" * ((MAX_END_BYTES - 1) // 2)]


def test_a_message_is_sent_whole_or_not_at_all() -> None:
    """Its last word says who may resume the session."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        send(ours, "x" * MAX_PACKET_BYTES)
        with pytest.raises(OSError, match="too long"):
            send(ours, "x" * (MAX_PACKET_BYTES + 1))
        assert receive(theirs)[0] == "x" * MAX_PACKET_BYTES
