"""A TCP connection that never blocks, and the wait until it can go on."""

from __future__ import annotations

import errno
import os
import select
import time

from stagedoor.laptop.tunnel.errors import NO_ANSWER, TunnelError, clean, show

TYPE_CHECKING = False  # in place of that of `typing`, whose import costs 4 ms
if TYPE_CHECKING:
    import socket as socket
    from collections.abc import Callable
    from typing import TypeVar

    Result = TypeVar("Result")
    Watch = Callable[[socket.socket | None], None]
    """Called once a second of a wait, with the socket that is waited for. It raises to end the wait."""
else:
    try:
        import _socket as socket  # the C part of `socket` is enough here, and loads 8 ms faster
    except ImportError:
        import socket

CHUNK = 64 * 1024
CONNECT_TIMEOUT_S = 10.0  # TCP and TLS, each
STEP_S = 1.0  # of a wait: what is shown changes once a second
STEP_SHOWN = 60  # characters of a step that fit beside the rest in a terminal's line


class TcpWire:
    """A TCP connection to a proxy. Each call does what is possible now, or raises BlockingIOError."""

    is_tls = False

    def __init__(self, sock: socket.socket, name: str, watch: Watch | None = None) -> None:
        self.sock = sock
        self.name = name
        self.watch = watch
        self.read_fd = self.write_fd = sock.fileno()
        self.awaited = ""  # the target that a person is waiting for
        self.asks_reason = False  # whether a person can be asked why they want access
        self.step = ""  # the last step of a start that the gateway reported
        self.is_resumable = False  # whether frames follow (`stagedoor.wire.tunnel`)
        self.session = ""  # the gateway's id of the tunnel, by which an administrator finds it

    def peek(self, limit: int) -> bytes:
        """Return received bytes and leave them in place."""
        return self.sock.recv(limit, socket.MSG_PEEK)

    def recv(self, limit: int) -> bytes:
        """Return received bytes; none at the end."""
        return self.sock.recv(limit)

    def recv_into(self, buffer: memoryview) -> int:
        """Receive bytes into `buffer`; return their number, 0 at the end."""
        return self.sock.recv_into(buffer)

    def send(self, view: memoryview) -> int:
        """Send bytes; return how many were taken."""
        return self.sock.send(view)

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def end(self) -> None:
        """End the sending direction."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # reset already: the error of `recv` is clearer
                raise


def wait_until_ready(fd: int, event: int, wait_s: float) -> bool:
    """Wait up to `wait_s` seconds for `event`, an error or a hang-up; return True if it came."""
    poller = select.poll()
    poller.register(fd, event)
    return bool(poller.poll(max(0.0, wait_s) * 1000))


def settle(wire: TcpWire, call: Callable[[], Result], event: int, deadline: float) -> Result:
    """Repeat `call` until it does not block. Raises TunnelError (NO_ANSWER) at the deadline.

    On a terminal, the awaited target is shown after a second, and erased at the end.
    """
    start = time.monotonic()
    is_shown = False
    try:
        while True:
            try:
                return call()
            except BlockingIOError:
                now = time.monotonic()
            if now >= deadline:
                raise TunnelError(NO_ANSWER, f"{wire.name} gave no answer in time")
            if wire.watch is not None:
                wire.watch(wire.sock)
            may_show = wire.awaited and os.isatty(2)
            step_s = min(STEP_S, deadline - now)
            if not wait_until_ready(wire.read_fd, event, step_s) and may_show:
                waited_s = time.monotonic() - start
                step = f" ({wire.step[:STEP_SHOWN]})" if wire.step else ""
                line = f"stagedoor: waiting for {clean(wire.awaited)}{step}, {waited_s:.0f} s"
                is_shown = show(f"\r{line}\x1b[K")
    finally:
        if is_shown:
            show("\r\x1b[K")
