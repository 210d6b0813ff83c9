"""`tests.stuck` finds who waits at a descriptor that was closed, and nobody else."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.stuck import descriptor, stuck
from tests.waiting import BOUND_S, wait_until


@contextmanager
def accepting(listening: socket.socket) -> Iterator[None]:
    """A thread waits for one connection."""

    def accept() -> None:
        with suppress(OSError):
            listening.accept()[0].close()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    number = f" {listening.fileno():#x} "
    task = Path(f"/proc/self/task/{thread.native_id}/syscall")
    wait_until(lambda: number in task.read_text(), what="it waits")
    yield
    thread.join(BOUND_S)
    assert not thread.is_alive()


def test_a_thread_that_a_close_has_not_woken_is_found() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    at = listening.getsockname()
    with accepting(listening):
        assert stuck() == []
        listening.close()
        [where] = stuck(0)
        assert where.endswith("in accept")
        # What it waits at is there as long as it waits.
        socket.create_connection(at).close()


def test_a_thread_that_a_shutdown_has_woken_is_not() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    with accepting(listening):
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        assert stuck() == []


@pytest.mark.parametrize("line", ["running\n", "-1 0x7ffd 0x7f0a\n", "202 0x16 0x80 0x0\n"])
def test_what_waits_elsewhere_is_at_no_descriptor(line: str) -> None:
    assert descriptor(line) is None
