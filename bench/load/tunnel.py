"""Tunnels through a door, for any peer behind it."""

import contextlib
import itertools
import socket

from peers import Door

TIMEOUT_S = 30.0
_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: choose the port at connect()
_sources = itertools.cycle([f"127.0.1.{last}" for last in range(1, 17)])


class LoadError(Exception):
    """A peer did not do what it should; the message says what it did instead."""


def connect(door: Door) -> socket.socket:
    """Connect to a door and return the socket. Raises LoadError.

    Source addresses take turns, so that no pair of addresses runs out of ports.
    """
    sock = socket.socket()
    sock.settimeout(TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        sock.bind((next(_sources), 0))
        sock.connect(door.address)
    except OSError as error:
        sock.close()
        raise LoadError(f"cannot connect to {door.address}: {error}") from None
    return sock


def open_tunnel(door: Door) -> socket.socket:
    """Open a tunnel and return its blocking socket, ready for a greeting. Raises LoadError."""
    sock = connect(door)
    with contextlib.ExitStack() as stack:
        stack.callback(sock.close)
        if door.request:
            sock.sendall(door.request)
            head = b""
            while b"\r\n\r\n" not in head:
                read = sock.recv(4096)
                if not read:
                    raise LoadError(f"hung up after {head!r}")
                head += read
            check_answer(head)
        stack.pop_all()
    return sock


def expect_mark(sock: socket.socket) -> None:
    """Read the byte by which the upstream says that it is ready. Raises LoadError."""
    try:
        read = sock.recv(1)
    except OSError as error:
        raise LoadError(f"no answer from the upstream: {error}") from None
    if read != b"!":
        raise LoadError(f"the upstream answered {read!r}")


def check_answer(head: bytes) -> None:
    """Check that `head` is a 2xx answer. Raises LoadError."""
    words = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(words) < 2 or not words[1].startswith(b"2"):
        raise LoadError(f"answered {head[:200].decode(errors='replace')!r}")
