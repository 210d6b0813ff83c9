"""The notice that a holder sends as it hangs up reaches a client that types into it at that moment."""

import os
import select
import signal
import socket

import pytest

from stagedoor.holder.folder import listen
from tests.fixtures.terminal import BOUND_S, Place
from tests.stopped import killed

LAST = b"the last word"


@pytest.mark.parametrize("verb", ["attach", "join"])
def test_a_last_word_is_passed_on_after_a_write_that_failed(place: Place, verb: str) -> None:
    """Both wait when it wakes up: what was typed, which no holder can take any more, and the word."""
    with listen(place.folder / "main.terminal") as listener:
        process = place.start(verb, "main")
        assert process.stdin is not None
        assert process.stdout is not None
        with killed(process):
            connection, _ = listener.accept()
            connection.send(b"first")
            assert process.stdout.read(5) == b"first"  # it is carrying
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            connection.send(LAST)
            connection.shutdown(socket.SHUT_RDWR)
            connection.close()
            process.stdin.write(b"typed")
            process.stdin.flush()
            process.send_signal(signal.SIGCONT)
            said = b""
            while select.select([process.stdout], [], [], BOUND_S)[0]:
                piece = os.read(process.stdout.fileno(), 100)
                if not piece:
                    break
                said += piece
            assert said == LAST
            assert process.wait(BOUND_S) == 0
