"""The relay between ssh and the gateway, the one place where the tunnel's bytes flow.

`relay` joins a `TcpWire`, the end towards the gateway, and `Local`, the end towards ssh. `carry` copies one
direction, and `pump` runs both until they have ended. Only its poll blocks.
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

HEARD = 2048  # bytes: a refusal in place of SSH, with the gateway's explanation
EXPLAINED = b"stagedoor: "  # the beginning of the gateway's explanation of such a refusal
GONE_TIMEOUT_S = 10.0  # to send the remaining data once ssh has exited


class LocalClosedError(Exception):
    """ssh no longer reads."""


class Local:
    """The end towards ssh: two pipes, or one socket for both directions.

    `heard` is the first bytes that came through the tunnel, a little more than `HEARD` at most.
    """

    def __init__(self, read_fd: int, write_fd: int) -> None:
        import stat

        self.read_fd, self.write_fd = read_fd, write_fd
        self.heard = b""
        self.restore: list[int] = []
        kinds = {fd: os.fstat(fd).st_mode for fd in (read_fd, write_fd)}
        self.is_socket = stat.S_ISSOCK(kinds[write_fd])
        for fd, mode in kinds.items():
            # A terminal's flags are shared with the person's shell, so they are not changed.
            if (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)) and os.get_blocking(fd):
                os.set_blocking(fd, False)
                self.restore.append(fd)
        self.blocks = os.get_blocking(read_fd)

    def close(self) -> None:
        """Restore the descriptors' blocking mode."""
        for fd in self.restore:
            os.set_blocking(fd, True)

    def recv(self, limit: int) -> bytes:
        """Return bytes from ssh; none at the end."""
        if self.blocks and not wait_until_ready(self.read_fd, select.POLLIN, 0.0):
            raise BlockingIOError
        try:
            return os.read(self.read_fd, limit)
        except BlockingIOError:
            raise
        except OSError:
            return b""

    def send(self, view: memoryview) -> int:
        """Send bytes to ssh; return how many were taken. Raises LocalClosedError."""
        try:
            count = os.write(self.write_fd, view)
        except BlockingIOError:
            raise
        except OSError:
            raise LocalClosedError from None
        if len(self.heard) <= HEARD:
            self.heard += bytes(view[: min(count, HEARD + 1)])
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
            # Not closed, or another file could get the same descriptor.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.write_fd)
            os.close(null)

    def is_gone(self) -> bool:
        """Return True if ssh no longer reads."""
        return wait_until_ready(self.write_fd, 0, 0.0)


def carry(source: TcpWire | Local, sink: TcpWire | Local) -> Iterator[tuple[int, int] | None]:
    """Copy one direction's bytes, then its end. Yield each (fd, event) that it has to wait for.

    Yields None after each chunk, so that a fast direction never starves the other.
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
    deadline = None  # set once ssh has exited
    try:
        while live:
            waits: dict[int, int] = {}
            moved = False
            for flow in list(live):
                try:
                    wish = next(flow)
                except (StopIteration, LocalClosedError):
                    live.remove(flow)
                    wish = None
                if wish is None:
                    moved = True
                else:
                    waits[wish[0]] = waits.get(wish[0], 0) | wish[1]
            if moved:
                continue
            if downward in live:
                waits.setdefault(local.write_fd, 0)  # to notice that ssh has exited
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
    """Relay between the gateway and ssh to the end; return the exit code. Raises TunnelError."""
    start = time.monotonic()
    lost = None
    try:
        pump(wire, local)
    except OSError as error:
        lost = error
    finally:
        local.close()
    check_preface(wire.awaited, local.heard)
    if lost is not None:
        after_s = time.monotonic() - start
        reason = lost.strerror or str(lost)
        session = f" (session {wire.session})" if wire.session else ""
        line = f"the connection to {wire.name} was lost after {after_s:.0f} s: {reason}{session}"
        raise TunnelError(LOST, line)
    return OK


def check_preface(target: str, heard: bytes) -> None:
    """Raise TunnelError if the first bytes that the client heard are a refusal by the target's SSH server."""
    refused = read_refusal(heard)
    if refused:
        raise TunnelError(NO_SHELL, f"{clean(target)} refuses all logins: {refused}")


def read_refusal(heard: bytes) -> str:
    """Return why the shell's SSH server refused, if it sent one line in place of SSH (RFC 4253 §4.2).

    Otherwise return an empty string. The gateway adds its own line, which says how to fix it.
    """
    if heard.startswith(b"SSH-") or len(heard) > HEARD:
        return ""
    lines = heard.split(b"\n")
    if len(lines) > 2 and lines[1].startswith(EXPLAINED):
        return clean(lines[1][len(EXPLAINED) :].decode("utf-8", "replace"), REASON_LIMIT)
    if len(lines) == 2 and not lines[1]:
        return f"its SSH server said {clean(lines[0].decode('utf-8', 'replace'))!r} and hung up"
    return ""
