"""The relay of the tunnel's bytes between ssh and the gateway.

`relay` connects a `TcpWire`, the end towards the gateway, to a `Local`, the end towards ssh. `carry` copies
one direction, and `pump` runs both until they end. Only its poll blocks.
"""

from __future__ import annotations

import os
import select
import time

from stagedoor.laptop.tunnel.errors import LOST, NO_SHELL, OK, REASON_LIMIT, TunnelError, clean
from stagedoor.laptop.tunnel.wire import CHUNK, TcpWire, socket, wait_until_ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PREFACE_LIMIT = 2048  # bytes: room for a refusal in place of SSH, with the gateway's explanation
EXPLANATION_PREFIX = b"stagedoor: "
GONE_TIMEOUT_S = 10.0  # to send the remaining data after ssh has exited


class LocalClosedError(Exception):
    """ssh no longer reads its end."""


class Local:
    """The end towards ssh: two pipes, or one socket for both directions.

    `preface` has the first bytes that came through the tunnel, slightly more than `PREFACE_LIMIT` at most.
    """

    def __init__(self, read_fd: int, write_fd: int) -> None:
        import stat

        self.read_fd, self.write_fd = read_fd, write_fd
        self.preface = b""
        self.nonblocking_fds: list[int] = []
        modes = {fd: os.fstat(fd).st_mode for fd in (read_fd, write_fd)}
        self.is_socket = stat.S_ISSOCK(modes[write_fd])
        for fd, mode in modes.items():
            # Keep a terminal's flags, which the user's shell shares.
            if (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)) and os.get_blocking(fd):
                os.set_blocking(fd, False)
                self.nonblocking_fds.append(fd)
        self.is_blocking = os.get_blocking(read_fd)

    def restore_blocking(self) -> None:
        """Make the descriptors blocking again."""
        for fd in self.nonblocking_fds:
            os.set_blocking(fd, True)

    def recv(self, limit: int) -> bytes:
        """Return bytes from ssh, or b"" at the end."""
        if self.is_blocking and not wait_until_ready(self.read_fd, select.POLLIN, 0.0):
            raise BlockingIOError
        try:
            return os.read(self.read_fd, limit)
        except BlockingIOError:
            raise
        except OSError:
            return b""

    def send(self, view: memoryview) -> int:
        """Send bytes to ssh, and return the number that it took. Raises LocalClosedError."""
        try:
            count = os.write(self.write_fd, view)
        except BlockingIOError:
            raise
        except OSError:
            raise LocalClosedError from None
        if len(self.preface) <= PREFACE_LIMIT:
            self.preface += bytes(view[: min(count, PREFACE_LIMIT + 1)])
        return count

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def end(self) -> None:
        """End the direction towards ssh. Raises LocalClosedError."""
        if self.is_socket:
            try:
                sock = socket.socket(fileno=os.dup(self.write_fd))
                sock.shutdown(socket.SHUT_WR)
                sock.close()
            except OSError:
                raise LocalClosedError from None
        else:
            # Replace it instead of closing it, so that no other file gets the same number.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.write_fd)
            os.close(null)

    def is_gone(self) -> bool:
        """Return True if ssh no longer reads."""
        return wait_until_ready(self.write_fd, 0, 0.0)


def carry(source: TcpWire | Local, sink: TcpWire | Local) -> Iterator[tuple[int, int] | None]:
    """Copy the bytes of one direction, then its end. Yield (fd, event) to wait for that event.

    Yield None after each chunk, so that a fast direction does not starve the other.
    """
    while True:
        try:
            data = source.recv(CHUNK)
        except BlockingIOError:
            yield source.read_fd, select.POLLIN
            continue
        view = memoryview(data)
        while True:
            try:
                if view:
                    view = view[sink.send(view) :]
                elif data:
                    sink.flush()
                    break
                else:
                    sink.end()
                    return
            except BlockingIOError:
                yield sink.write_fd, select.POLLOUT
        yield None


def pump(wire: TcpWire, local: Local) -> None:
    """Copy both directions until both have ended. Raises OSError if the gateway is lost."""
    upward, downward = carry(local, wire), carry(wire, local)
    live = [upward, downward]
    deadline = None  # set when ssh has exited
    try:
        while live:
            waits: dict[int, int] = {}
            has_progress = False
            for flow in list(live):
                try:
                    wait = next(flow)
                except (StopIteration, LocalClosedError):
                    live.remove(flow)
                    wait = None
                if wait is None:
                    has_progress = True
                else:
                    fd, event = wait
                    waits[fd] = waits.get(fd, 0) | event
            if has_progress:
                continue
            if downward in live:
                waits.setdefault(local.write_fd, 0)  # to detect that ssh has exited
            poller = select.poll()
            for fd, event in waits.items():
                poller.register(fd, event)
            wait_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            events = poller.poll(None if wait_s is None else wait_s * 1000)
            if not events:
                return
            if downward in live and local.is_gone():
                live.remove(downward)
                deadline = time.monotonic() + GONE_TIMEOUT_S
    except OSError:
        if not local.is_gone():
            raise


def relay(wire: TcpWire, local: Local) -> int:
    """Relay between the gateway and ssh until both end, and return the exit code. Raises TunnelError."""
    start = time.monotonic()
    lost = None
    try:
        pump(wire, local)
    except OSError as error:
        lost = error
    finally:
        local.restore_blocking()
    check_preface(wire.shown_target, local.preface)
    if lost is not None:
        after_s = time.monotonic() - start
        reason = lost.strerror or str(lost)
        session = f" (session {wire.session})" if wire.session else ""
        line = f"the connection to {wire.name} was lost after {after_s:.0f} s: {reason}{session}"
        raise TunnelError(LOST, line)
    return OK


def check_preface(target: str, preface: bytes) -> None:
    """Raise TunnelError if the target's SSH server sent a refusal in place of SSH."""
    reason = parse_refusal(preface)
    if reason:
        raise TunnelError(NO_SHELL, f"{clean(target)} refuses all logins: {reason}")


def parse_refusal(preface: bytes) -> str:
    """Return the reason if the SSH server sent one line in place of SSH (RFC 4253 §4.2), else "".

    The gateway may add a second line, which explains the refusal.
    """
    if preface.startswith(b"SSH-") or len(preface) > PREFACE_LIMIT:
        return ""
    lines = preface.split(b"\n")
    if len(lines) > 2 and lines[1].startswith(EXPLANATION_PREFIX):
        return clean(lines[1][len(EXPLANATION_PREFIX) :].decode("utf-8", "replace"), REASON_LIMIT)
    if len(lines) == 2 and not lines[1]:
        return f"its SSH server said {clean(lines[0].decode('utf-8', 'replace'))!r} and hung up"
    return ""
