"""A tunnel is taken up by the thread that starts it, while the relay's own may be asleep."""

import errno
import socket
import threading
from contextlib import suppress

import pytest

from stagedoor.model.session import Counts, EndReason, SessionResult
from stagedoor.model.units import KIB, MIB
from stagedoor.net.tcp import TcpStream
from stagedoor.relay.loop import Relay
from stagedoor.relay.poller import Poller
from stagedoor.relay.tunnel import Direction
from tests.waiting import BOUND_S


class Full(Poller):
    """As epoll is when fs.epoll.max_user_watches is used up: `room` more are taken."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room + 1  # the relay's own bell

    def add(self, fd: int) -> None:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= 1
        super().add(fd)


class Late(Poller):
    """The second end is added when the sink of the first has blocked: the thread that starts was held up."""

    def __init__(self) -> None:
        super().__init__()
        self.late = -1
        self.blocked = threading.Event()

    def add(self, fd: int) -> None:
        if fd == self.late and threading.current_thread() is threading.main_thread():
            assert self.blocked.wait(BOUND_S)
        super().add(fd)

    def watch_sink(self, direction: Direction) -> None:
        try:
            super().watch_sink(direction)
        finally:
            self.blocked.set()


def stream() -> tuple[TcpStream, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        far = socket.create_connection(listening.getsockname())
        near, _ = listening.accept()
    near.setblocking(False)
    far.settimeout(BOUND_S)
    return TcpStream(near), far


@pytest.mark.parametrize("room", [0, 1])
def test_a_tunnel_that_cannot_be_watched_ends_and_says_why(room: int) -> None:
    relay = Relay(poller=Full(room))
    over, ends = threading.Event(), list[SessionResult]()
    (downstream, client), (upstream, server) = stream(), stream()
    relay.start(downstream, upstream, b"", lambda ended: (ends.append(ended), over.set())[1])
    assert over.wait(BOUND_S)
    assert ends == [
        SessionResult(EndReason.FAULT, Counts(), "cannot watch it: No space left on device")
    ]
    for far in (client, server):
        with pytest.raises(ConnectionResetError):
            far.recv(1)
        far.close()
    relay.stop()


def test_a_sink_that_blocks_before_it_is_watched_ends_nothing() -> None:
    poller = Late()
    relay = Relay(poller=poller)
    over, ends = threading.Event(), list[SessionResult]()
    (downstream, client), (upstream, server) = stream(), stream()
    poller.late = upstream.fileno()
    sent = bytes(range(256)) * 64 * KIB  # more than all buffers take

    def send() -> None:
        with suppress(ConnectionResetError):
            client.sendall(sent)
        client.close()

    sender = threading.Thread(target=send)
    sender.start()
    relay.start(downstream, upstream, b"", lambda ended: (ends.append(ended), over.set())[1])
    with server:
        received = bytearray()
        while piece := server.recv(MIB):
            received += piece
    sender.join()
    assert received == sent
    assert over.wait(BOUND_S)
    assert [ended.end for ended in ends] == [EndReason.CLOSED]
    relay.stop()


def test_an_end_that_has_hung_up_before_the_start_ends_the_tunnel() -> None:
    relay = Relay()
    for _ in range(200):
        over = threading.Event()
        (downstream, client), (upstream, server) = stream(), stream()
        client.close()
        server.close()
        relay.start(downstream, upstream, b"", lambda _, over=over: over.set())
        assert over.wait(BOUND_S)
    assert len(relay._watched.active) == 0
    relay.stop()
