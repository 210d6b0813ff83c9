"""Clients of resumable tunnels in this process: they open, lose their connections, and return all at once."""

import os
import socket
import threading
import time
from collections.abc import Sequence

from load.greeting import ECHO, greet
from load.tunnel import TIMEOUT_S, LoadError, check_answer, connect
from peers import Door
from stagedoor.wire.tunnel.stream import TunnelStream

_AT_ONCE = 32
"""Threads in which clients return. More would only wait for the gateway's one core."""
_CHUNK = 64 * 1024


class Resumable:
    """One client's end of a resumable tunnel."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._key = os.urandom(16).hex()
        self._attempt = 0
        self._stream = TunnelStream(watches=True)
        self._sock: socket.socket | None = None

    def connect(self) -> None:
        """Open the session, or return to it. Raises LoadError."""
        sock = self._sock = connect(self._door)
        field = f"Stagedoor-Resume: 1 {self._key} {self._attempt}\r\n\r\n".encode()
        sock.sendall(self._door.request.removesuffix(b"\r\n") + field)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            read = sock.recv(1)  # what follows is frames
            if not read:
                raise LoadError(f"hung up after {head!r}")
            head += read
        check_answer(head)
        if b"\r\nstagedoor-resume: 1\r\n" not in head.lower():
            raise LoadError("the tunnel does not resume")
        self._attempt += 1
        self._stream.connect(time.monotonic())

    def cut(self) -> None:
        """Close the connection without a word."""
        assert self._sock is not None, "it is connected"
        self._sock.close()
        self._stream.cut()

    def say(self, data: bytes, wanted: bytes) -> None:
        """Send bytes and wait for those of the answer. Raises LoadError."""
        assert self._sock is not None, "it is connected"
        stream = self._stream
        stream.take(data)
        until = time.monotonic() + TIMEOUT_S
        while (now := time.monotonic()) < until:
            while output := stream.peek_output(now):
                self._sock.sendall(output)
                stream.note_sent(len(output))
            if bytes(stream.deliverable).startswith(wanted):
                stream.note_delivered(len(wanted), now)
                return
            read = self._sock.recv(_CHUNK)
            if not read:
                raise LoadError("hung up before the answer")
            stream.receive(read, now)
        raise LoadError(f"no answer within {TIMEOUT_S:.0f} s")


def opened(door: Door, count: int) -> list[Resumable]:
    """Open `count` sessions with an upstream that echoes. Raises LoadError."""
    clients = [Resumable(door) for _ in range(count)]
    for client in clients:
        client.connect()
        client.say(greet(ECHO), b"!")
    return clients


def back_at_once_s(clients: Sequence[Resumable]) -> float:
    """Cut all connections, and return the seconds until each client is back and has its echo.

    Raises LoadError.
    """
    for client in clients:
        client.cut()
    waiting, faults = list(clients), []
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                client = waiting.pop()
            try:
                client.connect()
                client.say(b"k", b"k")
            except (LoadError, OSError) as error:
                faults.append(error)

    threads = [threading.Thread(target=work) for _ in range(min(_AT_ONCE, len(clients)))]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise LoadError(f"{len(faults)} of {len(clients)} clients did not come back: {faults[0]}")
    return time.perf_counter() - begin
