"""A tunnel that survives lost connections, without ssh noticing.

`ResumableTunnel` connects ssh's end to a `wire.tunnel.stream.TunnelStream`, and the stream to one connection
after another.
"""

from __future__ import annotations

import os
import select
import signal
import time

from stagedoor.laptop.tunnel.enter import LONGEST_RETRY_S, open_tunnel
from stagedoor.laptop.tunnel.errors import (
    BUSY,
    LOST,
    NO_ANSWER,
    NOT_PROXY,
    OK,
    START_TIMEOUT,
    TLS,
    UNREACHABLE,
    VIA,
    TunnelError,
    clean,
    show,
)
from stagedoor.laptop.tunnel.relay import GONE_TIMEOUT_S, LocalClosedError, check_preface
from stagedoor.laptop.tunnel.route import RouteWatch, has_moved
from stagedoor.wire.tunnel.frames import StreamError
from stagedoor.wire.tunnel.stream import TunnelStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stagedoor.laptop.tunnel.enter import TunnelKey
    from stagedoor.laptop.tunnel.options import Options
    from stagedoor.laptop.tunnel.relay import Local
    from stagedoor.laptop.tunnel.wire import TcpWire, socket

READ_BYTES = 256 * 1024
PIPE_BYTES = 64 * 1024  # the capacity of a pipe
PIPES_IN_TURN = 4  # pipes of input from ssh to read before the network's turn
GIVE_UP_S = 8 * 3600.0  # the default of a gateway, which reports its own limit
FIRST_PAUSE_S = 0.1
SOON_PAUSE_S, SOON_S = 1.0, 60.0  # the longest pause between two attempts, in the first minute
LONGEST_PAUSE_S = 5.0  # and later
CHECK_S = 1.0  # the longest poll: after a sleep of the laptop, poll(2) waits for its remaining time
SLEEP_THRESHOLD_S = 2.0
STOP_THRESHOLD_S = 10.0
"""The process was stopped, or slept on a system whose clock does not show it."""
TEMPORARY = (UNREACHABLE, TLS, NOT_PROXY, NO_ANSWER, BUSY, START_TIMEOUT, VIA)
"""The errors that a change of network may cause: a hotel's login page, for example, is not an HTTP proxy."""


class ConnectionLostError(Exception):
    """The connection is lost, and the tunnel has to reconnect."""


def read_clock() -> float:
    """Return seconds of a clock that includes the laptop's sleep, if the system has one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class ResumableTunnel:
    """A tunnel between ssh and its endpoint, over any number of connections."""

    def __init__(self, options: Options, key: TunnelKey, local: Local) -> None:
        self.options = options
        self.key = key
        self.local = local
        self.stream = TunnelStream(watches=True)
        self.may_read = True
        """True if ssh may have sent bytes since the last read."""
        self.ssh_ended_at: float | None = None
        """When ssh exited or stopped reading, by `read_clock`; None while it reads."""
        self.signal_fd = -1
        """Readable after a signal."""
        self.routes = RouteWatch()
        self.buffer = memoryview(bytearray(READ_BYTES))
        self.title = WindowTitle(options.host)
        self.lost_at = 0.0
        """When the connection was lost, by `read_clock`."""
        self.slept_s = 0.0
        """The seconds that the laptop had slept before the last attempt to reconnect."""
        self.had_ssh_ended = False
        """True if ssh was gone before the last attempt to reconnect."""

    def run(self, wire: TcpWire) -> int:
        """Carry the tunnel until it ends, and return the exit code. `wire` is its first connection.

        Raises TunnelError.
        """
        target = wire.shown_target
        self.listen_for_hangup()
        try:
            while True:
                try:
                    self.carry(wire)
                    break
                except ConnectionLostError:
                    wire.sock.close()
                    if self.stream.is_finished:
                        break
                    new_wire = self.reconnect()
                    if new_wire is None:
                        break
                    wire = new_wire
                    self.title.restore()
        finally:
            self.title.restore()
            self.local.restore_blocking()
            self.routes.stop()
        check_preface(target, self.local.preface)
        if self.stream.ended is not None and self.stream.ended[0]:
            raise TunnelError(
                LOST, f"the session in {clean(target)} has ended: {clean(self.stream.ended[1])}"
            )
        return OK

    def listen_for_hangup(self) -> None:
        """End the session cleanly at a signal: SIGHUP from ssh when it exits, or Ctrl-C, which also ends ssh.

        sftp has ssh ignore SIGINT, since Ctrl-C only cancels a transfer there.
        """
        self.signal_fd, write_fd = os.pipe()
        os.set_blocking(write_fd, False)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            if number != signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self.hang_up)

    def hang_up(self, *_: object) -> None:
        """Record that ssh is gone. The tunnel sends the remaining bytes, and ends."""
        self.ssh_ended_at = read_clock() if self.ssh_ended_at is None else self.ssh_ended_at

    def reconnect(self) -> TcpWire | None:
        """Reconnect the tunnel, and return the new connection. Raises TunnelError if that is impossible.

        If ssh is gone, the new connection only has to report that. Return None if there is none within
        `GONE_TIMEOUT_S`.
        """
        self.lost_at = lost_at = read_clock()
        self.key.watch = self.watch
        pause_s = 0.0
        while True:
            if pause_s and self.pause(pause_s):
                pause_s = 0.0
            if self.ssh_ended_at is not None and read_clock() > self.ssh_ended_at + GONE_TIMEOUT_S:
                return None
            retry_s = 0.0
            self.slept_s = read_clock() - time.monotonic()
            self.had_ssh_ended = self.ssh_ended_at is not None
            try:
                self.key.attempt += 1
                wire = open_tunnel(self.options, self.key)
                if wire.is_resumable:
                    return wire
                wire.sock.close()  # an older gateway has opened a new session
                raise TunnelError(LOST, f"{wire.name} cannot resume the session; it is too old")
            except TunnelError as error:
                if error.code not in TEMPORARY or read_clock() - lost_at > GIVE_UP_S:
                    raise
                retry_s = min(error.retry_s, LONGEST_RETRY_S)
            except ConnectionLostError:
                pause_s = 0.0
            jitter = 0.75 + os.urandom(1)[0] / 512
            longest_s = SOON_PAUSE_S if read_clock() - lost_at < SOON_S else LONGEST_PAUSE_S
            pause_s = retry_s + min(max(pause_s * 2, FIRST_PAUSE_S), longest_s) * jitter

    def watch(self, sock: socket.socket | None) -> None:
        """Show how long the connection has been lost. Call this each second while waiting for `sock`.

        Raises ConnectionLostError if `sock` can receive no answer any more. Also raises it when ssh exits, so
        that another connection reports that, and when the time for that report is over.
        """
        now = read_clock()
        self.title.show(now - self.lost_at)
        if self.ssh_ended_at is None and self.local.is_gone():
            self.hang_up()
        if self.ssh_ended_at is not None and not (
            self.had_ssh_ended and now <= self.ssh_ended_at + GONE_TIMEOUT_S
        ):
            raise ConnectionLostError("ssh has ended")
        if now - time.monotonic() - self.slept_s > SLEEP_THRESHOLD_S:
            raise ConnectionLostError("the laptop has slept")
        if sock is not None and self.routes.take_changes() and has_moved(sock):
            raise ConnectionLostError("the network has changed")

    def pause(self, wait_s: float) -> bool:
        """Wait for `wait_s`, until the network changes, or until ssh exits. Return True for a change."""
        poller = select.poll()
        if self.routes.fd >= 0:
            poller.register(self.routes.fd, select.POLLIN)
        if self.ssh_ended_at is None:
            poller.register(self.local.write_fd, 0)
            poller.register(self.signal_fd, select.POLLIN)
        ready: set[int] = set()
        while wait_s > 0 and not ready:
            self.title.show(read_clock() - self.lost_at)
            ready = {fd for fd, _event in poller.poll(min(CHECK_S, wait_s) * 1000)}
            wait_s -= CHECK_S
        if ready - {self.routes.fd}:
            self.hang_up()
        if self.routes.fd not in ready:
            return False
        time.sleep(FIRST_PAUSE_S)  # changes come in groups
        return self.routes.take_changes()

    def carry(self, wire: TcpWire) -> None:
        """Carry the tunnel over one connection, until the tunnel ends. Raises ConnectionLostError."""
        stream = self.stream
        now = read_clock()
        slept_s = now - time.monotonic()
        stream.connect(now)
        has_route_change = True
        while True:
            before, now = now, read_clock()
            if (
                now - time.monotonic() - slept_s > SLEEP_THRESHOLD_S
                or now - before > STOP_THRESHOLD_S
            ):
                raise ConnectionLostError("the laptop has slept")
            if has_route_change and self.routes.take_changes() and has_moved(wire.sock):
                raise ConnectionLostError("the network has changed")
            self.move_bytes(now)
            has_route_change = False
            try:
                waits = self.exchange(wire, now)
            except OSError as error:
                raise ConnectionLostError(error.strerror or str(error)) from None
            except StreamError as error:
                raise ConnectionLostError(str(error)) from None
            if stream.ended is not None or stream.has_sent_end:
                self.move_bytes(now)
                return
            if stream.is_dead(now):
                raise ConnectionLostError("no answer")
            if waits:
                has_route_change = self.wait(wire, waits, now)

    def move_bytes(self, now: float) -> None:
        """Move bytes between ssh and the stream."""
        stream, local = self.stream, self.local
        try:
            for _ in range(PIPES_IN_TURN):
                limit = min(PIPE_BYTES, stream.room)
                if not (limit and self.may_read):
                    break
                data = local.recv(limit)
                self.may_read = len(data) == limit
                if data:
                    stream.take(data)
                else:
                    stream.take_end()
        except BlockingIOError:
            self.may_read = False
        try:
            while self.ssh_ended_at is None:
                ready = stream.deliverable
                if not ready:
                    break
                count = local.send(ready)
                stream.note_delivered(count, now)
                if count < len(ready):
                    break
            if stream.end_is_deliverable:
                local.end()
                stream.note_delivered_end(now)
        except BlockingIOError:
            pass
        except LocalClosedError:
            self.hang_up()
        if self.ssh_ended_at is not None and (
            not stream.unacknowledged or now > self.ssh_ended_at + GONE_TIMEOUT_S
        ):
            stream.end(0)

    def exchange(self, wire: TcpWire, now: float) -> int:
        """Send and receive as much as possible. Return the events to wait for, 0 if more may be readable.

        Raises OSError, StreamError, ConnectionLostError.
        """
        stream, waits = self.stream, select.POLLIN
        try:
            while True:
                wire.flush()
                output = stream.peek_output(now)
                if not output:
                    break
                length = len(output)
                with memoryview(output) as ready:
                    count = wire.send(ready)
                stream.note_sent(count)
                if count < length:
                    raise BlockingIOError
        except BlockingIOError:
            waits |= select.POLLOUT
        try:
            count = wire.recv_into(self.buffer)
        except BlockingIOError:
            return waits
        if not count:
            raise ConnectionLostError("the gateway hung up")
        stream.receive(self.buffer[:count], now)
        return waits if count < READ_BYTES and not wire.is_tls else 0

    def wait(self, wire: TcpWire, waits: int, now: float) -> bool:
        """Wait until bytes can move or the stream is due. Return True if routes may have changed."""
        stream, local = self.stream, self.local
        wake_at = stream.wake_at()
        wait_s = CHECK_S if wake_at is None else min(CHECK_S, max(0.0, wake_at - now))
        poller = select.poll()
        poller.register(wire.read_fd, waits)
        if self.routes.fd >= 0:
            poller.register(self.routes.fd, select.POLLIN)
        events = {local.read_fd: select.POLLIN if stream.room else 0}
        if self.ssh_ended_at is None:
            poller.register(self.signal_fd, select.POLLIN)
            output = select.POLLOUT if stream.deliverable else 0
            events[local.write_fd] = events.get(local.write_fd, 0) | output
        for fd, event in events.items():
            if event or fd == local.write_fd:
                poller.register(fd, event)
        ready = dict(poller.poll(wait_s * 1000))
        if ready.get(local.write_fd, 0) & (select.POLLERR | select.POLLHUP):
            self.hang_up()
        self.may_read = self.may_read or local.read_fd in ready
        return self.routes.fd in ready


class WindowTitle:
    """The window's title while the connection is lost. The screen itself is left alone."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.is_shown = False

    def show(self, lost_s: float) -> None:
        """Show how long the connection has been lost."""
        if os.isatty(2):
            if not self.is_shown:
                show("\x1b[22;2t")  # xterm: push the window's title
            self.is_shown = True
            show(f"\x1b]2;{clean(self.host)}: reconnecting {lost_s:.0f} s\x07")

    def restore(self) -> None:
        """Restore the title."""
        if self.is_shown:
            self.is_shown = False
            show("\x1b[23;2t")
