"""The client's connection to a gateway behind a network that drops packets."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.laptop.tunnel.address import parse_address
from stagedoor.laptop.tunnel.reach import open_tcp
from tests.laptop.conftest import PATIENCE_S

SYN_SENT = "02"  # in proc_net_tcp(5)


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Yield a listener whose backlog is full: the kernel drops each SYN that is sent to it."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        fills = stack.enter_context(socket.socket())
        fills.connect(listener.getsockname())
        yield listener


def count_attempts(port: int) -> int:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == SYN_SENT for row in rows)


def test_while_no_address_answers_all_are_tried_again(silent: socket.socket) -> None:
    port = silent.getsockname()[1]
    opened: list[socket.socket] = []
    address = parse_address(f"http://127.0.0.1:{port}", "--gateway")
    thread = threading.Thread(target=lambda: opened.append(open_tcp(address, "the gateway")))
    thread.start()
    until = time.monotonic() + PATIENCE_S
    while count_attempts(port) < 2:
        assert time.monotonic() < until, "it waits for TCP's own next SYN"
        time.sleep(0.02)
    silent.listen(16)
    thread.join(PATIENCE_S)
    assert opened, "an attempt is answered as soon as the network is there"
    assert count_attempts(port) == 0, "the others are given up"
    opened[0].close()
