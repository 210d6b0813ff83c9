"""One session of the endpoint, between two sockets."""

import socket
import time

import pytest

from stagedoor.holder.event_poller import EventPoller
from stagedoor.resume.messages import CLOSED
from stagedoor.resume.session import LAST_BYTES_S, Session
from stagedoor.wire.tunnel.stream import WINDOW


@pytest.mark.continuity(10)
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


def test_a_shell_s_last_bytes_wait_only_a_moment_for_a_client_that_is_away() -> None:
    """A client whose ssh has exited does not come back: the session must not stay open for hours."""
    ends = []
    ours, theirs = socket.socketpair()
    began = time.monotonic()  # the session's own clock
    with ours, theirs:
        session = Session(ours, EventPoller(), began, lambda code, why: ends.append((code, why)))
        theirs.send(b"last bytes")
        theirs.close()
        session._serve_sshd(True, False)
        session._serve_sshd(True, False)
        session.pump(began + LAST_BYTES_S - 0.1)
        assert (ends, session.wake_at()) == ([], began + LAST_BYTES_S)
        session.pump(began + LAST_BYTES_S)
        assert (ends, session.is_over) == ([(CLOSED, "")], True)
