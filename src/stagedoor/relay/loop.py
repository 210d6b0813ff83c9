"""The relay's thread: it waits for the ends, moves what is there, and reports how each tunnel ended."""

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from stagedoor.model.session import End, Ended
from stagedoor.relay import splice
from stagedoor.relay.limits import RelayLimits
from stagedoor.relay.poller import FAILED, HANG_UP, LAST, READ, URGENT, WRITE, Poller, open_poller
from stagedoor.relay.ports import Preface, Stream
from stagedoor.relay.pump import Pump
from stagedoor.relay.tunnel import OnEnd, Tunnel
from stagedoor.relay.watched import FAULT, WatchedTunnels

log = logging.getLogger(__name__)

_COMES = READ | URGENT | FAILED | HANG_UP | LAST
_NEAR_END = URGENT | FAILED | HANG_UP | LAST

_STOPPED = "the gateway stopped"

Clock = Callable[[], float]


_LONGEST_S = 30.0


class Wake:
    """A descriptor that is readable once `signal` was called, until `clear`."""

    __slots__ = ("_read_fd", "_write_fd")

    def __init__(self) -> None:
        if hasattr(os, "eventfd"):
            self._read_fd = self._write_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._read_fd, self._write_fd = os.pipe()
            os.set_blocking(self._read_fd, False)
            os.set_blocking(self._write_fd, False)

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        return self._read_fd

    def signal(self) -> None:
        """Make the descriptor readable. Any thread."""
        # Full means that it rings already. An eventfd takes eight bytes, host order; a pipe any.
        with contextlib.suppress(BlockingIOError):
            os.write(self._write_fd, _ONE)

    def clear(self) -> None:
        """Make the descriptor unreadable until the next `signal`."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read_fd, 4096)

    def close_descriptors(self) -> None:
        """Close the descriptors."""
        os.close(self._read_fd)
        if self._write_fd != self._read_fd:
            os.close(self._write_fd)


_ONE = b"\1\1\1\1\1\1\1\1"
"""Any number but 0 rings, and 0x0101… is the same in both byte orders."""


class IdleTimeouts:
    """A tunnel is idle when no byte was delivered either way for `timeout_s`; None: never.

    It is found within a quarter of that, or 30 s. Instants are monotonic seconds.
    """

    def __init__(self, timeout_s: float | None, now: float) -> None:
        self.timeout_s = timeout_s
        self._next = now

    def apply(self, timeout_s: float | None, now: float) -> None:
        """Take a new timeout, and look at once."""
        self.timeout_s = timeout_s
        self._next = now

    def wait_s(self, now: float) -> float:
        """Return the seconds until the next look, if there is a timeout."""
        return max(0.0, self._next - now)

    def is_due(self, now: float) -> bool:
        """Return whether it is time to look."""
        return now >= self._next

    def mark(self, tunnel: Tunnel, now: float) -> None:
        """Take up a tunnel, or one that moved."""
        tunnel.marked = tunnel.sent.moved + tunnel.received.moved
        tunnel.idle_since = now

    def idle(self, tunnels: Iterable[Tunnel], now: float) -> list[Tunnel]:
        """Return the idle ones among `tunnels`, and remember how far the others have come."""
        timeout_s = self.timeout_s
        if timeout_s is None:
            return []
        self._next = now + min(timeout_s / 4, _LONGEST_S)
        idle = []
        for tunnel in tunnels:
            if tunnel.sent.moved + tunnel.received.moved != tunnel.marked:
                self.mark(tunnel, now)
            elif now - tunnel.idle_since >= timeout_s:
                idle.append(tunnel)
        return idle


class Relay:
    """One thread that relays any number of tunnels. Its methods may be called from any thread.

    The thread starts with the object: make it after forking. `clock` is monotonic, in seconds.
    `splicing` False keeps every tunnel on the pump, as on a machine without splice(2); `poller`
    replaces the machine's best.
    """

    def __init__(
        self,
        limits: RelayLimits | None = None,
        *,
        clock: Clock = time.monotonic,
        poller: Poller | None = None,
        splicing: bool = splice.AVAILABLE,
    ) -> None:
        limits = limits or RelayLimits()
        self._clock = clock
        self._splicing = splicing
        self._poller = poller or open_poller()
        self._splice = splice.Splice(limits)
        self._pump = Pump(limits)
        self._sweep = IdleTimeouts(limits.idle_timeout_s, clock())
        self._wake = Wake()
        self._asked: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._watched = WatchedTunnels(self._poller, self._splice, self._pump, self._lock, clock)
        self._closing = False
        self._stopped = False
        self._poller.add(self._wake.fileno())
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
        """Relay between the two ends until both directions ended, and own them from now on.

        `early` is what came from downstream with the request's head; upstream gets it first.
        `preface` hears what upstream says first; a refusal there is explained to downstream.
        `on_end` is called once, after both ends are closed, in the relay's thread; it must not
        block. After `stop` the tunnel ends at once, as drained, and `on_end` is called here.
        """
        tunnel = Tunnel(self, downstream, upstream, early, on_end, preface)
        tunnel.spliced &= self._splicing
        self._sweep.mark(tunnel, self._clock())  # before the sweep can see it
        with self._lock:
            if not self._closing:
                self._watched.active.add(tunnel)
                request = self._watch_from_here(tunnel)
                if request is not None:
                    self._asked.append(request)
                    self._wake.signal()
                return tunnel
        tunnel.over = True
        downstream.abort()
        upstream.abort()
        on_end(Ended(End.DRAINED, detail=_STOPPED))
        return tunnel

    def _watch_from_here(self, tunnel: Tunnel) -> Callable[[], None] | None:
        """Watch both ends. Return what is left to do in the relay's thread, None mostly.

        The thread then sleeps on until bytes come: to wake it costs more than all else that a
        start does. epoll(7) takes descriptors from any thread, other pollers do not.
        """
        if self._poller.level:
            return partial(self._watched.adopt, tunnel)
        try:
            self._watched.watch(tunnel)
        except OSError as error:
            return partial(self._watched.end_unwatched, tunnel, error)
        if tunnel.sent.rest or not tunnel.spliced:
            return partial(self._watched.begin, tunnel)
        return None

    def count_tunnels(self) -> int:
        """Return how many tunnels were started and have not ended."""
        return len(self._watched.active)

    @property
    def alive(self) -> bool:
        """Return False once the thread has ended, by `stop` or by a bug in Stagedoor."""
        return self._thread.is_alive()

    def apply(self, limits: RelayLimits) -> None:
        """Take new limits for tunnels old and new, and look for idle ones now."""
        self._ask(partial(self._apply, limits))

    def stop(self, end: End = End.DRAINED, detail: str = _STOPPED) -> None:
        """End all tunnels with `end`, then the thread; returns when it is over. Idempotent."""
        self._ask(partial(self._stop, end, detail), last=True)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def ask_close(self, tunnel: Tunnel, end: End, detail: str) -> None:
        """End one tunnel soon, for `Tunnel.close_session`."""
        self._ask(partial(self._watched.finish, tunnel, end, detail))

    def _ask(self, request: Callable[[], None], *, last: bool = False) -> None:
        with self._lock:
            if not self._closing:
                self._closing = last
                self._asked.append(request)
                self._wake.signal()

    # In the relay's thread

    def _run(self) -> None:
        try:
            self._relay()
        except Exception:  # without a report every tunnel would hang
            log.critical("relay: its thread failed, and every tunnel ends", exc_info=True)
            with self._lock:
                self._closing = True
            self._stop(End.FAULT, FAULT)
        self._poller.close()
        self._splice.pipes.close_free()
        with self._lock:  # another thread may be ringing
            self._wake.close_descriptors()

    def _relay(self) -> None:
        wait = self._poller.wait
        sweep = self._sweep
        bell = self._wake.fileno()
        watched = self._watched
        directions = watched.directions
        work = watched.pump
        while not self._stopped:
            rung = False
            if watched.unfinished:
                wait_s: float | None = 0
            else:
                wait_s = None if sweep.timeout_s is None else sweep.wait_s(self._clock())
                if watched.refused:
                    left_s = watched.refused.wait_s(self._clock())
                    wait_s = left_s if wait_s is None else min(left_s, wait_s)
            for fd, events in wait(wait_s):
                if fd == bell:
                    rung = True
                    continue
                direction = directions[fd]
                if direction is None:  # its tunnel ended earlier in this batch
                    continue
                if events & _COMES:
                    if events & _NEAR_END:
                        direction.eager = True
                    work(direction)
                if events & WRITE and direction.twin.blocked:
                    work(direction.twin)
                if events & FAILED and directions[fd] is direction:
                    watched.fail_by_error(direction)
            if watched.unfinished:
                turn, watched.unfinished = watched.unfinished, set()
                for direction in turn:
                    work(direction)
            if sweep.timeout_s is not None and sweep.is_due(self._clock()):
                self._reap()
            if watched.refused:
                for tunnel in watched.refused.take_due(self._clock()):
                    watched.finish(tunnel, End.UNREACHED)
            # Last, so that a descriptor which comes again has no stale event in this batch. One that
            # `start` had watched may have; it costs a read that finds nothing.
            if rung:
                self._wake.clear()
                while self._asked:
                    self._asked.popleft()()

    def _reap(self) -> None:
        for tunnel in self._sweep.idle(self._watched.active.copy(), self._clock()):
            self._watched.finish(tunnel, End.IDLE, f"no byte moved for {self._sweep.timeout_s:g} s")

    def _apply(self, limits: RelayLimits) -> None:
        self._splice.apply(limits)
        self._pump.apply(limits)
        self._sweep.apply(limits.idle_timeout_s, self._clock())
        self._reap()

    def _stop(self, end: End, detail: str) -> None:
        for tunnel in self._watched.active.copy():
            self._watched.finish(tunnel, end, detail)
        self._stopped = True
