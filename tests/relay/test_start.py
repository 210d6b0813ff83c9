"""A tunnel is taken up by the thread that starts it, while the relay's own may be asleep."""

import errno
import socket
import threading

import pytest

from stagedoor.model.session import Counts, End, Ended
from stagedoor.net.tcp import TcpStream
from stagedoor.relay.loop import Relay
from stagedoor.relay.poller import EdgePoller, open_poller
from tests.waiting import BOUND_S

pytestmark = pytest.mark.skipif(
    not isinstance(open_poller(), EdgePoller), reason="only epoll takes descriptors from any thread"
)


class Full(EdgePoller):
    """As epoll is when fs.epoll.max_user_watches is used up: `room` more are taken."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room + 1  # the relay's own bell

    def add(self, fd: int) -> None:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= 1
        super().add(fd)


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
    over, ends = threading.Event(), list[Ended]()
    (downstream, client), (upstream, server) = stream(), stream()
    relay.start(downstream, upstream, b"", lambda ended: (ends.append(ended), over.set())[1])
    assert over.wait(BOUND_S)
    assert ends == [Ended(End.FAULT, Counts(), "cannot watch it: No space left on device")]
    for far in (client, server):
        with pytest.raises(ConnectionResetError):
            far.recv(1)
        far.close()
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
    assert relay.active() == 0
    relay.stop()
