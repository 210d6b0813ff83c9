"""The relay's thread, which waits for the streams, moves their bytes, and reports how each tunnel ended."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from stagedoor.model.denial import Denial
from stagedoor.model.session import STOPPED, EndReason, SessionResult
from stagedoor.relay.limits import RelayLimits
from stagedoor.relay.poller import FAILED, HANG_UP, PEER_SHUTDOWN, READ, URGENT, WRITE, Poller
from stagedoor.relay.ports import Preface, Stream
from stagedoor.relay.pump import Pump
from stagedoor.relay.splice import Splice
from stagedoor.relay.tunnel import OnEnd, Tunnel
from stagedoor.relay.watched import WatchedTunnels

log = logging.getLogger(__name__)

_SOURCE_EVENTS = READ | URGENT | FAILED | HANG_UP | PEER_SHUTDOWN
_NEAR_END = URGENT | FAILED | HANG_UP | PEER_SHUTDOWN

_LONGEST_S = 30.0


class IdleTimeouts:
    """The search for tunnels that delivered no bytes in either direction for `timeout_s` (None: no limit).

    An idle tunnel is found at most a quarter of that, or 30 s, later. Times are monotonic seconds.
    """

    def __init__(self, timeout_s: float | None, now: float) -> None:
        self.timeout_s = timeout_s
        self._next = now

    def wait_s(self, now: float) -> float:
        """Return the seconds until the next check. Call this only if there is a timeout."""
        return max(0.0, self._next - now)

    def is_due(self, now: float) -> bool:
        """Return whether the next check is due."""
        return now >= self._next

    def mark(self, tunnel: Tunnel, now: float) -> None:
        """Restart the clock of a tunnel that is new or has moved bytes."""
        tunnel.marked = tunnel.to_upstream.moved + tunnel.to_downstream.moved
        tunnel.idle_since = now

    def find_idle(self, tunnels: Iterable[Tunnel], now: float) -> list[Tunnel]:
        """Return the idle tunnels among `tunnels`, and remember how many bytes the others have moved."""
        timeout_s = self.timeout_s
        if timeout_s is None:
            return []
        self._next = now + min(timeout_s / 4, _LONGEST_S)
        idle = []
        for tunnel in tunnels:
            if tunnel.to_upstream.moved + tunnel.to_downstream.moved != tunnel.marked:
                self.mark(tunnel, now)
            elif now - tunnel.idle_since >= timeout_s:
                idle.append(tunnel)
        return idle


class Relay:
    """One thread that relays any number of tunnels. Its methods may be called from any thread.

    The thread starts with the object, so create it after forking. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        limits: RelayLimits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        poller: Poller | None = None,
    ) -> None:
        limits = limits or RelayLimits()
        self._clock = clock
        self._poller = poller or Poller()
        self._splice = Splice(limits)
        self._idle_timeouts = IdleTimeouts(limits.idle_timeout_s, clock())
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Readable while there are requests from other threads."""
        self._requests: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        pump = Pump(limits)
        self._watched = WatchedTunnels(self._poller, self._splice, pump, self._lock, clock)
        self._closing = False
        self._stopped = False
        self._poller.add(self._bell)
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    # From any thread

    def start(
        self,
        downstream: Stream,
        upstream: Stream,
        early: bytes,
        on_end: OnEnd,
        preface: Preface | None = None,
    ) -> Tunnel:
        """Relay between the two streams until both directions have ended. The relay now owns the streams.

        `early`, the bytes that came from downstream with the request's head, go upstream first. `preface`
        inspects upstream's first bytes, and explains a refusal in them to downstream. `on_end` is called once
        in the relay's thread, after both streams are closed; it must not block. After `stop` the tunnel ends
        at once, as drained, and `on_end` is called in the caller's thread.
        """
        tunnel = Tunnel(self._ask_end, downstream, upstream, early, on_end, preface)
        self._idle_timeouts.mark(tunnel, self._clock())  # before the idle check can see it
        with self._lock:
            if not self._closing:
                self._watched.active.add(tunnel)
                request = self._watch_from_here(tunnel)
                if request is not None:
                    self._requests.append(request)
                    os.eventfd_write(self._bell, 1)
                return tunnel
        tunnel.is_over = True
        downstream.abort()
        upstream.abort()
        on_end(SessionResult(EndReason.DRAINED, detail=STOPPED))
        return tunnel

    def _watch_from_here(self, tunnel: Tunnel) -> Callable[[], None] | None:
        """Watch both streams. Return what the relay's thread has left to do, usually None.

        The thread then sleeps until bytes arrive, since waking it would be the most expensive part of a
        start. epoll(7) accepts descriptors from any thread.
        """
        try:
            self._watched.watch(tunnel)
        except OSError as error:
            return partial(self._watched.end_unwatched, tunnel, error)
        if tunnel.to_upstream.rest or not tunnel.is_spliced:
            return partial(self._watched.begin, tunnel)
        return None

    @property
    def is_alive(self) -> bool:
        """Return False once the thread has ended, because of `stop` or of a bug in Stagedoor."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End all tunnels as drained, then the thread, and wait for its end. May be called again."""
        self._ask(partial(self._stop, EndReason.DRAINED, STOPPED), last=True)
        self._thread.join()

    def _ask_end(self, tunnel: Tunnel, end: EndReason, detail: str) -> None:
        self._ask(partial(self._watched.finish, tunnel, end, detail))

    def _ask(self, request: Callable[[], None], *, last: bool = False) -> None:
        """Have the relay's thread call `request`, unless it stops."""
        with self._lock:
            if not self._closing:
                self._closing = last
                self._requests.append(request)
                os.eventfd_write(self._bell, 1)

    # In the relay's thread

    def _run(self) -> None:
        try:
            self._relay()
        except Exception:  # without this, every tunnel would hang
            log.critical("relay: its thread failed, and every tunnel ends", exc_info=True)
            with self._lock:
                self._closing = True
            self._stop(EndReason.FAULT, Denial.of_fault().message)
        self._poller.close()
        self._splice.pipes.close_free()
        with self._lock:  # another thread may be writing to it
            os.close(self._bell)

    def _relay(self) -> None:
        wait = self._poller.wait
        idle_timeouts = self._idle_timeouts
        bell = self._bell
        watched = self._watched
        directions = watched.directions
        work = watched.move_direction
        while not self._stopped:
            rung = False
            if watched.unfinished:
                wait_s: float | None = 0
            else:
                wait_s = (
                    None if idle_timeouts.timeout_s is None else idle_timeouts.wait_s(self._clock())
                )
                if watched.refusing:
                    left_s = max(0.0, watched.refusing[0][0] - self._clock())
                    wait_s = left_s if wait_s is None else min(left_s, wait_s)
            for fd, events in wait(wait_s):
                if fd == bell:
                    rung = True
                    continue
                direction = directions[fd]
                if direction is None:  # its tunnel ended earlier in this batch
                    continue
                if events & _SOURCE_EVENTS:
                    if events & _NEAR_END:
                        direction.reads_until_empty = True
                    work(direction)
                if events & WRITE and direction.twin.is_blocked:
                    work(direction.twin)
                if events & FAILED and directions[fd] is direction:
                    watched.fail_by_error(direction)
            if watched.unfinished:
                turn, watched.unfinished = watched.unfinished, set()
                for direction in turn:
                    work(direction)
            if idle_timeouts.timeout_s is not None and idle_timeouts.is_due(self._clock()):
                self._end_idle()
            while watched.refusing and watched.refusing[0][0] <= self._clock():
                watched.finish(watched.refusing.popleft()[1], EndReason.UNREACHED)
            # Last, so that a reused descriptor number has no stale event in this batch. A descriptor that
            # `start` has just added may have one, which costs an empty read.
            if rung:
                os.eventfd_read(bell)
                while self._requests:
                    self._requests.popleft()()

    def _end_idle(self) -> None:
        for tunnel in self._idle_timeouts.find_idle(self._watched.active.copy(), self._clock()):
            self._watched.finish(
                tunnel, EndReason.IDLE, f"no byte moved for {self._idle_timeouts.timeout_s:g} s"
            )

    def _stop(self, end: EndReason, detail: str) -> None:
        for tunnel in self._watched.active.copy():
            self._watched.finish(tunnel, end, detail)
        self._stopped = True
