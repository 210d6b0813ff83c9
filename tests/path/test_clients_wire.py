"""The long wire itself: what it promises to the tests that go over it."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.path.wire_delay import DELAY_S, delaying
from tests.waiting import BOUND_S


@contextmanager
def far_end(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A service for one connection; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            conn, _ = listener.accept()
            with conn:
                conn.settimeout(BOUND_S)
                serve(conn)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(BOUND_S)


def near_end(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=BOUND_S)


def test_the_empty_line_of_a_header_never_arrives_with_the_lines_before_it() -> None:
    reads: list[bytes] = []

    def serve(conn: socket.socket) -> None:
        while chunk := conn.recv(65536):
            reads.append(chunk)

    with far_end(serve) as far, delaying(far) as wire, near_end(wire.port) as near:
        near.sendall(b"CONNECT app01.ssh:22 HTTP/1.0\r\nA: b\r\n\r\nSSH-2.0-x\r\n")
        near.shutdown(socket.SHUT_WR)
        assert near.recv(1) == b""
        assert wire.chunks == 4, "each line is written by itself"
    # Who reads too slowly gets two at once, but never a part of one.
    assert b"".join(reads) == b"CONNECT app01.ssh:22 HTTP/1.0\r\nA: b\r\n\r\nSSH-2.0-x\r\n"
    assert all(read.endswith(b"\r\n") for read in reads)


def test_the_end_of_one_direction_leaves_the_other_open_and_all_bytes_arrive() -> None:
    payload = os.urandom(3_000_000)

    def serve(conn: socket.socket) -> None:
        received = b""
        while chunk := conn.recv(65536):
            received += chunk
        conn.sendall(received[::-1])

    with far_end(serve) as far, delaying(far) as wire, near_end(wire.port) as near:
        near.sendall(payload)
        near.shutdown(socket.SHUT_WR)
        back = b""
        while chunk := near.recv(65536):
            back += chunk
    assert back == payload[::-1]


def test_what_is_sent_arrives_no_sooner_than_the_delay() -> None:
    def serve(conn: socket.socket) -> None:
        conn.sendall(conn.recv(1))
        conn.recv(1)

    with far_end(serve) as far, delaying(far) as wire, near_end(wire.port) as near:
        began = time.monotonic()
        near.sendall(b"x")
        assert near.recv(1) == b"x"
        assert time.monotonic() - began > 1.9 * DELAY_S
