"""One session of the endpoint, between two sockets."""

import socket

from stagedoor.holder.event_poller import EventPoller
from stagedoor.resume.session import Session
from stagedoor.wire.tunnel.stream import WINDOW


def test_a_shell_that_hangs_up_with_a_full_window_puts_nothing_beyond_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        session = Session(ours, EventPoller(), 0.0, lambda code, why: None)
        while session._stream.room:
            theirs.send(bytes(65536))
            session._serve_sshd(True, False)
        theirs.send(b"one more byte")
        theirs.close()
        session._serve_sshd(True, False)  # as at a hang-up, which epoll(7) always reports
        assert session._stream.unacknowledged == WINDOW
