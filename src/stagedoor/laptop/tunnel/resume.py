"""A tunnel that outlives its connections: after a cut it comes back, and ssh notices nothing.

`ResumableTunnel` joins ssh's end to a `wire.tunnel.stream.TunnelStream`, and that to one connection after
another.
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
PIPE_BYTES = 64 * 1024  # what a pipe holds
PIPES_IN_TURN = 4  # how often ssh's pipe is read before the network has its turn
GIVE_UP_S = 8 * 3600.0  # no gateway waits longer by default; it says so itself when it is asked
FIRST_PAUSE_S = 0.1
SOON_PAUSE_S, SOON_S = 1.0, 60.0  # the longest pause between two tries in the first minute,
LONGEST_PAUSE_S = 5.0  # and later
LOOK_S = 1.0  # after a sleep of the laptop, poll(2) waits for the rest of its time
SLEPT_S = 2.0
STOPPED_S = (
    10.0  # a turn that takes longer: the process was stopped, or the system has no such clock
)
TEMPORARY = (UNREACHABLE, TLS, NOT_PROXY, NO_ANSWER, BUSY, START_TIMEOUT, VIA)
"""The errors that may pass while a laptop changes its network: a hotel's page is no HTTP proxy."""


class ConnectionLostError(Exception):
    """The connection is lost, and the tunnel goes on."""


def read_clock() -> float:
    """Return seconds that also count while the laptop sleeps, where the system has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class ResumableTunnel:
    """A tunnel between ssh and its endpoint, over any number of connections."""

    def __init__(self, options: Options, key: TunnelKey, local: Local) -> None:
        self.options = options
        self.key = key
        self.local = local
        self.stream = TunnelStream(watches=True)
        self.may_read = True
        """Whether ssh may have sent something since it was read last."""
        self.gone_at: float | None = None
        """Since when ssh has not read any more or has hung up, or None."""
        self.woken_fd = -1
        """Becomes readable at a signal."""
        self.routes = RouteWatch()
        self.buffer = memoryview(bytearray(READ_BYTES))
        self.title = Title(options.host)
        self.away_since = self.asleep = 0.0
        self.was_gone = False
        """By `read_clock`, since when there is no connection. At the last try to return: how long the laptop
        had slept, and whether ssh was gone."""

    def run(self, wire: TcpWire) -> int:
        """Carry the tunnel to its end, from its first connection on. Return the exit code.

        Raises TunnelError.
        """
        name = wire.awaited
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
                    again = self.retry()
                    if again is None:
                        break
                    wire = again
                    self.title.restore()
        finally:
            self.title.restore()
            self.local.close()
            self.routes.stop()
        check_preface(name, self.local.heard)
        if self.stream.ended is not None and self.stream.ended[0]:
            raise TunnelError(
                LOST, f"the session in {clean(name)} has ended: {clean(self.stream.ended[1])}"
            )
        return OK

    def listen_for_hangup(self) -> None:
        """End the session in order at SIGHUP, which ssh sends to its ProxyCommand as it exits."""
        self.woken_fd, write_fd = os.pipe()
        os.set_blocking(write_fd, False)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        for number in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, self.hang_up)

    def hang_up(self, *_: object) -> None:
        """Record that ssh is gone: what is left is sent, and then the tunnel ends."""
        self.gone_at = read_clock() if self.gone_at is None else self.gone_at

    def retry(self) -> TcpWire | None:
        """Return a new connection of the tunnel, however long it takes.

        Once ssh has ended, the tunnel comes back only to say so, and this returns None after a moment.
        Raises TunnelError.
        """
        self.away_since = since = read_clock()
        self.key.watch = self.watch
        pause_s = 0.0
        while True:
            if pause_s and self.pause(pause_s):
                pause_s = 0.0
            if self.gone_at is not None and read_clock() > self.gone_at + GONE_TIMEOUT_S:
                return None
            retry_s = 0.0
            self.asleep, self.was_gone = read_clock() - time.monotonic(), self.gone_at is not None
            try:
                self.key.attempt += 1
                wire = open_tunnel(self.options, self.key)
                if wire.is_resumable:
                    return wire
                wire.sock.close()  # a gateway of an earlier version has opened another session
                raise TunnelError(LOST, f"{wire.name} cannot resume the session; it is too old")
            except TunnelError as error:
                if error.code not in TEMPORARY or read_clock() - since > GIVE_UP_S:
                    raise
                retry_s = min(error.retry_s, LONGEST_RETRY_S)
            except ConnectionLostError:
                pause_s = 0.0
            jitter = 0.75 + os.urandom(1)[0] / 512
            longest_s = SOON_PAUSE_S if read_clock() - since < SOON_S else LONGEST_PAUSE_S
            pause_s = retry_s + min(max(pause_s * 2, FIRST_PAUSE_S), longest_s) * jitter

    def watch(self, sock: socket.socket | None) -> None:
        """Show how long the tunnel has been away; called once a second while a return waits at `sock`.

        Raises ConnectionLostError if no answer can come there any more. It does so too once ssh has gone, so
        that another connection can still say it, and when it is too late for that.
        """
        now = read_clock()
        self.title.show(now - self.away_since)
        if self.gone_at is None and self.local.is_gone():
            self.hang_up()
        if self.gone_at is not None and not (
            self.was_gone and now <= self.gone_at + GONE_TIMEOUT_S
        ):
            raise ConnectionLostError("ssh has ended")
        if now - time.monotonic() - self.asleep > SLEPT_S:
            raise ConnectionLostError("the laptop has slept")
        if sock is not None and self.routes.take_news() and has_moved(sock):
            raise ConnectionLostError("the network has changed")

    def pause(self, wait_s: float) -> bool:
        """Wait, but no longer once the network changes or ssh does not read any more.

        Return whether the network has changed.
        """
        poller = select.poll()
        if self.routes.fd >= 0:
            poller.register(self.routes.fd, select.POLLIN)
        if self.gone_at is None:
            poller.register(self.local.write_fd, 0)
            poller.register(self.woken_fd, select.POLLIN)
        woken: set[int] = set()
        while wait_s > 0 and not woken:
            self.title.show(read_clock() - self.away_since)
            woken = {fd for fd, _event in poller.poll(min(LOOK_S, wait_s) * 1000)}
            wait_s -= LOOK_S
        if woken - {self.routes.fd}:
            self.hang_up()
        if self.routes.fd not in woken:
            return False
        time.sleep(FIRST_PAUSE_S)  # news come in groups
        return self.routes.take_news()

    def carry(self, wire: TcpWire) -> None:
        """Carry the tunnel over one connection, until it has ended. Raises ConnectionLostError."""
        stream = self.stream
        now = read_clock()
        asleep = now - time.monotonic()
        stream.connect(now)
        has_news = True
        while True:
            before, now = now, read_clock()
            if now - time.monotonic() - asleep > SLEPT_S or now - before > STOPPED_S:
                raise ConnectionLostError("the laptop has slept")
            if has_news and self.routes.take_news() and has_moved(wire.sock):
                raise ConnectionLostError("the network has changed")
            self.pass_on(now)
            has_news = False
            try:
                waits = self.exchange(wire, now)
            except OSError as error:
                raise ConnectionLostError(error.strerror or str(error)) from None
            except StreamError as error:
                raise ConnectionLostError(str(error)) from None
            if stream.ended is not None or stream.has_sent_end:
                self.pass_on(now)
                return
            if stream.is_dead(now):
                raise ConnectionLostError("no answer")
            if waits:
                has_news = self.wait(wire, waits, now)

    def pass_on(self, now: float) -> None:
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
            while self.gone_at is None:
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
        if self.gone_at is not None and (
            not stream.unacknowledged or now > self.gone_at + GONE_TIMEOUT_S
        ):
            stream.end(0)

    def exchange(self, wire: TcpWire, now: float) -> int:
        """Write and read what is possible now. Return the events to wait for, 0 if there may be more to read.

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
        """Wait until something can be moved, or is due. Return whether there is news of routes."""
        stream, local = self.stream, self.local
        wake_at = stream.wake_at()
        wait_s = LOOK_S if wake_at is None else min(LOOK_S, max(0.0, wake_at - now))
        poller = select.poll()
        poller.register(wire.read_fd, waits)
        if self.routes.fd >= 0:
            poller.register(self.routes.fd, select.POLLIN)
        events = {local.read_fd: select.POLLIN if stream.room else 0}
        if self.gone_at is None:
            poller.register(self.woken_fd, select.POLLIN)
            wanted = select.POLLOUT if stream.deliverable else 0
            events[local.write_fd] = events.get(local.write_fd, 0) | wanted
        for fd, event in events.items():
            if event or fd == local.write_fd:
                poller.register(fd, event)
        ready = dict(poller.poll(wait_s * 1000))
        if ready.get(local.write_fd, 0) & (select.POLLERR | select.POLLHUP):
            self.hang_up()
        self.may_read = self.may_read or local.read_fd in ready
        return self.routes.fd in ready


class Title:
    """The terminal's title while the connection is away. Nothing is written into the screen."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.is_shown = False

    def show(self, away_s: float) -> None:
        """Show how long the connection has been away."""
        if os.isatty(2):
            if not self.is_shown:
                show("\x1b[22;2t")  # xterm: push the window's title
            self.is_shown = True
            show(f"\x1b]2;{clean(self.host)}: reconnecting {away_s:.0f} s\x07")

    def restore(self) -> None:
        """Restore the title."""
        if self.is_shown:
            self.is_shown = False
            show("\x1b[23;2t")
