"""A non-blocking TCP connection, and the waits for it."""

from __future__ import annotations

import errno
import os
import select
import time

from stagedoor.laptop.tunnel.errors import NO_ANSWER, TunnelError, clean, show

TYPE_CHECKING = False  # not from `typing`, whose import takes 4 ms
if TYPE_CHECKING:
    import socket as socket
    from collections.abc import Callable
    from typing import TypeVar

    Result = TypeVar("Result")
    Watch = Callable[[socket.socket | None], None]
    """Called once a second during a wait, with the socket to wait for. An exception ends the wait."""
else:
    try:
        import _socket as socket  # the C module is enough here, and loads 8 ms faster
    except ImportError:
        import socket

CHUNK = 64 * 1024
CONNECT_TIMEOUT_S = 10.0  # TCP and TLS, each
STEP_S = 1.0  # the interval at which a wait updates the terminal's line
STEP_CHARS = 60  # the part of a step that fits into the line


class TcpWire:
    """A TCP connection to a proxy. Each call does as much as possible, or raises BlockingIOError."""

    is_tls = False

    def __init__(self, sock: socket.socket, name: str, watch: Watch | None = None) -> None:
        self.sock = sock
        self.name = name
        self.watch = watch
        self.read_fd = self.write_fd = sock.fileno()
        self.shown_target = ""  # shown during waits; "" for a corporate proxy and a reconnect
        self.may_ask_reason = False  # whether the developer can be asked for a reason for access
        self.step = ""  # the last step of a start that the gateway reported
        self.is_resumable = False  # whether it carries frames (`stagedoor.wire.tunnel`)
        self.session = ""  # the gateway's id of the session, for administrators

    def peek(self, limit: int) -> bytes:
        """Return received bytes without removing them."""
        return self.sock.recv(limit, socket.MSG_PEEK)

    def recv(self, limit: int) -> bytes:
        """Return received bytes, or b"" at the end."""
        return self.sock.recv(limit)

    def recv_into(self, buffer: memoryview) -> int:
        """Receive bytes into `buffer`, and return their number, 0 at the end."""
        return self.sock.recv_into(buffer)

    def send(self, view: memoryview) -> int:
        """Send bytes, and return the number taken."""
        return self.sock.send(view)

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def end(self) -> None:
        """End the sending direction."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # it was reset, and `recv` will raise a clearer error
                raise


def wait_until_ready(fd: int, event: int, wait_s: float) -> bool:
    """Wait up to `wait_s` seconds for `event`, an error or a hang-up. Return True if one occurred."""
    poller = select.poll()
    poller.register(fd, event)
    return bool(poller.poll(max(0.0, wait_s) * 1000))


def wait_for(wire: TcpWire, call: Callable[[], Result], event: int, deadline: float) -> Result:
    """Wait until `call` does not block, and return its result. Raises TunnelError at `deadline`.

    On a terminal, a line shows the wire's `shown_target` from the first second until the end.
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
            may_show = wire.shown_target and os.isatty(2)
            step_s = min(STEP_S, deadline - now)
            if not wait_until_ready(wire.read_fd, event, step_s) and may_show:
                waited_s = time.monotonic() - start
                step = f" ({wire.step[:STEP_CHARS]})" if wire.step else ""
                line = f"stagedoor: waiting for {clean(wire.shown_target)}{step}, {waited_s:.0f} s"
                is_shown = show(f"\r{line}\x1b[K")
    finally:
        if is_shown:
            show("\r\x1b[K")
