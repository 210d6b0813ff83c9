"""The relay's thread: it waits for the ends, moves what is there, and reports how each tunnel ended."""

import contextlib
import errno
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from stagedoor.model.denial import Denial
from stagedoor.model.session import End, Ended
from stagedoor.relay import splice
from stagedoor.relay.limits import RelayLimits
from stagedoor.relay.poller import FAILED, HANG_UP, LAST, READ, URGENT, WRITE, Poller, best_poller
from stagedoor.relay.ports import Preface, Stream
from stagedoor.relay.pump import Pump, leave, push, refuse
from stagedoor.relay.refused import ClosedStream, RefusedTunnels
from stagedoor.relay.state import TRANSITIONS, Side, Stage, Step, failed, over
from stagedoor.relay.sweep import IdleTimeouts
from stagedoor.relay.tunnel import Direction, OnEnd, SinkError, SourceError, Tunnel
from stagedoor.relay.wake import Wake

log = logging.getLogger(__name__)

# Looking a member up in its Enum costs more than all else that we add to a keystroke (Python 3.11).
_OPEN, _SHUT = Stage.OPEN, Stage.SHUT

_COMES = READ | URGENT | FAILED | HANG_UP | LAST
_NEAR_END = URGENT | FAILED | HANG_UP | LAST
_LAST_TURNS = 16
_IN_ORDER = (End.CLOSED, End.UNREACHED)

_STOPPED = "the gateway stopped"
_FAULT = Denial.internal().message

Clock = Callable[[], float]


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
        self._poller = poller or best_poller()
        self._splicing = splicing
        self._splice = splice.Splice(limits)
        self._pump = Pump(limits)
        self._sweep = IdleTimeouts(limits.idle_timeout_s, clock())
        self._wake = Wake()
        self._tunnels: set[Tunnel] = set()
        self._flows: list[Direction | None] = []
        """By the descriptor of their source."""
        self._refused = RefusedTunnels()
        self._again: set[Direction] = set()
        """Flows that had more to move when their turn was over."""
        self._asked: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
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
        block. After `close` the tunnel ends at once, as drained, and `on_end` is called here.
        """
        tunnel = Tunnel(self, downstream, upstream, early, on_end, preface)
        self._sweep.mark(tunnel, self._clock())  # before the sweep can see it
        with self._lock:
            if not self._closing:
                self._tunnels.add(tunnel)
                request = self._watch_from_here(tunnel)
                if request is not None:
                    self._asked.append(request)
                    self._wake.ring()
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
            return partial(self._adopt, tunnel)
        try:
            self._watch(tunnel)
        except OSError as error:
            return partial(self._unwatched, tunnel, error)
        if tunnel.sent.rest or not tunnel.spliced:
            return partial(self._begin, tunnel)
        return None

    def active(self) -> int:
        """Return how many tunnels were started and have not ended."""
        return len(self._tunnels)

    @property
    def alive(self) -> bool:
        """Return False once the thread has ended, by `close` or by a bug in Stagedoor."""
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
        self._ask(partial(self._finish, tunnel, end, detail))

    def _ask(self, request: Callable[[], None], *, last: bool = False) -> None:
        with self._lock:
            if not self._closing:
                self._closing = last
                self._asked.append(request)
                self._wake.ring()

    # In the relay's thread

    def _run(self) -> None:
        try:
            self._relay()
        except Exception:  # without a report every tunnel would hang
            log.critical("relay: its thread failed, and every tunnel ends", exc_info=True)
            with self._lock:
                self._closing = True
            self._stop(End.FAULT, _FAULT)
        self._poller.close()
        self._splice.pipes.close_free()
        with self._lock:  # another thread may be ringing
            self._wake.close_descriptors()

    def _relay(self) -> None:
        wait = self._poller.wait
        sweep = self._sweep
        bell = self._wake.fileno()
        directions = self._flows
        work = self._work
        while not self._stopped:
            rung = False
            if self._again:
                wait_s: float | None = 0
            else:
                wait_s = None if sweep.timeout_s is None else sweep.wait_s(self._clock())
                if self._refused:
                    left_s = self._refused.wait_s(self._clock())
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
                    self._look_for_error(direction)
            if self._again:
                turn, self._again = self._again, set()
                for direction in turn:
                    work(direction)
            if sweep.timeout_s is not None and sweep.due(self._clock()):
                self._reap()
            if self._refused:
                for tunnel in self._refused.due(self._clock()):
                    self._finish(tunnel, End.UNREACHED)
            # Last, so that a descriptor which comes again has no stale event in this batch. One that
            # `start` had watched may have; it costs a read that finds nothing.
            if rung:
                self._wake.hush()
                while self._asked:
                    self._asked.popleft()()

    def _watch(self, tunnel: Tunnel) -> None:
        """Watch both ends. Raises OSError."""
        ways = (tunnel.sent, tunnel.received)
        for direction in ways:
            fd = direction.source_fd
            if fd < 0:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            if fd >= len(self._flows):
                self._flows.extend([None] * (fd + 1 - len(self._flows)))
            self._flows[fd] = direction
        for direction in ways:
            self._poller.add(direction.source_fd)

    def _adopt(self, tunnel: Tunnel) -> None:
        """Take up a tunnel that `start` was given."""
        if tunnel.over:  # the sweep was faster
            return
        try:
            self._watch(tunnel)
        except OSError as error:
            self._unwatched(tunnel, error)
        else:
            self._begin(tunnel)

    def _unwatched(self, tunnel: Tunnel, error: OSError) -> None:
        self._finish(tunnel, End.FAULT, f"cannot watch it: {error.strerror}")

    def _begin(self, tunnel: Tunnel) -> None:
        """Move what came before we watched: early bytes, and what TLS has deciphered already."""
        for direction in (tunnel.sent, tunnel.received):
            self._work(direction)

    def _work(self, direction: Direction) -> None:
        """Move what can be moved in one direction, and see whether it, or all, has ended."""
        tunnel = direction.tunnel
        try:
            if direction.stage is _OPEN:
                more = (
                    self._splice.move(direction) if tunnel.spliced else self._pump.move(direction)
                )
                if more:
                    self._again.add(direction)
                elif more is None:
                    if why := refuse(direction):
                        self._part(tunnel, why)
                        return
                    direction.stage = TRANSITIONS[direction.stage, Step.END_READ]
                    # close(2), which follows at once, sends the last end of plain TCP.
                    last = tunnel.spliced and direction.twin.stage is Stage.ENDED
                    direction.blocked = not (last or leave(direction))
            elif direction.stage is _SHUT:
                direction.blocked = not push(direction)
            if direction.stage is _SHUT and not direction.blocked:
                direction.stage = TRANSITIONS[direction.stage, Step.FLUSHED]
                if over(tunnel.sent.stage, tunnel.received.stage):
                    self._finish(tunnel, End.CLOSED)
                    return
            if direction.blocked or self._poller.level:
                self._poller.settle(direction)
        except SourceError as error:
            self._fail(direction, error.__cause__)
        except SinkError as error:
            self._fail(direction.twin, error.__cause__)
        except Exception:  # one tunnel's fault must not take the others with it
            log.exception("relay: a tunnel ended by an internal fault")
            self._finish(tunnel, End.FAULT, _FAULT)

    def _look_for_error(self, direction: Direction) -> None:
        """Fail the direction by its socket's error, unless reading or writing has reported it already."""
        number = direction.source.error()
        if number:
            self._fail(direction, OSError(number, os.strerror(number)))

    def _fail(self, direction: Direction, error: BaseException | None) -> None:
        """End the tunnel of a failed source: RST goes to the other end, as it came from this one.

        What it had sent before, and we had not read, still goes first if the other end takes it,
        as it would without a gateway between.
        """
        tunnel = direction.tunnel
        move = self._splice.move if tunnel.spliced else self._pump.move
        direction.eager = True
        with contextlib.suppress(SourceError, SinkError, OSError):
            for _ in range(_LAST_TURNS):
                if direction.stage is not _OPEN or direction.blocked or not move(direction):
                    break
        if why := refuse(direction):
            self._part(tunnel, why)
            return
        number = error.errno if isinstance(error, OSError) else None
        self._finish(tunnel, failed(direction.side, number), _words(direction.side, error))

    def _part(self, tunnel: Tunnel, why: str) -> None:
        """Upstream has refused and is left; downstream stays until it has read why, or its time is over.

        ssh(1) writes its next message first: if that failed then it would never read this one. So
        what it still sends is taken, and dropped.
        """
        tunnel.refused = why
        sent, received = tunnel.sent, tunnel.received
        for direction in (sent, received):
            self._let_go(direction)
        self._unwatch(received)
        with self._lock, contextlib.suppress(OSError):
            received.source.abort()
        received.source = ClosedStream()
        received.source_fd = -1
        tunnel.spliced = False
        received.stage = TRANSITIONS[
            Stage.OPEN, Step.END_READ
        ]  # it may hold some of the explanation
        self._refused.add(tunnel, self._clock())
        self._work(received)
        self._work(sent)

    def _unwatch(self, direction: Direction) -> None:
        fd = direction.source_fd
        if 0 <= fd < len(self._flows) and self._flows[fd] is direction:
            self._flows[fd] = None
            with contextlib.suppress(OSError):
                self._poller.remove(fd)

    def _let_go(self, direction: Direction) -> None:
        """Release all that the tunnel held."""
        self._again.discard(direction)
        if direction.pipe is not None:
            self._splice.pipes.give(direction.pipe)
            direction.pipe = None
        direction.rest = b""
        direction.blocked = False

    def _finish(self, tunnel: Tunnel, end: End, detail: str = "") -> None:
        """Close both ends, release all that the tunnel held, and report its end."""
        if tunnel.over:
            return
        tunnel.over = True
        if tunnel.refused:
            end, detail = End.UNREACHED, tunnel.refused
            with contextlib.suppress(SinkError):
                leave(tunnel.received)
        for direction in (tunnel.sent, tunnel.received):
            self._unwatch(direction)
            self._let_go(direction)
            direction.stage = Stage.ENDED  # code that still has it in hand finds nothing to do
        with self._lock:  # `start` may be about to have the second end watched
            for direction in (tunnel.sent, tunnel.received):
                # In order means FIN, which close(2) leaves to the kernel to deliver; all else is
                # RST, so that no peer takes a part for the whole.
                with contextlib.suppress(OSError):
                    direction.source.close() if end in _IN_ORDER else direction.source.abort()
        self._tunnels.discard(tunnel)
        on_end, tunnel.on_end = tunnel.on_end, _told
        try:
            on_end(Ended(end, tunnel.counts(), detail))
        except Exception:  # the holder's fault must not take the other tunnels with it
            log.exception("relay: the holder of a tunnel failed at its end")

    def _reap(self) -> None:
        for tunnel in self._sweep.idle(self._tunnels.copy(), self._clock()):
            self._finish(tunnel, End.IDLE, f"no byte moved for {self._sweep.timeout_s:g} s")

    def _apply(self, limits: RelayLimits) -> None:
        self._splice.apply(limits)
        self._pump.apply(limits)
        self._sweep.apply(limits.idle_timeout_s, self._clock())
        self._reap()

    def _stop(self, end: End, detail: str) -> None:
        for tunnel in self._tunnels.copy():
            self._finish(tunnel, end, detail)
        self._stopped = True


def _told(_: Ended) -> None:
    """In the place of an `on_end` that was called, so that its holder is let go of."""


def _words(side: Side, error: BaseException | None) -> str:
    said = (isinstance(error, OSError) and error.strerror) or str(error)
    return f"{side.value}: {said}"
